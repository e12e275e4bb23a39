"""One raw connection to a server that speaks the Redis protocol (RESP2).

redis-py opens the connection (TCP, TLS or unix socket; login; database). Then this module takes the
transport over: all commands of one iteration of the loop leave in one write, and the replies of one
read are passed on together. A connection has no task, future or timer for each command.

RESP2, because redis-py 8.1 formats a debug string for each RESP3 push message, and hiredis does not
need RESP3.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Protocol

import hiredis
from redis.exceptions import NoPermissionError, RedisError, ResponseError

from hub.backends.redis.client.topology import RedisServer
from hub.errors import BrokerUnavailable

Argument = str | bytes | int | float
OnReplies = Callable[[Sequence[Any]], None]

_MAX_UNSENT_BYTES: Final = 1024 * 1024
_RUN_ID: Final = re.compile(rb"run_id:([0-9a-f]{10})")


class RespConnection(Protocol):
    """A connection, as pipelines and subscriptions use it.

    An error reply is a value of the type ResponseError.
    """

    run_id: str
    """Identifies the server process: after a restart or a failover its data may differ. Empty if
    this login may not read it."""
    last_received_at: float
    """Loop time at which the last byte was received."""
    lost: asyncio.Future[None]
    """Done when the connection is closed."""

    @property
    def is_full(self) -> bool:
        """Whether so many bytes are unsent that callers should wait."""
        ...

    def send(self, packed: bytes) -> None:
        """Send a packed command, together with all others of this iteration of the loop."""
        ...

    async def wait_writable(self) -> None:
        """Return when the socket takes more bytes."""
        ...

    def pause_reading(self, seconds: float) -> None:
        """Read nothing for so long; everything that arrives meanwhile is then read at once."""
        ...

    async def close(self) -> None:
        """Close the connection at once."""
        ...


Connect = Callable[[RedisServer, OnReplies, float], Awaitable[RespConnection]]


def pack_command(arguments: Sequence[Argument]) -> bytes:
    """Return a command in RESP."""
    packed: bytes = hiredis.pack_command(tuple(arguments))  # type: ignore[arg-type]
    return packed


async def open_resp_connection(
    server: RedisServer, on_replies: OnReplies, timeout_seconds: float
) -> RespConnection:
    """Open a connection to a server. Raise BrokerUnavailable."""
    try:
        async with asyncio.timeout(timeout_seconds):
            connection = await server.connect()
            try:
                run_id = await _read_run_id(connection)
            except BaseException:
                await connection.disconnect(nowait=True)
                raise
    except (RedisError, OSError, TimeoutError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise BrokerUnavailable(f"the broker does not answer: {reason}") from error
    return SocketRespConnection(connection, run_id, on_replies)


def is_login_required(reply: Any) -> bool:
    """Return whether a reply says that the connection has no login (any more).

    The command was not executed. This happens on an open connection where a proxy before the
    servers forgets a login, or the server ends it because its credentials have expired.
    """
    return isinstance(reply, ResponseError) and str(reply).startswith("NOAUTH")


async def _read_run_id(connection: Any) -> str:
    """Return the run id of the server, or an empty text if this login may not run INFO."""
    await connection.send_command("INFO", "server")
    try:
        run_id = _RUN_ID.search(await connection.read_response())
    except NoPermissionError:
        return ""
    except ResponseError as error:
        if str(error).startswith("unknown command"):
            return ""
        raise
    return run_id[1].decode() if run_id else ""


class SocketRespConnection(asyncio.Protocol):
    """Implements RespConnection over a redis-py connection that has logged in."""

    def __init__(self, connection: Any, run_id: str, on_replies: OnReplies) -> None:
        self.run_id = run_id
        self._connection = connection  # a garbage-collected StreamWriter closes its transport
        self._on_replies = on_replies
        self._loop = asyncio.get_running_loop()
        self._reader = hiredis.Reader(replyError=ResponseError)
        self._unsent: list[bytes] = []  # packed commands of this iteration of the loop
        self.lost = self._loop.create_future()
        self._writable = asyncio.Event()
        self._writable.set()
        self.last_received_at = self._loop.time()
        self._transport: asyncio.Transport = connection._writer.transport
        self._transport.set_write_buffer_limits(high=_MAX_UNSENT_BYTES)
        self._transport.set_protocol(self)
        if self._transport.is_closing():
            self.connection_lost(None)

    def send(self, packed: bytes) -> None:
        if not self._unsent:
            self._loop.call_soon(self._flush)
        self._unsent.append(packed)

    @property
    def is_full(self) -> bool:
        return not self._writable.is_set()

    async def wait_writable(self) -> None:
        await self._writable.wait()

    def pause_reading(self, seconds: float) -> None:
        self._transport.pause_reading()
        self._loop.call_later(seconds, self._resume_reading)

    async def close(self) -> None:
        self._transport.abort()
        await self._connection.disconnect(nowait=True)

    def _flush(self) -> None:
        unsent, self._unsent = self._unsent, []
        if not self._transport.is_closing():
            self._transport.write(b"".join(unsent))

    def _resume_reading(self) -> None:
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        self.last_received_at = self._loop.time()
        self._reader.feed(data)
        gets, replies = self._reader.gets, []
        while (reply := gets()) is not False:
            replies.append(reply)
        if replies:
            self._on_replies(replies)

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def connection_lost(self, error: Exception | None) -> None:
        self._writable.set()
        if not self.lost.done():
            self.lost.set_result(None)
