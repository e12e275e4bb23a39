"""The node's inner loop: from the broker's announcement to every connection that follows.

The way of a connection: register → subscribe and wait for the acknowledgement → read the log from
the cursor → `hub.open`, resets, replay → live → leave. Registered first, so that nothing published
after the read can pass unheard; held meanwhile, so that nothing is handed over twice or early.

The way of an event: the broker announces it, with whatever else came in the same tick → its
channel's track → one write to each connection that is in step, and an offer to each one apart.

Rules:
1. A connection is in the tracks exactly between `begin` and `_leave`.
2. A gap is always closed by reading the log; one task at a time does so for a connection.
3. No await between reading shared state and changing it.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Final

import msgspec
import structlog

from hub.core.bucket import Pace
from hub.core.channel import Channel
from hub.core.close import CloseReason
from hub.core.cursor import Position
from hub.core.event import Event
from hub.engine.attendance import Attendance
from hub.engine.connection import Connection, send_guarded
from hub.engine.counts import Counts
from hub.engine.heartbeat import HeartbeatWheel
from hub.engine.lifetimes import Lifetime, Lifetimes
from hub.engine.tracks import Audience, Track, Tracks
from hub.errors import BrokerUnavailable, NodeBusy
from hub.ports import FROM_START, Broker, Clock, Page, Transport

_PAGE_EVENTS: Final = 200
_PAGE_BYTES: Final = 64 * 1024
_AT_THE_BROKER: Final = (
    64  # joins and catch-ups at once: the others wait here, where no time-out runs
)
_WAVE_SECONDS: Final = 0.1
_SPREAD_MS: Final = 1  # for each connection: about a thousand return in a second
_MOST_SPREAD_MS: Final = 30_000
_LEAST_PAUSE_SECONDS: Final = 0.1
_MOST_PAUSE_SECONDS: Final = 2.0
_log = structlog.get_logger(__name__)


class FanoutLimits(msgspec.Struct, frozen=True, kw_only=True):
    """None means off. max_connections: at once; who comes then is sent away. max_per_user: of them;
    the newest wins. joins_per_second: more wait for their turn, with their stream open.
    """

    max_connections: int | None = None
    max_per_user: int | None = None
    joins_per_second: float | None = None


NO_LIMITS: Final = FanoutLimits()


class Fanout:
    """All live connections of this node."""

    def __init__(
        self,
        broker: Broker,
        wheel: HeartbeatWheel,
        clock: Clock,
        *,
        node: str,
        heartbeat_seconds: float,
        limits: FanoutLimits = NO_LIMITS,
        attendance: Attendance | None = None,
        counts: Counts | None = None,
    ) -> None:
        self._broker = broker
        self._clock = clock
        self._wheel = wheel
        self._node = node
        self._heartbeat_seconds = heartbeat_seconds
        self._tracks = Tracks()
        self._here: dict[Connection, None] = {}
        self._catching_up: dict[Connection, asyncio.Task[None]] = {}
        self._slots = asyncio.Semaphore(_AT_THE_BROKER)
        per_second = limits.joins_per_second
        self._pace = None if per_second is None else Pace(per_second)
        self._limits = limits
        self._attendance = attendance
        self._counts = counts or Counts()
        self._watched: dict[Channel, Callable[[], None]] = {}
        self._of_user: dict[str, dict[Connection, None]] = {}
        self._retired = False
        self._draining = False
        self._spread_ms = 0
        self._at_address: Counter[str] = Counter()
        self.lifetimes = Lifetimes(clock)
        broker.listen(self.deliver, self.fill_gaps)

    def __len__(self) -> int:
        return len(self._here)

    @property
    def connections(self) -> Collection[Connection]:
        """Who is here."""
        return self._here.keys()

    @property
    def users(self) -> int:
        """How many different users are here."""
        return len(self._of_user)

    @property
    def draining(self) -> bool:
        """Whether the node is leaving: no longer ready, though it may still serve."""
        return self._retired

    def deliver(self, events: Sequence[Event]) -> None:
        """What the broker announced in one tick, to everyone here who follows its channels."""
        now = self._clock.now()
        by_channel: dict[Channel, list[Event]] = {}
        for event in events:
            run = by_channel.get(event.channel)
            if run is None:
                by_channel[event.channel] = [event]
            else:
                run.append(event)
        for channel, run in by_channel.items():
            track = self._tracks.by_channel.get(channel)
            if track is not None:
                _deliver(track, run, now)
            elif channel in self._watched:
                self._watched[channel]()

    def watch(self, channel: Channel, heard: Callable[[], None]) -> None:
        """Who is told when events of a channel come that no connection follows."""
        self._watched[channel] = heard

    def is_followed(self, channel: Channel) -> bool:
        """Whether a connection here follows it."""
        return channel in self._tracks.by_channel

    def followers(self, channel: Channel) -> int:
        """How many connections here follow it."""
        track = self._tracks.by_channel.get(channel)
        return 0 if track is None else track.followers

    @property
    def catching_up(self) -> int:
        """How many join, or read the log."""
        return len(self._catching_up)

    def at_address(self, address: str | None) -> int:
        """How many are here from the same address."""
        return self._at_address[address] if address is not None else 0

    def of_user(self, user: str) -> Collection[Connection]:
        """The user's connections here, oldest first."""
        return self._of_user.get(user, {}).keys()

    def check_room(self) -> None:
        """Raises NodeBusy when `begin` would send everybody away."""
        if self._draining:
            raise NodeBusy("this node is draining; try again")
        if self._is_full():
            raise NodeBusy("this node holds as many streams as it may; try again")

    def _is_full(self) -> bool:
        most = self._limits.max_connections
        return most is not None and len(self._here) >= most

    def begin(
        self,
        connection: Connection,
        cursor: Mapping[Channel, Position],
        lifetime: Lifetime | None = None,
    ) -> None:
        """A connection's life begins; it ends by `hub.bye` or by the client's leaving.

        `cursor` says after which position each channel begins; a channel that is not in it begins
        live, and FROM_START replays all that the log holds.
        """
        _log.info("connection.opened", connection=connection.name, user=connection.user)
        self._counts.opened[connection.transport.label] += 1
        connection.on_end = self._leave
        if self._draining:
            connection.close(CloseReason.DRAINING, later_ms=self._later_ms())
            return
        most_of_a_user = self._limits.max_per_user
        if self._is_full():
            connection.close(CloseReason.FULL)
            return
        mates = self._of_user.setdefault(connection.user, {})
        if most_of_a_user is not None and len(mates) >= most_of_a_user:
            next(iter(mates)).close(CloseReason.REPLACED)
            mates = self._of_user.setdefault(connection.user, {})
        mates[connection] = None
        self._here[connection] = None
        if connection.address is not None:
            self._at_address[connection.address] += 1
        if lifetime is not None:
            self.lifetimes.add(connection, lifetime)
        self._tracks.add(connection)
        if self._attendance is not None:
            self._attendance.came(connection.user, connection.channels)
        connection.on_gap = self._fill_gap
        self._start(connection, partial(self._join, connection, cursor))

    async def serve(
        self, connection: Connection, cursor: Mapping[Channel, Position]
    ) -> CloseReason:
        """The same for a caller that waits for its end; cancelled, the client has left."""
        self.begin(connection, cursor)
        try:
            return await connection.ended()
        finally:
            connection.lost()

    async def turn(self, connection: Connection, channels: Sequence[Channel]) -> None:
        """The connection follows these channels from now on; those that are new begin live. Returns
        when it is live again, or has ended.
        """
        await self.until_live(connection)
        if connection.closed is not None:
            return
        before = connection.channels
        fresh = [channel for channel in channels if channel not in before]
        if self._attendance is not None:
            self._attendance.came(connection.user, fresh)
            self._attendance.went(connection.user, [c for c in before if c not in channels])
        self._broker.unsubscribe(self._tracks.change(connection, channels))
        self._start(connection, partial(self._follow, connection, fresh))
        await self.until_live(connection)

    async def until_live(self, connection: Connection) -> None:
        """Returns when it has joined and reads nothing of the log any more, or has ended."""
        while (task := self._catching_up.get(connection)) is not None:
            await asyncio.wait([task])

    def retire(self) -> None:
        """Not ready, but serving: until the load balancer has noticed, and `drain` begins."""
        self._retired = True

    async def drain(self, seconds: float, hurry: asyncio.Event) -> None:
        """Sends everyone away in waves, over so many seconds or, in a hurry, at once. Each is told
        to return at a time of its own, so that they do not return together. So is whoever comes.
        """
        self._retired = self._draining = True
        if self._attendance is not None:
            self._attendance.drain()
        self._spread_ms = min(_MOST_SPREAD_MS, len(self._here) * _SPREAD_MS)
        waves = max(1, round(seconds / _WAVE_SECONDS))
        for left in range(waves, 0, -1):
            here = tuple(self._here)
            for connection in here[: math.ceil(len(here) / left)]:
                connection.close(CloseReason.DRAINING, later_ms=self._later_ms())
            if not self._here:
                return
            if left > 1 and not hurry.is_set():
                await self._clock.sleep(_WAVE_SECONDS)

    def _later_ms(self) -> int:
        return random.randint(0, self._spread_ms)

    def fill_gaps(self) -> None:
        """Announcements may have been missed: every connection reads the log again."""
        for connection in self._here:
            self._fill_gap(connection)

    async def _join(self, connection: Connection, cursor: Mapping[Channel, Position]) -> None:
        try:
            await self._open(connection, cursor)
        except BrokerUnavailable as error:
            _log.warning("connection.join_failed", connection=connection.name, error=str(error))
            connection.close(CloseReason.BROKER_AWAY)

    async def _open(self, connection: Connection, cursor: Mapping[Channel, Position]) -> None:
        if self._pace is not None and (wait := self._pace.turn(self._clock.now())):
            await self._clock.sleep(wait)
        async with self._slots:
            await self._broker.subscribe(connection.channels)
            pages = await self._read({c: cursor.get(c) for c in connection.channels})
        for channel, page in pages.items():
            connection.stand(channel, _standing(cursor.get(channel), page))
        connection.open(
            node=self._node,
            heartbeat_seconds=self._heartbeat_seconds,
            recovered=bool(cursor) and all(page.lost is None for page in pages.values()),
            replayed=sum(
                page.head.offset - connection.positions[channel].offset
                for channel, page in pages.items()
                if page.lost is None
            ),
        )
        if connection.closed is not None:
            return  # an answer that had ended is shown in one go
        self._wheel.add(connection)
        await self._catch_up(connection, pages)

    async def _follow(self, connection: Connection, fresh: Collection[Channel]) -> None:
        """Live in channels that are new to it, however long the broker is away."""
        pause = _LEAST_PAUSE_SECONDS
        while fresh and connection.closed is None:
            try:
                async with self._slots:
                    await self._broker.subscribe(fresh)
                    pages = await self._read(dict.fromkeys(fresh))
            except BrokerUnavailable as error:
                _log.info("connection.waits", connection=connection.name, error=str(error))
                await self._clock.sleep(pause * random.uniform(0.5, 1.0))
                pause = min(_MOST_PAUSE_SECONDS, pause * 2)
            else:
                for channel, page in pages.items():
                    connection.stand(channel, page.head)
                break
        await self._catch_up(connection, None)

    def _leave(self, connection: Connection) -> None:
        reason = connection.closed or CloseReason.CLIENT_LEFT
        self._counts.closed[reason.label] += 1
        self._counts.delivered[connection.transport.label] += connection.events
        _log.info(
            "connection.closed",
            connection=connection.name,
            user=connection.user,
            reason=reason.label,
            seconds=round(self._clock.now() - connection.begun, 3),
            events=connection.events,
            bytes=connection.sink.sent_bytes(),
        )
        if connection not in self._here:
            return  # sent away at once
        del self._here[connection]
        mates = self._of_user[connection.user]
        del mates[connection]
        if not mates:
            del self._of_user[connection.user]
        address = connection.address
        if address is not None:
            self._at_address[address] -= 1
            if not self._at_address[address]:
                del self._at_address[address]
        self._wheel.remove(connection)
        self.lifetimes.remove(connection)
        task = self._catching_up.pop(connection, None)
        if task is not None:
            task.cancel()
        if self._attendance is not None:
            self._attendance.went(connection.user, connection.channels)
        self._broker.unsubscribe(self._tracks.remove(connection))

    def _fill_gap(self, connection: Connection) -> None:
        """Begins to close a gap, unless that is under way."""
        if connection.is_held:
            connection.note_missed()
            return
        connection.hold()
        self._start(connection, partial(self._catch_up, connection, None))

    def _start(self, connection: Connection, work: Callable[[], Awaitable[None]]) -> None:
        """The one task that reads the log for the connection, until it is live."""
        self._catching_up[connection] = asyncio.create_task(
            self._until_live(connection, work), name=f"catch-up {connection.name}"
        )

    async def _until_live(
        self, connection: Connection, work: Callable[[], Awaitable[None]]
    ) -> None:
        try:
            await work()
        except ConnectionError:
            pass  # the client has left
        except Exception:  # noqa: BLE001 - nobody waits for this task
            _cut_off(connection)
        finally:
            self._catching_up.pop(connection, None)

    async def _catch_up(self, connection: Connection, pages: Mapping[Channel, Page] | None) -> None:
        """Reads the log from where the client stands until nothing is missing; the first pages may
        have been read. While the broker is away the client stays, and it goes on afterwards.
        """
        pause = _LEAST_PAUSE_SECONDS
        while connection.closed is None:
            try:
                await self._hand_over(
                    connection, pages or await self._read_more(connection.positions)
                )
                return
            except BrokerUnavailable as error:
                _log.info("connection.waits", connection=connection.name, error=str(error))
            pages = None
            await self._clock.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(_MOST_PAUSE_SECONDS, pause * 2)

    async def _hand_over(self, connection: Connection, pages: Mapping[Channel, Page]) -> None:
        """Hands the pages over and reads on, no faster than the client, until it is live."""
        while True:
            for channel, page in pages.items():
                if page.lost is not None:
                    self._counts.resets[page.lost] += 1
                    connection.reset(channel, page.head, page.lost)
                else:
                    before = connection.events
                    await connection.replay(page.events, page.read_to, channel)
                    self._counts.replayed += connection.events - before
            unread = {c: page.read_to for c, page in pages.items() if page.read_to != page.head}
            if not unread and (connection.closed is not None or connection.release()):
                connection.step_in()
                return
            await connection.flushed()
            pages = await self._read_more(unread or connection.positions)

    async def _read_more(self, after: Mapping[Channel, Position]) -> Mapping[Channel, Page]:
        async with self._slots:
            return await self._read(dict(after))

    async def _read(self, after: Mapping[Channel, Position | None]) -> Mapping[Channel, Page]:
        return await self._broker.read(after, max_events=_PAGE_EVENTS, max_bytes=_PAGE_BYTES)


def _deliver(track: Track, events: Sequence[Event], now: float) -> None:
    """Events of one channel; each connection that is in step gets them in one write."""
    apart = tuple(track.apart)
    parts = track.advance(events, now)
    if parts is None:
        for connection in track.everyone_in_step():
            connection.step_out()
        apart = tuple(track.apart)
    else:
        if track.in_step:
            _send_to_owners(track, events, parts)
        for audience in tuple(track.audiences):
            _send_to_audience(audience, track, events, parts)
    for connection in apart:
        try:
            for event in events:
                connection.offer(event)
            connection.step_in()
        except Exception:  # noqa: BLE001 - the others of this tick have done nothing
            _cut_off(connection)


def _cut_off(connection: Connection) -> None:
    """After a fault of the hub's own: in the log, and the client comes again."""
    _log.exception("connection.failed", connection=connection.name)
    connection.sink.abort()
    connection.lost()


def _send_to_owners(track: Track, events: Sequence[Event], parts: Sequence[bytes]) -> None:
    """Events of a user's own channel: the whole cursor is known, the same for like tabs."""
    audience, frames = None, b""
    for connection in tuple(track.in_step):
        if connection.audience is not audience:
            audience = connection.audience
            frames = _framed(audience.transport, events, parts, audience.rest)
        sink = connection.sink
        sink.own = track.part
        sent = send_guarded(sink, frames)
        if sent != len(frames):
            connection.overflow(frames[sent:])


def _framed(
    transport: Transport, events: Sequence[Event], parts: Sequence[bytes], rest: bytes
) -> bytes:
    encode, frame = transport.encode, transport.frame
    frames = b""
    for event, part in zip(events, parts):  # noqa: B905 - as long, and this is the inner loop
        frames += frame(
            encode(event.name, event.data, event.channel), part + rest if part else None
        )
    return frames


def _send_to_audience(
    audience: Audience, track: Track, events: Sequence[Event], parts: Sequence[bytes]
) -> None:
    """The node's inner loop: events of a channel that many share, the same bytes for all of them
    but for each one's own part of the cursor.
    """
    rests = audience.advance(track, parts)
    bodies = [audience.transport.encode(event.name, event.data, event.channel) for event in events]
    members, by_length = audience.members, dict[int, Sequence[bytes]]()
    for sink in tuple(members):
        own = sink.own
        pieces = by_length.get(len(own))
        if pieces is None:
            pieces = by_length[len(own)] = _around(len(own), audience.transport, bodies, rests)
        frames = own.join(pieces)
        sent = 0  # send_guarded, whose call would be a hundredth of a broadcast's cost
        try:
            if not sink.gone():
                sent = sink.send(frames)
        except OSError:
            pass
        if sent != len(frames):
            members[sink].overflow(frames[sent:])


def _around(
    own_bytes: int, transport: Transport, bodies: Sequence[bytes], rests: Sequence[bytes]
) -> Sequence[bytes]:
    """Events as what stands between the places of each reader's own part of the cursor."""
    hole, pieces = b"\0" * own_bytes, [b""]
    for body, rest in zip(bodies, rests, strict=True):
        if rest:  # the first one is it: what follows may be a publisher's
            before, _, after = transport.frame(body, hole + rest).partition(hole)
            pieces[-1] += before
            pieces.append(after)
        else:
            pieces[-1] += transport.frame(body, None)
    return pieces


def _standing(after: Position | None, page: Page) -> Position:
    """Where a connection stands before the page is handed over. A cursor that the log cannot
    continue stays as it is: `hub.reset` alone moves it on, or who is cut off before that would
    never be told.
    """
    if after is None:
        return page.head
    if after == FROM_START:
        before = page.events[0].position if page.events else None
        return Position(page.head.epoch, before.offset - 1) if before else page.head
    return after
