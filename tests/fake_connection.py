"""fakeredis at the end of a wire, so that what stands on wires runs without a server."""

from __future__ import annotations

import asyncio
from typing import Any

from fakeredis import FakeAsyncRedis, FakeServer
from fakeredis._helpers import SimpleString
from fakeredis._socket import AsyncFakeSocket
from redis.exceptions import NoScriptError, ResponseError

from hub.backends.redis.client.connection import Connect, OnReplies, RespConnection
from hub.backends.redis.client.topology import RedisServer


class _Socket(AsyncFakeSocket):
    """Hands replies over in the loop's next turn, as a socket does."""

    replied: OnReplies

    def put_response(self, msg: Any) -> None:
        asyncio.get_running_loop().call_soon(self.replied, _plain(msg))


class FakeRespConnection:
    """Implements redislink.wire.Wire."""

    run_id = "fake"
    is_full = False

    def __init__(self, server: FakeServer, replied: OnReplies) -> None:
        loop = asyncio.get_running_loop()
        self.last_received_at = loop.time()
        self.lost = loop.create_future()
        self._socket = _Socket(server, 0, client_class=FakeAsyncRedis, lua_modules=None)
        self._socket.replied = self._take
        self._replied = replied

    def send(self, packed: bytes) -> None:
        self._socket.sendall(packed)

    async def wait_writable(self) -> None:
        return

    async def close(self) -> None:
        self._socket.kill()

    def _take(self, reply: Any) -> None:
        self.last_received_at = asyncio.get_running_loop().time()
        self._replied([reply])


def connect_to(server: FakeServer) -> Connect:
    """What a link takes to connect to the imitation, wherever its URL points."""

    async def connect(
        place: RedisServer, replied: OnReplies, timeout_seconds: float
    ) -> RespConnection:
        return FakeRespConnection(server, replied)

    return connect


def _plain(reply: Any) -> Any:
    if isinstance(reply, NoScriptError):  # the imitation has taken the word off already
        return ResponseError(f"NOSCRIPT {reply}")
    if isinstance(reply, list):
        return [_plain(each) for each in reply]
    return reply.value if isinstance(reply, SimpleString) else reply
