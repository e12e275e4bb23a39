"""A connection to fakeredis, so that everything above connections runs without a server."""

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
    """Passes replies on in the next iteration of the loop, as a socket does."""

    on_replies: OnReplies

    def eval(self, script: bytes, numkeys: int, *keys_and_args: bytes) -> Any:
        """Run a script without its first line, whose flags fakeredis does not know."""
        if script.startswith(b"#!"):
            script = b"\n" + script.partition(b"\n")[2]
        return super().eval(script, numkeys, *keys_and_args)

    def put_response(self, msg: Any) -> None:
        asyncio.get_running_loop().call_soon(self.on_replies, _plain(msg))


class FakeRespConnection:
    """Implements RespConnection over fakeredis."""

    run_id = "fake"
    is_full = False

    def __init__(self, server: FakeServer, on_replies: OnReplies) -> None:
        loop = asyncio.get_running_loop()
        self.last_received_at = loop.time()
        self.lost = loop.create_future()
        self._socket = _Socket(server, 0, client_class=FakeAsyncRedis, lua_modules=None)
        self._socket.on_replies = self._on_reply
        self._on_replies = on_replies

    def send(self, packed: bytes) -> None:
        self._socket.sendall(packed)

    async def wait_writable(self) -> None:
        return

    def pause_reading(self, seconds: float) -> None:
        return

    async def close(self) -> None:
        self._socket.kill()

    def _on_reply(self, reply: Any) -> None:
        self.last_received_at = asyncio.get_running_loop().time()
        self._on_replies([reply])


def connect_to(server: FakeServer) -> Connect:
    """Return a function that connects a client to fakeredis, whatever its URL is."""

    async def connect(
        redis_server: RedisServer, on_replies: OnReplies, timeout_seconds: float
    ) -> RespConnection:
        return FakeRespConnection(server, on_replies)

    return connect


def _plain(reply: Any) -> Any:
    if isinstance(reply, NoScriptError):  # fakeredis has removed the code already
        return ResponseError(f"NOSCRIPT {reply}")
    if isinstance(reply, list):
        return [_plain(each) for each in reply]
    return reply.value if isinstance(reply, SimpleString) else reply
