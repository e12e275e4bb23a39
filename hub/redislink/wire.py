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

from hub.errors import BrokerUnavailable
from hub.redislink.topology import Place

Word = str | bytes | int | float
Replied = Callable[[Sequence[Any]], None]

_MOST_UNSENT_BYTES: Final = 1024 * 1024
_RUN: Final = re.compile(rb"run_id:([0-9a-f]{10})")


class Wire(Protocol):
    """What pipes and ears need of a connection. Error replies come as ResponseError values."""

    run: str
    """Names the server process at the other end: another run may have another history."""
    last_heard: float
    """When the last byte came, in the loop's time."""
    lost: asyncio.Future[None]
    """Done when the connection is gone."""

    @property
    def full(self) -> bool:
        """Whether too much is unsent."""
        ...

    def send(self, packed: bytes) -> None:
        """Sends a command, packed, with whatever else is sent in this tick."""
        ...

    async def room(self) -> None:
        """Returns when the socket takes more."""
        ...

    async def close(self) -> None:
        """Drops it."""
        ...


Connect = Callable[[Place, Replied, float], Awaitable[Wire]]


def pack(words: Sequence[Word]) -> bytes:
    """A command in RESP."""
    packed: bytes = hiredis.pack_command(tuple(words))  # type: ignore[arg-type]
    return packed


async def connect_wire(place: Place, replied: Replied, timeout_seconds: float) -> Wire:
    """A wire to the place. Raises BrokerUnavailable."""
    connection = place.connection()
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
    return SocketWire(connection, found[1].decode() if found else "", replied)


class SocketWire(asyncio.Protocol):
    """Implements Wire over a redis-py connection that has logged in."""

    def __init__(self, connection: Any, run: str, replied: Replied) -> None:
        self.run = run
        self._connection = connection  # held: a collected StreamWriter closes its transport
        self._replied = replied
        self._loop = asyncio.get_running_loop()
        self._reader = hiredis.Reader(replyError=ResponseError)
        self._unsent: list[bytes] = []
        self.lost = self._loop.create_future()
        self._room = asyncio.Event()
        self._room.set()
        self.last_heard = self._loop.time()
        self._transport: asyncio.Transport = connection._writer.transport
        self._transport.set_write_buffer_limits(high=_MOST_UNSENT_BYTES)
        self._transport.set_protocol(self)
        if self._transport.is_closing():
            self.connection_lost(None)

    def send(self, packed: bytes) -> None:
        if not self._unsent:
            self._loop.call_soon(self._flush)
        self._unsent.append(packed)

    @property
    def full(self) -> bool:
        return not self._room.is_set()

    async def room(self) -> None:
        await self._room.wait()

    async def close(self) -> None:
        self._transport.abort()
        await self._connection.disconnect(nowait=True)

    def _flush(self) -> None:
        unsent, self._unsent = self._unsent, []
        if not self._transport.is_closing():
            self._transport.write(b"".join(unsent))

    def data_received(self, data: bytes) -> None:
        self.last_heard = self._loop.time()
        self._reader.feed(data)
        gets, replies = self._reader.gets, []
        while (reply := gets()) is not False:
            replies.append(reply)
        if replies:
            self._replied(replies)

    def pause_writing(self) -> None:
        self._room.clear()

    def resume_writing(self) -> None:
        self._room.set()

    def connection_lost(self, error: Exception | None) -> None:
        self._room.set()
        if not self.lost.done():
            self.lost.set_result(None)
