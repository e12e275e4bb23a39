"""Who is connected, on all nodes: asked for when somebody wants to know, so that it costs nothing
while nobody does, and a node that has died leaves no ghosts.

Each node says every few seconds that it lives, and how many it holds. A question is announced to
all; those that live answer within the patience, and who did not is named in the answer.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

import msgspec

from hub.core.channel import topics_among
from hub.engine.connection import Connection
from hub.engine.fanout import Fanout
from hub.ports import Clock, ControlBus

_BEAT_SECONDS: Final = 5.0
_GONE_SECONDS: Final = 16.0
_PATIENCE_SECONDS: Final = 1.0


class Present(msgspec.Struct, frozen=True, kw_only=True):
    """One connection. since: Unix seconds. waiting: frames that wait for its socket."""

    connection: str
    user: str
    node: str
    transport: str
    address: str | None
    since: float
    topics: Sequence[str]
    events: int
    waiting: int


class NodeState(msgspec.Struct, frozen=True, kw_only=True):
    """What a node says of itself. seen_at, since: Unix seconds."""

    node: str
    since: float
    seen_at: float
    connections: int
    users: int
    draining: bool


class Roll(msgspec.Struct, frozen=True, kw_only=True):
    """Who is there. total: also those beyond the limit. missing: nodes that did not answer."""

    connections: Sequence[Present]
    total: int
    missing: Sequence[str]


class _Ask(msgspec.Struct, frozen=True, tag="ask"):
    id: str
    user: str | None
    limit: int


class _Answer(msgspec.Struct, frozen=True, tag="answer"):
    id: str
    node: str
    total: int
    connections: Sequence[Present]


class Presence:
    """The part of one node in it, and the questions asked here."""

    def __init__(
        self,
        bus: ControlBus,
        fanout: Fanout,
        clock: Clock,
        *,
        node: str,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._bus = bus
        self._fanout = fanout
        self._clock = clock
        self._node = node
        self._wall = wall
        self._since = wall()
        self._asked: dict[str, asyncio.Queue[_Answer]] = {}
        self._to_answer: asyncio.Queue[_Ask] = asyncio.Queue(64)
        self._decode = msgspec.json.Decoder(_Ask | _Answer).decode
        bus.listen(self._hear, lambda: None)

    async def beat(self) -> None:
        """Says that the node lives, until cancelled. Raises BrokerUnavailable."""
        while True:
            state = NodeState(
                node=self._node,
                since=self._since,
                seen_at=self._wall(),
                connections=len(self._fanout),
                users=self._fanout.users,
                draining=self._fanout.draining,
            )
            await self._bus.beat(self._node, msgspec.json.encode(state))
            await self._clock.sleep(_BEAT_SECONDS)

    async def answer(self) -> None:
        """Answers the questions of all nodes, until cancelled. Raises BrokerUnavailable."""
        while True:
            ask = await self._to_answer.get()
            if ask.user is None:
                here = self._fanout.connections
            else:
                here = self._fanout.of_user(ask.user)
            shown = [self._present(c) for c, _ in zip(here, range(ask.limit), strict=False)]
            said = _Answer(ask.id, self._node, len(here), shown)
            await self._bus.announce(msgspec.json.encode(said))

    async def nodes(self) -> list[NodeState]:
        """Those that live."""
        now = self._wall()
        states = [msgspec.json.decode(said, type=NodeState) for said in await self._bus.beats()]
        alive = [state for state in states if now - state.seen_at < _GONE_SECONDS]
        return sorted(alive, key=lambda state: state.node)

    async def who(self, user: str | None, limit: int) -> Roll:
        """Who is connected: a user's connections, or everybody's."""
        ask = _Ask(secrets.token_hex(8), user, limit)
        missing = {state.node for state in await self.nodes()}
        answers = self._asked[ask.id] = asyncio.Queue()
        found: list[Present] = []
        total = 0
        try:
            await self._bus.announce(msgspec.json.encode(ask))
            with suppress(TimeoutError):
                async with asyncio.timeout(_PATIENCE_SECONDS):
                    while missing:
                        said = await answers.get()
                        missing.discard(said.node)
                        found += said.connections
                        total += said.total
        finally:
            del self._asked[ask.id]
        return Roll(connections=found[:limit], total=total, missing=sorted(missing))

    def _hear(self, said: bytes) -> None:
        try:
            message = self._decode(said)
        except msgspec.DecodeError:
            return  # not for us
        if isinstance(message, _Ask):
            with suppress(asyncio.QueueFull):
                self._to_answer.put_nowait(message)
        elif message.id in self._asked:
            self._asked[message.id].put_nowait(message)

    def _present(self, connection: Connection) -> Present:
        return Present(
            connection=connection.name,
            user=connection.user,
            node=self._node,
            transport=connection.transport.label,
            address=connection.address,
            since=round(self._wall() - (self._clock.now() - connection.begun), 3),
            topics=topics_among(connection.channels),
            events=connection.events,
            waiting=connection.waiting,
        )
