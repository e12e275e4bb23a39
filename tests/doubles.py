"""Doubles of the ports: time that is held, a socket that fills, brokers and upstreams at gates."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence

from hub.core.channel import Channel
from hub.core.cursor import Position
from hub.core.event import Event
from hub.core.generation import GenerationRequest
from hub.core.sse_decoder import ServerSentEvent, SseDecoder
from hub.core.stream_parts import StreamPart
from hub.engine.connection import Connection, ConnectionOptions
from hub.engine.relay import RelayLimits
from hub.engine.stream_view import USER_STREAM, StreamView
from hub.ports.clock import Clock
from hub.ports.connections import ConnectionOwner, ConnectionWriter, EventEncoder
from hub.ports.events import Page, Publication, Published
from hub.testing.backend import MemoryBackend
from hub.testing.events import MemoryEventLog, MemorySubscriptions


async def until(condition: Callable[[], bool]) -> None:
    """Returns when the condition holds; it is looked at each time the loop goes round."""
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0)


async def settled() -> None:
    """Returns when everything that could run without waiting has run."""
    for _ in range(50):
        await asyncio.sleep(0)


class FakeClock:
    """Implements ports.Clock; time passes by `advance` alone."""

    def __init__(self) -> None:
        self._now = 1000.0
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    def now(self) -> float:
        return self._now

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        future = asyncio.get_running_loop().create_future()
        self._sleepers.append((self._now + seconds, future))
        await future

    async def advance(self, seconds: float) -> None:
        """Lets time pass, waking each sleeper at its time."""
        end = self._now + seconds
        while due := [sleeper for sleeper in self._sleepers if sleeper[0] <= end]:
            first = min(due, key=lambda sleeper: sleeper[0])
            self._sleepers.remove(first)
            self._now = max(self._now, first[0])
            if not first[1].done():
                first[1].set_result(None)
            await settled()
        self._now = end


class FakeWriter:
    """Implements ports.Sink; keeps what was written. Told to be full, it behaves like a socket that
    nobody reads: what is still written waits in front of it, and makes it paused.
    """

    def __init__(self) -> None:
        self.owner: ConnectionOwner | None = None
        self.cursor_prefix = b""
        self.written = b""
        self.writes = 0
        self.aborted = False
        self._waiting = b""
        self._full = False

    @property
    def is_full(self) -> bool:
        return bool(self._waiting)

    @property
    def is_drained(self) -> bool:
        return not self._waiting

    def is_closing(self) -> bool:
        return self.aborted

    def fill(self) -> None:
        self._full = True

    def empty(self) -> None:
        self._full = False
        self.written += self._waiting
        was_paused, self._waiting = self.is_full, b""
        if was_paused and self.owner is not None:
            self.owner.on_writable()

    def try_send(self, frames: bytes) -> int:
        assert self.is_drained, "sent past what waits"
        assert not self.aborted, "sent into a socket that may be another's"
        if self._full:
            raise BlockingIOError
        self.writes += 1
        self.written += frames
        return len(frames)

    def write(self, frames: bytes) -> None:
        if self.aborted:
            return
        assert not self.is_full, "written to a full socket"
        if self._full:
            self._waiting += frames
        else:
            self.try_send(frames)

    def sent_bytes(self) -> int | None:
        return len(self.written)

    def close(self) -> None:
        self.aborted = True

    def abort(self) -> None:
        self.aborted = True

    @property
    def events(self) -> list[ServerSentEvent]:
        """What a client has seen."""
        return SseDecoder().feed(self.written)

    @property
    def data(self) -> list[str]:
        """The data of the events that are not the hub's own."""
        return [event.data for event in self.events if not event.name.startswith("hub.")]


def new_connection(
    user: str,
    channels: Sequence[Channel],
    writer: ConnectionWriter,
    clock: Clock,
    *,
    connection_id: str = "c",
    encoder: EventEncoder,
    view: StreamView = USER_STREAM,
    outbox_max_frames: int = 10,
    outbox_max_bytes: int = 1000,
    address: str | None = None,
) -> Connection:
    """Return a connection on this writer, not attached yet."""
    options = ConnectionOptions(
        id=connection_id,
        user=user,
        channels=channels,
        encoder=encoder,
        writer=writer,
        outbox_max_frames=outbox_max_frames,
        outbox_max_bytes=outbox_max_bytes,
        retry_ms=3000,
        token_id=None,
        address=address,
    )
    return Connection(options, clock, view)


RELAY_LIMITS = RelayLimits(
    max_attempts=3,
    max_text_bytes=1000,
    flush_seconds=0.0,
    broker_timeout_seconds=10.0,
    max_queued_seconds=600.0,
)


class Gate:
    """Holds those who come until it is opened."""

    def __init__(self) -> None:
        self._open = asyncio.Event()
        self._open.set()
        self.waiting = 0

    def close(self) -> None:
        self._open.clear()

    def open(self) -> None:
        self._open.set()

    async def passed(self) -> None:
        if not self._open.is_set():
            self.waiting += 1
            await self._open.wait()
            self.waiting -= 1


class GatedEventLog(MemoryEventLog):
    """An event log whose reads can be held back."""

    def __init__(self, backend: GatedBackend) -> None:
        super().__init__(
            backend.subscriptions,
            backend.generations.apply,
            backend.check_available,
            max_events=1000,
        )
        self._backend = backend

    async def publish(self, publications: Sequence[Publication]) -> list[Published]:
        published = await super().publish(publications)
        if self._backend.keeps_nothing:
            for publication in publications:
                self.forget_events(publication.channel)
        return published

    async def read(
        self, after: Mapping[Channel, Position | None], *, max_events: int, max_bytes: int
    ) -> dict[Channel, Page]:
        await self._backend.before_read.passed()
        pages = await super().read(after, max_events=max_events, max_bytes=max_bytes)
        await self._backend.after_read.passed()
        return pages


class GatedSubscriptions(MemorySubscriptions):
    """Subscriptions whose acknowledgement can be held back, and that can lose events."""

    def __init__(self, backend: GatedBackend) -> None:
        super().__init__(backend.check_available)
        self._backend = backend

    async def subscribe(self, channels: Collection[Channel]) -> None:
        await self._backend.before_subscribe.passed()
        await super().subscribe(channels)
        await self._backend.after_subscribe.passed()

    def unsubscribe(self, channels: Collection[Channel]) -> None:
        self._backend.unsubscribed += channels
        super().unsubscribe(channels)

    def notify(self, events: Sequence[Event]) -> None:
        if not self._backend.loses_events:
            super().notify(events)


class GatedBackend(MemoryBackend):
    """A backend whose results can be held back: a race stays open until the test closes it."""

    def __init__(self) -> None:
        super().__init__()
        self.before_subscribe = Gate()
        self.after_subscribe = Gate()
        self.before_read = Gate()
        self.after_read = Gate()
        self.unsubscribed: list[Channel] = []
        self.loses_events = False  # no notification arrives, as on a broken connection
        self.keeps_nothing = False  # the log drops every event at once
        self.subscriptions = GatedSubscriptions(self)
        self.events = GatedEventLog(self)


class ScriptedUpstream:
    """Implements ports.Upstream: yields the pieces, those of a list at once; at an exception raises
    it, at a gate waits.
    """

    def __init__(self, script: Sequence[StreamPart | list[StreamPart] | Exception | Gate]) -> None:
        self._script = script
        self.asked: list[GenerationRequest] = []
        self.closed = 0

    async def stream(
        self, question: GenerationRequest
    ) -> AsyncGenerator[Sequence[StreamPart], None]:
        self.asked.append(question)
        try:
            for part in self._script:
                if isinstance(part, Exception):
                    raise part
                if isinstance(part, Gate):
                    await part.passed()
                else:
                    yield part if isinstance(part, list) else [part]
        finally:
            self.closed += 1
