"""Orders that every node follows: disconnect a user, block it for a while, revoke a token.

An order is announced to all nodes; what lasts is stored too, and read again by a node that comes or
whose link was down, so that a lost announcement denies all the same.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Final

import msgspec

from hub.core.close_reason import CloseReason
from hub.core.denylist import TOKEN, USER, Denylist
from hub.engine.connection import Connection
from hub.engine.connections import Connections
from hub.ports.commands import CommandBus

_REFRESH_INTERVAL_SECONDS: Final = 30.0


class AdminCommand(msgspec.Struct, frozen=True, tag="order"):
    """End the connections of a subject (Denials), and let it in no more until then (0: at once)."""

    subject: str
    until: float = 0.0


class AdminCommands:
    """Gives orders, and follows those of all nodes."""

    def __init__(
        self,
        bus: CommandBus,
        fanout: Connections,
        *,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.denylist = Denylist()
        self._bus = bus
        self._fanout = fanout
        self._wall = wall
        self._missed = asyncio.Event()
        bus.listen(self._on_message, self._missed.set)

    async def disconnect(self, user: str, block_seconds: float = 0.0) -> float | None:
        """Ends the user's connections on every node. Returns until when it is blocked, if it is."""
        return await self._send(USER + user, self._wall() + block_seconds, block_seconds > 0)

    async def revoke(self, token_id: str, until: float) -> None:
        """Ends the token's connections on every node; it is refused until then, when it expires
        anyway.
        """
        await self._send(TOKEN + token_id, until, until > self._wall())

    async def run(self) -> None:
        """Reads what is denied, now and again, until cancelled. Raises BrokerUnavailable."""
        while True:
            self._missed.clear()
            self.denylist.merge(await self._bus.blocked(), self._wall())
            self._close_connections(self.denylist.current(self._wall()))
            with suppress(TimeoutError):
                async with asyncio.timeout(_REFRESH_INTERVAL_SECONDS):
                    await self._missed.wait()

    async def _send(self, subject: str, until: float, lasts: bool) -> float | None:
        if lasts:
            await self._bus.block(subject, until)
        order = AdminCommand(subject, until if lasts else 0.0)
        await self._bus.broadcast(msgspec.json.encode(order))
        return until if lasts else None

    def _on_message(self, said: bytes) -> None:
        try:
            order = msgspec.json.decode(said, type=AdminCommand)
        except msgspec.DecodeError:
            return  # not for us
        if order.until:
            self.denylist.add(order.subject, order.until)
        self._close_connections([order.subject])

    def _close_connections(self, subjects: Collection[str]) -> None:
        ending: list[Connection] = []
        for subject in subjects:
            if subject.startswith(USER):
                ending += self._fanout.by_user(subject.removeprefix(USER))
        tokens = {each.removeprefix(TOKEN) for each in subjects if each.startswith(TOKEN)}
        if tokens:
            ending += [c for c in self._fanout.connections if c.token_id in tokens]
        for connection in ending:
            connection.close(CloseReason.DISCONNECTED)
