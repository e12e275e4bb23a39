"""Admin commands for all nodes: disconnect a user, block a user for some time, revoke a token.

A command is sent to all nodes. A block or revocation is stored as well, and a node reads the stored
ones when it starts and after it has lost its connection, so that it also knows those whose message
it missed.
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
from hub.engine.streams.connection import Connection
from hub.engine.streams.connections import Connections
from hub.ports.commands import CommandBus

_REFRESH_INTERVAL_SECONDS: Final = 10.0
_CLOCK_TOLERANCE_SECONDS: Final = 86_400.0


class AdminCommand(msgspec.Struct, frozen=True, tag="admin"):
    """Close the connections of a subject (see Denylist).

    seconds: for how long it is blocked from now on; 0 for no block. A duration, because the clocks
    of two nodes may differ.
    """

    subject: str
    seconds: float = 0.0


class AdminCommands:
    """Sends admin commands, and executes those of all nodes.

    wall: returns the time in Unix seconds.
    """

    def __init__(
        self,
        bus: CommandBus,
        connections: Connections,
        *,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.denylist = Denylist()
        self._bus = bus
        self._connections = connections
        self._wall = wall
        self._missed = asyncio.Event()  # set when commands may have been missed
        bus.listen(self._on_message, self._missed.set)

    async def disconnect(self, user: str, block_seconds: float = 0.0) -> float | None:
        """Close the user's connections on every node, and block the user for `block_seconds`.

        Return the end of the block in Unix seconds, or None. Raise BrokerUnavailable.
        """
        await self._send(USER + user, block_seconds)
        return self._wall() + block_seconds if block_seconds > 0 else None

    async def revoke(self, token_id: str, until: float) -> None:
        """Close the token's connections on every node, and refuse the token.

        until: when the token expires, in Unix seconds. It is refused for a day longer, because the
        clock of a node may be behind. Raise BrokerUnavailable.
        """
        await self._send(TOKEN + token_id, until - self._wall() + _CLOCK_TOLERANCE_SECONDS)

    async def run(self) -> None:
        """Read the stored blocks regularly, and after missed messages, until cancelled. Store those
        again that the broker has lost.

        Raise BrokerUnavailable.
        """
        while True:
            self._missed.clear()
            blocked = await self._bus.blocked()
            now = self._wall()
            self.denylist.merge({each: now + left for each, left in blocked.items()}, now)
            self._close_connections(self.denylist.current(now))
            await self._restore(blocked, now)
            with suppress(TimeoutError):
                async with asyncio.timeout(_REFRESH_INTERVAL_SECONDS):
                    await self._missed.wait()

    async def _restore(self, stored: Collection[str], now: float) -> None:
        """Store the blocks that this node knows and the broker has lost.

        Otherwise a node that starts after a loss of data would not know them.
        """
        for subject in self.denylist.current(now):
            until = self.denylist.blocked_until(subject, now)
            if subject not in stored and until is not None:
                await self._bus.block(subject, until - now)

    async def _send(self, subject: str, seconds: float) -> None:
        if seconds > 0:
            await self._bus.block(subject, seconds)
        command = AdminCommand(subject, max(0.0, seconds))
        await self._bus.broadcast(msgspec.json.encode(command))

    def _on_message(self, text: bytes) -> None:
        try:
            command = msgspec.json.decode(text, type=AdminCommand)
        except msgspec.DecodeError:
            return  # another kind of command
        if command.seconds:
            self.denylist.add(command.subject, self._wall() + command.seconds)
        self._close_connections([command.subject])

    def _close_connections(self, subjects: Collection[str]) -> None:
        connections: list[Connection] = []
        for subject in subjects:
            if subject.startswith(USER):
                connections += self._connections.by_user(subject.removeprefix(USER))
        tokens = {s.removeprefix(TOKEN) for s in subjects if s.startswith(TOKEN)}
        if tokens:
            connections += [c for c in self._connections.connections if c.token_id in tokens]
        for connection in connections:
            connection.close(CloseReason.DISCONNECTED)
