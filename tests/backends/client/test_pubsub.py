"""Subscriptions over a connection whose replies come late, in each possible order of the calls."""

from __future__ import annotations

import asyncio
from typing import Any

import hiredis
from hypothesis import given
from hypothesis import strategies as st

from hub.backends.redis.client.connection import OnReplies
from hub.backends.redis.client.pubsub import PubSubConnection, PubSubTimeouts, Waiter
from hub.backends.redis.client.topology import RedisServer

TIMEOUTS = PubSubTimeouts(reply_timeout_seconds=60, linger_seconds=0)


class LateServer:
    """Implements RespConnection; each reply waits until a test asks for it."""

    run_id = ""
    is_full = False
    last_received_at = 0.0

    def __init__(self) -> None:
        self.lost = asyncio.get_running_loop().create_future()
        self.subscribed: set[bytes] = set()
        self._replies: list[Any] = []
        self._on_replies: OnReplies = lambda replies: None

    async def connect(self, server: RedisServer, on_replies: OnReplies, _: float) -> LateServer:
        self._on_replies = on_replies
        return self

    def send(self, packed: bytes) -> None:
        reader = hiredis.Reader()
        reader.feed(packed)
        command, *names = reader.gets()
        change = self.subscribed.add if command == b"SUBSCRIBE" else self.subscribed.discard
        for name in names:
            change(name)
            self._replies.append([command.lower(), name, len(self.subscribed)])

    def reply(self) -> None:
        """Deliver the oldest reply."""
        if self._replies:
            self._on_replies([self._replies.pop(0)])

    def reply_all(self) -> None:
        while self._replies:
            self.reply()

    async def wait_writable(self) -> None:
        return

    def pause_reading(self, seconds: float) -> None:
        return

    async def close(self) -> None:
        return


async def run_callbacks() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def check_calls(steps: list[str]) -> None:
    server = LateServer()
    connection = PubSubConnection(
        RedisServer({"path": "/none"}),
        server.connect,
        TIMEOUTS,
        sharded=False,
        on_messages=lambda messages: None,
    )
    running = asyncio.create_task(connection.run())
    await run_callbacks()
    waiters: list[Waiter] = []
    is_wanted = False
    for step in steps:
        if step == "reply":
            server.reply()
            continue
        if step == "subscribe":
            waiter, is_wanted = connection.subscribe(b"name"), True
            if waiter is not None:
                waiters.append(waiter)
            else:  # acknowledged: no UNSUBSCRIBE may be on its way
                assert server.subscribed == {b"name"}
        else:
            connection.unsubscribe(b"name")
            is_wanted = False
        await run_callbacks()
    server.reply_all()
    await run_callbacks()
    server.reply_all()
    assert server.subscribed == ({b"name"} if is_wanted else set())
    assert connection.is_synced
    if is_wanted:
        assert [waiter.result() for waiter in waiters] == [None] * len(waiters)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


@given(st.lists(st.sampled_from(["subscribe", "unsubscribe", "reply"]), max_size=12))
def test_late_replies(steps: list[str]) -> None:
    """A name that is wanted in the end is subscribed, whichever replies were still on their way
    when it was subscribed to and unsubscribed from, and everybody who waits for it is told.
    """
    asyncio.run(check_calls(steps))
