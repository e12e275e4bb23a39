"""One raw connection to a server of Redis's protocol (RESP2).

redis-py connects it (TCP, TLS or unix socket; login; database); then this takes its transport over:
what is sent in one tick of the loop leaves in one write, and replies are handed over as they come
(those of one read at once), without a task, a future or a timer of its own.

RESP2, because redis-py 8.1 formats a debug string for each RESP3 push, and hiredis needs no more.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Protocol

import hiredis
from redis.exceptions import RedisError, ResponseError

from hub.backends.redis.client.topology import RedisServer
from hub.errors import BrokerUnavailable

Argument = str | bytes | int | float
OnReplies = Callable[[Sequence[Any]], None]

_MAX_UNSENT_BYTES: Final = 1024 * 1024
_RUN: Final = re.compile(rb"run_id:([0-9a-f]{10})")


class RespConnection(Protocol):
    """What pipes and ears need of a connection. Error replies come as ResponseError values."""

    session: str
    """Names the server process at the other end: another run may have another history."""
    last_received_at: float
    """When the last byte came, in the loop's time."""
    lost: asyncio.Future[None]
    """Done when the connection is gone."""

    @property
    def is_full(self) -> bool:
        """Whether too much is unsent."""
        ...

    def send(self, packed: bytes) -> None:
        """Sends a command, packed, with whatever else is sent in this tick."""
        ...

    async def wait_writable(self) -> None:
        """Returns when the socket takes more."""
        ...

    async def close(self) -> None:
        """Drops it."""
        ...


Connect = Callable[[RedisServer, OnReplies, float], Awaitable[RespConnection]]


def pack_command(arguments: Sequence[Argument]) -> bytes:
    """A command in RESP."""
    packed: bytes = hiredis.pack_command(tuple(arguments))  # type: ignore[arg-type]
    return packed


async def open_resp_connection(
    server: RedisServer, on_replies: OnReplies, timeout_seconds: float
) -> RespConnection:
    """A wire to the place. Raises BrokerUnavailable."""
    connection = server.new_connection()
    try:
        async with asyncio.timeout(timeout_seconds):
            await connection.connect()  # type: ignore[no-untyped-call]
            await connection.send_command("INFO", "server")
            found = _RUN.search(await connection.read_response())
    except (RedisError, OSError, TimeoutError) as error:
        await connection.disconnect(nowait=True)
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise BrokerUnavailable(f"the broker does not answer: {reason}") from error
    except BaseException:
        await connection.disconnect(nowait=True)
        raise
    return SocketRespConnection(connection, found[1].decode() if found else "", on_replies)


class SocketRespConnection(asyncio.Protocol):
    """Implements Wire over a redis-py connection that has logged in."""

    def __init__(self, connection: Any, session: str, on_replies: OnReplies) -> None:
        self.session = session
        self._connection = connection  # held: a collected StreamWriter closes its transport
        self._on_replies = on_replies
        self._loop = asyncio.get_running_loop()
        self._reader = hiredis.Reader(replyError=ResponseError)
        self._unsent: list[bytes] = []
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

    async def close(self) -> None:
        self._transport.abort()
        await self._connection.disconnect(nowait=True)

    def _flush(self) -> None:
        unsent, self._unsent = self._unsent, []
        if not self._transport.is_closing():
            self._transport.write(b"".join(unsent))

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
