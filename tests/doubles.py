"""Doubles of the ports for the tests of the hub itself: a writer that fills up, a gated backend."""

from __future__ import annotations

import asyncio
import copy
import itertools
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from hub.core.channel import Channel
from hub.core.cursor import Position
from hub.core.event import Event
from hub.core.fair_queue import FairQueue
from hub.core.parts_journal import PartsLimits
from hub.core.sse_decoder import ServerSentEvent, SseDecoder
from hub.engine.streams.connection import Connection, ConnectionOptions
from hub.engine.streams.stream_view import USER_STREAM, StreamView
from hub.engine.worker.relay import RelayLimits
from hub.ports.clock import Clock
from hub.ports.connections import ConnectionOwner, ConnectionWriter, EventEncoder
from hub.ports.events import Page, Publication, Published
from hub.testing.backend import MemoryBackend
from hub.testing.events import MemoryEventLog, MemorySubscriptions
from hub.testing.fakes import FakeClock, Gate, ScriptedUpstream, settled

__all__ = [
    "RELAY_LIMITS",
    "FakeClock",
    "FakeWriter",
    "Gate",
    "GatedBackend",
    "Replica",
    "ScriptedUpstream",
    "new_connection",
    "settled",
    "until",
]

_EAGER_TURNS = 200  # iterations of the loop


async def until(condition: Callable[[], bool]) -> None:
    """Return when the condition holds.

    It is checked in each iteration of the loop at first, which is enough for what happens in this
    process, and then every 5 ms: a wait for a server or for a time must not use the processor.
    """
    async with asyncio.timeout(60):
        for turn in itertools.count():
            if condition():
                return
            await asyncio.sleep(0 if turn < _EAGER_TURNS else 0.005)


class FakeWriter:
    """Implements ports.connections.ConnectionWriter; keeps what was written.

    After `fill` it behaves like a socket whose peer does not read: written bytes wait, and the
    writer is full until `empty`.
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
        assert self.is_drained, "sent past the bytes that wait"
        assert not self.aborted, "sent after the connection ended"
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
        """The events that a client has received."""
        return SseDecoder().feed(self.written)

    @property
    def data(self) -> list[str]:
        """The data of the events that a publisher sent."""
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
    parts=PartsLimits(max_part_bytes=500, max_record_bytes=1000),
    flush_seconds=0.0,
    broker_timeout_seconds=10.0,
    max_queued_seconds=600.0,
)


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


class Replica:
    """A replica of a backend in memory that receives nothing after it was made.

    The records and the log belong to one slot, the queue to another; each can fail over alone.
    """

    def __init__(self, backend: MemoryBackend) -> None:
        self._records = backend.generations, _copy_state(backend.generations)
        self._log = backend.events, _copy_state(backend.events)
        self._queue = backend.queue, _copy_state(backend.queue)

    def promote(self, *, records: bool = True, queue: bool = False) -> None:
        """Behave like a fail-over: the writes since this replica was made are lost."""
        parts = [self._records, self._log] if records else []
        for part, state in [*parts, *([self._queue] if queue else [])]:
            vars(part).update(copy.deepcopy(state))


def _copy_state(part: object) -> dict[str, Any]:
    """Copy the collections of a part that hold data."""
    kinds = (dict, deque, FairQueue)
    state = {name: value for name, value in vars(part).items() if isinstance(value, kinds)}
    return copy.deepcopy(state)


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
