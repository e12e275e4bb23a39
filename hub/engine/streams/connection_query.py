"""List the connections of all nodes.

The list is collected on request: it costs nothing between requests, and a node that died leaves no
stale entries. Each node stores its state every few seconds. A request goes to all nodes, and the
list names those nodes that did not reply in time.
"""

from __future__ import annotations

import asyncio
import heapq
import secrets
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from typing import Final

import msgspec

from hub.core.channel import topics_among
from hub.engine.streams.connection import Connection
from hub.engine.streams.connections import Connections
from hub.ports.clock import Clock
from hub.ports.commands import CommandBus

_STATE_INTERVAL_SECONDS: Final = 5.0
_NODE_TIMEOUT_SECONDS: Final = 16.0
_REPLY_TIMEOUT_SECONDS: Final = 1.0


class ConnectionInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One connection. since: Unix seconds. waiting: the frames that wait for its socket."""

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
    """The state of a node. since: its start; seen_at: when it stored this. Both in Unix seconds."""

    node: str
    since: float
    seen_at: float
    connections: int
    users: int
    draining: bool


class ConnectionPage(msgspec.Struct, frozen=True, kw_only=True):
    """Some connections, in the order of their ids. total: the number of all that fit. missing:
    nodes that did not reply. next: the value of `after` for the next page, null on the last one.
    """

    connections: Sequence[ConnectionInfo]
    total: int
    missing: Sequence[str]
    next: str | None = None


class ConnectionFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which connections a list has.

    user: None means those of all users. waiting: only those for whose sockets frames wait, the
    most first. connection: only the one with this id. after: the id after which the page begins.
    """

    limit: int
    user: str | None = None
    waiting: bool = False
    connection: str | None = None
    after: str = ""


class _ListRequest(msgspec.Struct, frozen=True, tag="list"):
    id: str
    filter: ConnectionFilter


class _ListReply(msgspec.Struct, frozen=True, tag="list_reply"):
    id: str
    node: str
    total: int
    connections: Sequence[ConnectionInfo]


async def live_nodes(bus: CommandBus) -> list[NodeState]:
    """Return the states of the nodes that are alive. Raise BrokerUnavailable."""
    return [
        msgspec.json.decode(state, type=NodeState)
        for state, age_seconds in await bus.node_states()
        if age_seconds < _NODE_TIMEOUT_SECONDS
    ]


class ConnectionQuery:
    """Sends requests to all nodes, and replies for this node."""

    def __init__(
        self,
        bus: CommandBus,
        connections: Connections,
        clock: Clock,
        *,
        node: str,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._bus = bus
        self._connections = connections
        self._clock = clock
        self._node = node
        self._wall = wall
        self._since = wall()
        self._replies: dict[str, asyncio.Queue[_ListReply]] = {}  # by the id of the request
        self._requests: asyncio.Queue[_ListRequest] = asyncio.Queue(64)  # further ones are dropped
        self._decode = msgspec.json.Decoder(_ListRequest | _ListReply).decode
        bus.listen(self._on_message, lambda: None)

    async def keep_node_state(self) -> None:
        """Store this node's state every few seconds, until cancelled. Raise BrokerUnavailable."""
        while True:
            state = NodeState(
                node=self._node,
                since=self._since,
                seen_at=self._wall(),
                connections=len(self._connections),
                users=self._connections.users,
                draining=self._connections.draining,
            )
            await self._bus.put_node_state(self._node, msgspec.json.encode(state))
            await self._clock.sleep(_STATE_INTERVAL_SECONDS)

    async def answer_requests(self) -> None:
        """Reply to the requests of all nodes, until cancelled. Raise BrokerUnavailable."""
        while True:
            request = await self._requests.get()
            matching, total = self._find(request.filter)
            infos = [self._connection_info(c) for c in matching]
            reply = _ListReply(request.id, self._node, total, infos)
            await self._bus.broadcast(msgspec.json.encode(reply))

    def _find(self, which: ConnectionFilter) -> tuple[list[Connection], int]:
        """Return the first connections of this node that fit, and the number of all of them.

        One more than the limit tells that there is a next page.
        """
        if which.user is None:
            connections: Collection[Connection] = self._connections.connections
        else:
            connections = self._connections.by_user(which.user)
        if which.waiting:
            slow = [c for c in connections if c.queued_frames]
            return heapq.nlargest(which.limit, slow, key=lambda c: c.queued_frames), len(slow)
        if which.connection is not None:
            matching = [c for c in connections if c.id == which.connection]
            return matching, len(matching)
        later = (c for c in connections if c.id > which.after)
        return heapq.nsmallest(which.limit + 1, later, key=lambda c: c.id), len(connections)

    async def nodes(self) -> list[NodeState]:
        """Return the state of every node that is alive. Raise BrokerUnavailable."""
        return sorted(await live_nodes(self._bus), key=lambda state: state.node)

    async def list(self, which: ConnectionFilter) -> ConnectionPage:
        """List connections of all nodes. Raise BrokerUnavailable."""
        request = _ListRequest(secrets.token_hex(8), which)
        missing = {state.node for state in await self.nodes()}
        replies = self._replies[request.id] = asyncio.Queue()
        infos: list[ConnectionInfo] = []
        total = 0
        try:
            await self._bus.broadcast(msgspec.json.encode(request))
            with suppress(TimeoutError):
                async with asyncio.timeout(_REPLY_TIMEOUT_SECONDS):
                    while missing:
                        reply = await replies.get()
                        missing.discard(reply.node)
                        infos += reply.connections
                        total += reply.total
        finally:
            del self._replies[request.id]
        if which.waiting:
            infos.sort(key=lambda info: -info.waiting)
        else:
            infos.sort(key=lambda info: info.connection)
        page = infos[: which.limit]
        has_more = len(infos) > which.limit and not which.waiting
        following = page[-1].connection if has_more else None
        return ConnectionPage(
            connections=page, total=total, missing=sorted(missing), next=following
        )

    def _on_message(self, text: bytes) -> None:
        try:
            message = self._decode(text)
        except msgspec.DecodeError:
            return  # another kind of command
        if isinstance(message, _ListRequest):
            with suppress(asyncio.QueueFull):
                self._requests.put_nowait(message)
        elif message.id in self._replies:
            self._replies[message.id].put_nowait(message)

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
