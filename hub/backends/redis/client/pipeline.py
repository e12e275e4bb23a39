"""Commands to one server: one connection, many commands in flight, replies in the same order.

Rules:
1. A command is sent at most once. A command that was in flight when the connection broke may have
   been executed, and only its caller knows whether it may be repeated.
2. A command that could not be sent within `timeout_seconds` is never sent.
   It fails with ConnectionLost.
3. When replies are due and no byte arrives for `timeout_seconds`, the connection is closed and
   everything in flight fails: no caller waits longer for a server that does not answer.
4. A reply that says that the login is lost means that the command was not executed. Nothing more
   is sent then; when the last reply is there, the connection is replaced by one with a new login.
5. An idle connection gets a PING at intervals, so that no firewall or NAT forgets it, and one that
   died silently is replaced before a caller needs it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

import structlog

from hub.backends.redis.client.connection import (
    Argument,
    Connect,
    RespConnection,
    is_login_required,
    pack_command,
)
from hub.backends.redis.client.script import Script
from hub.backends.redis.client.server_history import ServerHistory
from hub.backends.redis.client.topology import RedisServer
from hub.errors import BrokerUnavailable

_CHECKS_PER_TIMEOUT: Final = 8
_MAX_BACKOFF_SECONDS: Final = 0.5
_STABLE_LOGIN_SECONDS: Final = 1.0  # a login that was lost earlier is not renewed at once again
_TIMEOUTS_BETWEEN_PINGS: Final = 3
_log = structlog.get_logger(__name__)


class ConnectionLost(BrokerUnavailable):
    """The connection broke before the reply; the command may have been executed."""


class CommandPipeline:
    """Sends commands to one server; `run` keeps the connection open.

    on_failure: called each time the connection broke or could not be opened.
    """

    def __init__(
        self,
        server: RedisServer,
        connect: Connect,
        *,
        timeout_seconds: float,
        on_failure: Callable[[], None] = lambda: None,
    ) -> None:
        self.server = server
        self.disconnects = 0  # number of lost connections
        self._on_failure = on_failure
        self._connect = connect
        self._timeout_seconds = timeout_seconds
        self._connection: RespConnection | None = None  # None while disconnected
        self._history = ServerHistory("")  # of the server, on this connection
        self._in_flight: deque[asyncio.Future[Any]] = deque()  # oldest command first
        self._connected = asyncio.Event()  # set while commands may be sent on the connection
        # See rule 4: done when the login is lost and every reply is there. None while disconnected.
        self._drained: asyncio.Future[None] | None = None
        self._login_lost = False
        self._last_error = "the server has not answered to the new connection"

    def __repr__(self) -> str:
        state = "connected" if self._connection else self._last_error
        return f"<CommandPipeline to {self.server} {state}, {len(self._in_flight)} in flight>"

    @property
    def is_ready(self) -> bool:
        """Whether a command can be sent at once."""
        connection = self._connection
        return connection is not None and not connection.is_full and not self._login_lost

    def script_argument(self) -> str:
        """Return the first argument of a script that is sent now (ServerHistory)."""
        return self._history.argument(asyncio.get_running_loop().time())

    async def wait_ready(self) -> None:
        """Return when a command can be sent. Raise BrokerUnavailable after `timeout_seconds`."""
        try:
            async with asyncio.timeout(self._timeout_seconds):
                while not self.is_ready:
                    if self._connection is None or self._login_lost:
                        await self._connected.wait()
                    else:
                        await self._connection.wait_writable()
        except TimeoutError:
            raise BrokerUnavailable(self._last_error) from None

    def send(self, arguments: Sequence[Argument]) -> asyncio.Future[Any]:
        """Send a command now and return a future of its reply; an error is a value too."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if self._connection is None:
            future.set_result(BrokerUnavailable(self._last_error))
            return future
        self._connection.send(pack_command(arguments))
        self._in_flight.append(future)
        return future

    async def call(self, *arguments: Argument) -> Any:
        """Send a command and return its reply. Raise BrokerUnavailable.

        An error reply is returned as a value.
        """
        if not self.is_ready:
            await self.wait_ready()
        reply = await self.send(arguments)
        if isinstance(reply, BrokerUnavailable):
            raise reply
        return reply

    async def run(self) -> None:
        """Keep the connection open until cancelled."""
        loop = asyncio.get_running_loop()
        backoff = connected_at = 0.0
        while True:
            connection: RespConnection | None = None
            try:
                connection = await self._connect(
                    self.server, self._on_replies, self._timeout_seconds
                )
                if not self._login_lost or loop.time() - connected_at > _STABLE_LOGIN_SECONDS:
                    backoff = 0.0
                connected_at = loop.time()
                self._history = ServerHistory(connection.run_id)
                self._login_lost, self._drained = False, loop.create_future()
                missing = await self._list_missing_scripts(connection)
                self._connection = connection
                for script in missing:
                    self.send(("SCRIPT", "LOAD", script.body))
                self._connected.set()
                await self._monitor(connection, self._drained)
            except BrokerUnavailable as error:
                self._last_error = str(error)
                self.disconnects += connection is not None
                log = (
                    _log.warning if connection else _log.debug
                )  # warn once, not at each new attempt
                log("redis.disconnected", server=str(self.server), error=self._last_error)
                self._on_failure()
            finally:
                self._connection = None
                self._connected.clear()
                self._fail_pending()
                if connection is not None:
                    await connection.close()
            await asyncio.sleep(backoff)
            backoff = min(_MAX_BACKOFF_SECONDS, backoff * 2 or 0.02)

    async def _list_missing_scripts(self, connection: RespConnection) -> Sequence[Script]:
        """Return the scripts that the server lacks. Together they have most of a megabyte.

        Return all of them if the server does not say so: a login may have rules from before the hub
        needed SCRIPT EXISTS.

        Raise BrokerUnavailable.
        """
        scripts = list(Script.known)
        reply: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._in_flight.append(reply)
        connection.send(pack_command(("SCRIPT", "EXISTS", *(script.sha for script in scripts))))
        await asyncio.wait(
            (reply, connection.lost),
            timeout=self._timeout_seconds,
            return_when=asyncio.FIRST_COMPLETED,
        )
        if self._login_lost:
            raise BrokerUnavailable("the broker requires a new login")
        if not reply.done():
            raise BrokerUnavailable("the broker has not answered on the new connection")
        exist = reply.result()
        if not isinstance(exist, list):
            return scripts
        return [script for script, exists in zip(scripts, exist, strict=True) if not exists]

    async def _monitor(self, connection: RespConnection, drained: asyncio.Future[None]) -> None:
        """Raise BrokerUnavailable when the connection is lost or silent, or needs a new login."""
        loop = asyncio.get_running_loop()
        oldest, since = None, 0.0
        while True:
            await asyncio.wait(
                (connection.lost, drained),
                timeout=self._timeout_seconds / _CHECKS_PER_TIMEOUT,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if drained.done():
                raise BrokerUnavailable("the broker requires a new login")
            if connection.lost.done():
                raise BrokerUnavailable("the broker closed the connection")
            idle = loop.time() - connection.last_received_at
            if not self._in_flight and idle >= self._timeout_seconds * _TIMEOUTS_BETWEEN_PINGS:
                self.send(("PING",))
            first = self._in_flight[0] if self._in_flight else None
            if first is None or first is not oldest:
                oldest, since = first, loop.time()
            silent = loop.time() - max(since, connection.last_received_at)
            if first is not None and silent >= self._timeout_seconds * (
                1 - 1 / _CHECKS_PER_TIMEOUT
            ):
                raise BrokerUnavailable(
                    f"the broker has not answered in {self._timeout_seconds:g} s"
                )

    def _ask_for_history(self) -> None:
        """Have the server say which history its data has, if many scripts need it."""
        history, now = self._history, asyncio.get_running_loop().time()
        if self._connection is None or self._login_lost or not history.should_ask(now):
            return
        time = self.send(("TIME",))
        self.send(("INFO", "replication")).add_done_callback(
            lambda replication: history.learn(now, time.result(), replication.result())
        )

    def _on_replies(self, replies: Sequence[Any]) -> None:
        for reply in replies:
            future = self._in_flight.popleft()
            if not future.done():  # its caller may have been cancelled
                future.set_result(reply)
            if is_login_required(reply) and not self._login_lost:
                self._login_lost = True
                self._connected.clear()
                self.server.on_login_refused()
        if self._login_lost and not self._in_flight:
            assert self._drained is not None
            if not self._drained.done():
                self._drained.set_result(None)
        self._ask_for_history()

    def _fail_pending(self) -> None:
        while self._in_flight:
            self._on_replies([ConnectionLost(self._last_error)])
