"""Asks all nodes whether a user's connections have taken an event.

A connection has taken an event if the event was written to it and the connection is still open. A
node answers from its own connections, so that nothing is stored for each event. A request goes to
all nodes over the command bus, and has the questions of all callers of the last moment together.
A node that does not reply in time has taken nothing.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import msgspec

from hub.core.channel import Channel
from hub.core.cursor import Position
from hub.engine.streams.connection_query import live_nodes
from hub.engine.streams.connections import Connections
from hub.errors import BrokerUnavailable
from hub.ports.clock import Clock
from hub.ports.commands import CommandBus

_GATHER_SECONDS: Final = 0.01
_MAX_CHECKS: Final = 500
_REPLY_TIMEOUT_SECONDS: Final = 5.0
"""A node that is busy for a moment must not cost its users a notification of what they see, and a
node that was lost delays notifications only until its state has expired.
"""


class _Check(msgspec.Struct, frozen=True, array_like=True):
    user: str
    channel: Channel
    position: Position


class _TakenRequest(msgspec.Struct, frozen=True, tag="taken"):
    id: str
    checks: Sequence[_Check]


class _TakenReply(msgspec.Struct, frozen=True, tag="taken_reply"):
    """numbers: of the checks whose event was taken on this node."""

    id: str
    node: str
    numbers: Sequence[int]


class TakenReplies:
    """Replies for this node."""

    def __init__(self, bus: CommandBus, connections: Connections, *, node: str) -> None:
        self._bus = bus
        self._connections = connections
        self._node = node
        self._requests: asyncio.Queue[_TakenRequest] = asyncio.Queue(256)  # others are dropped
        self._decode = msgspec.json.Decoder(_TakenRequest).decode
        bus.listen(self._on_message, lambda: None)

    async def run(self) -> None:
        """Reply to the requests of all workers, until cancelled. Raise BrokerUnavailable."""
        while True:
            request = await self._requests.get()
            numbers = [n for n, each in enumerate(request.checks) if self._is_taken(each)]
            reply = _TakenReply(request.id, self._node, numbers)
            await self._bus.broadcast(msgspec.json.encode(reply))

    def _is_taken(self, check: _Check) -> bool:
        return any(
            each.has_taken(check.channel, check.position)
            for each in self._connections.by_user(check.user)
        )

    def _on_message(self, text: bytes) -> None:
        with suppress(msgspec.DecodeError, asyncio.QueueFull):
            self._requests.put_nowait(self._decode(text))


class TakenQuery:
    """Sends requests to all nodes. Without `run`, no call returns.

    reply_timeout_seconds: how long a node may take to reply.
    """

    def __init__(
        self,
        bus: CommandBus,
        clock: Clock,
        *,
        reply_timeout_seconds: float = _REPLY_TIMEOUT_SECONDS,
    ) -> None:
        self._reply_timeout_seconds = reply_timeout_seconds
        self._bus = bus
        self._clock = clock
        self._pending: list[tuple[_Check, asyncio.Future[bool]]] = []
        self._has_pending = asyncio.Event()
        self._replies: dict[str, asyncio.Queue[_TakenReply]] = {}  # by the id of the request
        self._decode = msgspec.json.Decoder(_TakenReply).decode
        bus.listen(self._on_message, lambda: None)

    async def is_taken(self, user: str, channel: Channel, position: Position) -> bool:
        """Return whether an open connection of the user was sent the event at a position.

        channel: the channel of the event. Raise BrokerUnavailable.
        """
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._pending.append((_Check(user, channel, position), answer))
        self._has_pending.set()
        return await answer

    async def run(self) -> None:
        """Send the requests of callers, until cancelled."""
        while True:
            await self._has_pending.wait()
            await self._clock.sleep(_GATHER_SECONDS)
            batch, self._pending = self._pending[:_MAX_CHECKS], self._pending[_MAX_CHECKS:]
            if not self._pending:
                self._has_pending.clear()
            batch = [each for each in batch if not each[1].done()]
            try:
                numbers = await self._ask([check for check, _ in batch])
            except BrokerUnavailable as error:
                for _, answer in batch:
                    if not answer.done():
                        answer.set_exception(error)
            else:
                for n, (_, answer) in enumerate(batch):
                    if not answer.done():
                        answer.set_result(n in numbers)

    async def _ask(self, checks: Sequence[_Check]) -> set[int]:
        missing = {state.node for state in await live_nodes(self._bus)}
        numbers: set[int] = set()
        if not checks or not missing:
            return numbers
        request = _TakenRequest(secrets.token_hex(8), checks)
        replies = self._replies[request.id] = asyncio.Queue()
        try:
            await self._bus.broadcast(msgspec.json.encode(request))
            with suppress(TimeoutError):
                async with asyncio.timeout(self._reply_timeout_seconds):
                    while missing and len(numbers) < len(checks):
                        reply = await replies.get()
                        missing.discard(reply.node)
                        numbers.update(reply.numbers)
        finally:
            del self._replies[request.id]
        return numbers

    def _on_message(self, text: bytes) -> None:
        try:
            reply = self._decode(text)
        except msgspec.DecodeError:
            return  # another kind of command
        if reply.id in self._replies:
            self._replies[reply.id].put_nowait(reply)
