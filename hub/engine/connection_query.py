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
from hub.engine.connections import Connections
from hub.ports.clock import Clock
from hub.ports.commands import CommandBus

_STATE_INTERVAL_SECONDS: Final = 5.0
_NODE_TIMEOUT_SECONDS: Final = 16.0
_REPLY_TIMEOUT_SECONDS: Final = 1.0


class ConnectionInfo(msgspec.Struct, frozen=True, kw_only=True):
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


class ConnectionPage(msgspec.Struct, frozen=True, kw_only=True):
    """Who is there. total: also those beyond the limit. missing: nodes that did not answer."""

    connections: Sequence[ConnectionInfo]
    total: int
    missing: Sequence[str]


class _ListRequest(msgspec.Struct, frozen=True, tag="ask"):
    id: str
    user: str | None
    limit: int


class _ListReply(msgspec.Struct, frozen=True, tag="answer"):
    id: str
    node: str
    total: int
    connections: Sequence[ConnectionInfo]


class ConnectionQuery:
    """The part of one node in it, and the questions asked here."""

    def __init__(
        self,
        bus: CommandBus,
        fanout: Connections,
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
        self._asked: dict[str, asyncio.Queue[_ListReply]] = {}
        self._to_answer: asyncio.Queue[_ListRequest] = asyncio.Queue(64)
        self._decode = msgspec.json.Decoder(_ListRequest | _ListReply).decode
        bus.listen(self._on_message, lambda: None)

    async def keep_node_state(self) -> None:
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
            await self._bus.put_node_state(self._node, msgspec.json.encode(state))
            await self._clock.sleep(_STATE_INTERVAL_SECONDS)

    async def answer_requests(self) -> None:
        """Answers the questions of all nodes, until cancelled. Raises BrokerUnavailable."""
        while True:
            ask = await self._to_answer.get()
            if ask.user is None:
                here = self._fanout.connections
            else:
                here = self._fanout.by_user(ask.user)
            shown = [self._connection_info(c) for c, _ in zip(here, range(ask.limit), strict=False)]
            said = _ListReply(ask.id, self._node, len(here), shown)
            await self._bus.broadcast(msgspec.json.encode(said))

    async def nodes(self) -> list[NodeState]:
        """Those that live."""
        now = self._wall()
        states = [
            msgspec.json.decode(said, type=NodeState) for said in await self._bus.node_states()
        ]
        alive = [state for state in states if now - state.seen_at < _NODE_TIMEOUT_SECONDS]
        return sorted(alive, key=lambda state: state.node)

    async def list(self, user: str | None, limit: int) -> ConnectionPage:
        """Who is connected: a user's connections, or everybody's."""
        ask = _ListRequest(secrets.token_hex(8), user, limit)
        missing = {state.node for state in await self.nodes()}
        answers = self._asked[ask.id] = asyncio.Queue()
        found: list[ConnectionInfo] = []
        total = 0
        try:
            await self._bus.broadcast(msgspec.json.encode(ask))
            with suppress(TimeoutError):
                async with asyncio.timeout(_REPLY_TIMEOUT_SECONDS):
                    while missing:
                        said = await answers.get()
                        missing.discard(said.node)
                        found += said.connections
                        total += said.total
        finally:
            del self._asked[ask.id]
        return ConnectionPage(connections=found[:limit], total=total, missing=sorted(missing))

    def _on_message(self, said: bytes) -> None:
        try:
            message = self._decode(said)
        except msgspec.DecodeError:
            return  # not for us
        if isinstance(message, _ListRequest):
            with suppress(asyncio.QueueFull):
                self._to_answer.put_nowait(message)
        elif message.id in self._asked:
            self._asked[message.id].put_nowait(message)

    def _connection_info(self, connection: Connection) -> ConnectionInfo:
        return ConnectionInfo(
            connection=connection.id,
            user=connection.user,
            node=self._node,
            transport=connection.encoder.label,
            address=connection.address,
            since=round(self._wall() - (self._clock.now() - connection.connected_at), 3),
            topics=topics_among(connection.channels),
            events=connection.events,
            waiting=connection.queued_frames,
        )
