"""Commands to one server: one wire, many in flight, their replies in the order of the commands.

Rules:
1. A command is sent at most once: what was in flight when the wire broke may have happened, and
   only its caller knows whether it may be repeated.
2. A command that could not be sent within `timeout_seconds` is never sent.
3. A wire on which nothing comes back for `timeout_seconds`, though something is awaited, is given
   up, with all that is in flight: a server that does not answer must not hold anyone longer.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

import structlog

from hub.backends.redis.client.connection import Argument, Connect, RespConnection, pack_command
from hub.backends.redis.client.script import Script
from hub.backends.redis.client.topology import RedisServer
from hub.errors import BrokerUnavailable

_LOOKS: Final = 8  # at the clock, in one time-out
_MOST_PAUSE_SECONDS: Final = 0.5
_log = structlog.get_logger(__name__)


class CommandPipeline:
    """Commands to one server; `run` keeps the wire up, and tells `failed` when it broke."""

    def __init__(
        self,
        server: RedisServer,
        connect: Connect,
        *,
        timeout_seconds: float,
        on_failure: Callable[[], None] = lambda: None,
    ) -> None:
        self.server = server
        self.disconnects = 0
        self._on_failure = on_failure
        self._connect = connect
        self._timeout_seconds = timeout_seconds
        self._connection: RespConnection | None = None
        self._in_flight: deque[asyncio.Future[Any]] = deque()
        self._connected = asyncio.Event()
        self._last_error = "not connected yet"

    def __repr__(self) -> str:
        state = "linked" if self._connection else self._last_error
        return f"<Pipe to {self.server} {state}, {len(self._in_flight)} in flight>"

    @property
    def is_ready(self) -> bool:
        """Whether a command can be sent at once."""
        return self._connection is not None and not self._connection.is_full

    @property
    def run_name(self) -> str:
        """The run of the server that it is linked to (wire.Wire.run)."""
        return self._connection.session if self._connection else ""

    async def wait_ready(self) -> None:
        """Returns when a command can be sent. Raises BrokerUnavailable when that takes too long."""
        try:
            async with asyncio.timeout(self._timeout_seconds):
                while not self.is_ready:
                    if self._connection is None:
                        await self._connected.wait()
                    else:
                        await self._connection.wait_writable()
        except TimeoutError:
            raise BrokerUnavailable(self._last_error) from None

    def send(self, words: Sequence[Argument]) -> asyncio.Future[Any]:
        """Sends a command now; the reply comes as the future's result, an error as a value too."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if self._connection is None:
            future.set_result(BrokerUnavailable(self._last_error))
            return future
        self._connection.send(pack_command(words))
        self._in_flight.append(future)
        return future

    async def call(self, *words: Argument) -> Any:
        """One exchange. Raises BrokerUnavailable; an error reply is returned as a value."""
        if not self.is_ready:
            await self.wait_ready()
        reply = await self.send(words)
        if isinstance(reply, BrokerUnavailable):
            raise reply
        return reply

    async def run(self) -> None:
        """Keeps it linked until cancelled."""
        pause = 0.0
        while True:
            wire: RespConnection | None = None
            try:
                wire = await self._connect(self.server, self._on_replies, self._timeout_seconds)
                self._connection, pause = wire, 0.0
                for script in Script.known:
                    self.send(("SCRIPT", "LOAD", script.body))
                self._connected.set()
                await self._monitor(wire)
            except BrokerUnavailable as error:
                self._last_error = str(error)
                self.disconnects += wire is not None
                tell = _log.warning if wire else _log.debug  # once, not at each new attempt
                tell("pipe.link_lost", server=str(self.server), error=self._last_error)
                self._on_failure()
            finally:
                self._connection = None
                self._connected.clear()
                self._fail_pending()
                if wire is not None:
                    await wire.close()
            await asyncio.sleep(pause)
            pause = min(_MOST_PAUSE_SECONDS, pause * 2 or 0.02)

    async def _monitor(self, wire: RespConnection) -> None:
        """Raises BrokerUnavailable when the wire is lost or silent."""
        loop = asyncio.get_running_loop()
        oldest, since = None, 0.0
        while True:
            gone, _ = await asyncio.wait((wire.lost,), timeout=self._timeout_seconds / _LOOKS)
            if gone:
                raise BrokerUnavailable("the broker closed the connection")
            first = self._in_flight[0] if self._in_flight else None
            if first is None or first is not oldest:
                oldest, since = first, loop.time()
            silent = loop.time() - max(since, wire.last_received_at)
            if first is not None and silent >= self._timeout_seconds * (1 - 1 / _LOOKS):
                raise BrokerUnavailable(
                    f"the broker has not answered in {self._timeout_seconds:g} s"
                )

    def _on_replies(self, replies: Sequence[Any]) -> None:
        for reply in replies:
            future = self._in_flight.popleft()
            if not future.done():  # else its caller was cancelled
                future.set_result(reply)

    def _fail_pending(self) -> None:
        while self._in_flight:
            self._on_replies([BrokerUnavailable(self._last_error)])
