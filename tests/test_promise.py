"""Whatever happens in whatever order, a client gets every event once and in order, or a reset for
the gap; on two nodes, over a real Valkey.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from hub.backends.redis import RedisBackend
from hub.backends.redis.client import channel_keys, open_client
from hub.core.channel import ALL, Channel, topic_channel, user_channel
from hub.core.cursor import Position, parse_cursor
from hub.core.sse_decoder import SseDecoder
from hub.engine.streams.connection import Connection
from hub.engine.streams.connections import Connections
from hub.engine.streams.heartbeat import HeartbeatWheel
from hub.engine.tasks import SystemClock, cancel_and_wait
from hub.ports.events import FROM_START, Publication
from hub.transports.sse import SseEventEncoder
from tests.conftest import Server
from tests.doubles import FakeWriter, new_connection
from tests.redis_backend import redis_backend

CHANNELS = [user_channel("a"), user_channel("b"), topic_channel("t"), ALL]
FOLLOWED = {
    "a": [user_channel("a"), ALL],
    "a+t": [user_channel("a"), ALL, topic_channel("t")],
    "b+t": [user_channel("b"), ALL, topic_channel("t")],
}
ENCODER = SseEventEncoder(chunked=False)
KEEP = 100  # the number of events that the log keeps at least
NODES = st.integers(0, 1)


class Client:
    """One client over all its connections: its cursor, and what it has received."""

    def __init__(self, channels: list[Channel]) -> None:
        self.channels = channels
        self.cursor = ""
        self.seen: Counter[Channel] = Counter()  # the last number received
        self.losses: Counter[Channel] = Counter()  # how many of World.losses it got a reset for
        self.fresh: set[Channel] = set()  # nothing received yet
        self.excused: set[Channel] = set()  # got a reset, and nothing since
        self.writer = FakeWriter()
        self.decoder = SseDecoder()
        self.read = 0  # bytes of the writer that were read
        self.connection: Connection | None = None
        self.task: asyncio.Task[Any] | None = None


class World:
    """Two nodes, one broker, and a record of what was published."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._stack = AsyncExitStack()
        self.published: Counter[Channel] = Counter()
        self.losses: Counter[Channel] = Counter()  # how often events may have been lost
        self.published_at_loss: Counter[Channel] = Counter()
        self.clients: list[Client] = []

    async def start(self) -> None:
        self.redis = self._server.client()
        self._stack.push_async_callback(self.redis.aclose)
        await self.redis.flushall()
        self.nodes: list[Connections] = []
        self.backends: list[RedisBackend] = []
        for n in range(2):
            client = await self._stack.enter_async_context(
                open_client(self._server.url, timeout_seconds=2.0)
            )
            kept = {"max_events": KEEP}
            backend = redis_backend(client, log={"user": kept, "topic": kept, "all": kept})
            task = asyncio.create_task(backend.subscriptions.run())
            self._stack.push_async_callback(cancel_and_wait, [task])
            clock = SystemClock()
            wheel = HeartbeatWheel(clock, 8.0)
            self.nodes.append(
                Connections(
                    backend.events,
                    backend.subscriptions,
                    wheel,
                    clock,
                    node=f"n{n}",
                    heartbeat_seconds=8.0,
                )
            )
            self.backends.append(backend)

    async def stop(self) -> None:
        for client in self.clients:
            await self.disconnect(client)
        await self._stack.aclose()

    async def publish(self, channel: Channel, count: int, node: int) -> None:
        first = self.published[channel] + 1
        batch = [
            Publication(
                channel=channel,
                name="n",
                data=msgspec.json.encode([channel, n]),
                idempotency_key=str(n),
            )
            for n in range(first, first + count)
        ]
        while True:
            try:
                await self.backends[node].events.publish(batch)
                break
            except Exception:  # noqa: BLE001 - retry with the same keys, as a backend does
                await asyncio.sleep(0.01)
        self.published[channel] += count

    async def join(self, client: Client, node: int) -> None:
        """Connect, and return at once, so that the next step happens during the join."""
        client.writer, client.decoder, client.read = FakeWriter(), SseDecoder(), 0
        cursor: dict[Channel, Position] = dict.fromkeys(client.channels, FROM_START)
        if client.cursor:
            cursor = parse_cursor(client.cursor, client.channels)
        else:  # from the start of the log
            client.seen = Counter(self.published_at_loss)
            client.losses = Counter(self.losses)
            client.fresh = set(client.channels)
        client.connection = new_connection(
            "user",
            client.channels,
            client.writer,
            SystemClock(),
            encoder=ENCODER,
            outbox_max_frames=100_000,
            outbox_max_bytes=10**8,
        )
        client.task = asyncio.create_task(
            self.nodes[node].attach_and_wait(client.connection, cursor)
        )
        await asyncio.sleep(0)

    def lose(self, channels: list[Channel]) -> None:
        """Record that the logs of these channels are about to be lost."""
        self.losses.update(channels)
        for channel in channels:
            self.published_at_loss[channel] = self.published[channel]

    async def restart(self, channel: Channel) -> None:
        """Do to a channel what a restart with its data, or a failover without loss, does."""
        if await self.redis.exists(channel_keys(channel).head):
            await self.redis.hset(channel_keys(channel).head, "r", "another")

    async def disconnect(self, client: Client) -> None:
        if client.task is not None:
            await cancel_and_wait([client.task])
            client.task = None
            self.check_received(client)

    def check_received(self, client: Client) -> None:
        """Read what has arrived, and check each event."""
        fresh, client.read = client.writer.written[client.read :], len(client.writer.written)
        for event in client.decoder.feed(fresh):
            client.cursor = event.id or client.cursor
            if event.name == "hub.reset":
                self._on_reset(client, msgspec.json.decode(event.data)["channel"])
            elif event.name == "n":
                self._on_event(client, *msgspec.json.decode(event.data))

    async def wait_complete(self) -> None:
        """Wait until every connected client has received everything that was published."""
        async with asyncio.timeout(60):
            while any([await self._behind(client) for client in self.clients if client.task]):
                await asyncio.sleep(0.005)

    def _on_reset(self, client: Client, channel: Channel) -> None:
        missed = self.published[channel] - client.seen[channel]
        lost = self.losses[channel] > client.losses[channel]
        assert lost or missed > KEEP, "a reset without a reason"
        client.excused.add(channel)
        client.losses[channel] += lost  # one per reset: a read may come before the next loss

    def _on_event(self, client: Client, channel: Channel, n: int) -> None:
        rest = n > KEEP // 2 or n <= self.published_at_loss[channel] + 1
        from_start = channel in client.fresh and rest
        client.fresh.discard(channel)
        if channel in client.excused or from_start:
            # After a reset; or from the start of a log that had lost its first events.
            client.excused.discard(channel)
            assert n >= client.seen[channel], "an old event after a reset"
        else:
            assert n == client.seen[channel] + 1, f"{n} after {client.seen[channel]} in {channel}"
        client.seen[channel] = n

    async def _behind(self, client: Client) -> bool:
        """Return whether the client has not received everything yet."""
        assert client.task is not None
        if client.task.done():  # closed while the broker was away: it reconnects, as clients do
            self.check_received(client)
            await self.join(client, 0)
        self.check_received(client)
        return any(
            client.seen[channel] < self.published[channel]
            and channel not in client.excused
            and (
                self.losses[channel] == client.losses[channel]
                or self.published[channel] > self.published_at_loss[channel]
            )
            for channel in client.channels
        )


class Promise(RuleBasedStateMachine):
    """The possible steps, in any order; some of them leave tasks running."""

    server: Server

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.world = World(self.server)
        self.runner.run(self.world.start())

    def teardown(self) -> None:
        try:
            self.runner.run(self.world.wait_complete())
        finally:
            self.runner.run(self.world.stop())
            self.runner.close()

    @rule(channel=st.sampled_from(CHANNELS), count=st.sampled_from([1, 2, 30, 130]), node=NODES)
    def publish(self, channel: Channel, count: int, node: int) -> None:
        self.runner.run(self.world.publish(channel, count, node))

    @rule(follows=st.sampled_from(sorted(FOLLOWED)), node=NODES)
    def new_client(self, follows: str, node: int) -> None:
        client = Client(FOLLOWED[follows])
        self.world.clients.append(client)
        self.runner.run(self.world.join(client, node))

    @precondition(lambda self: self.world.clients)
    @rule(data=st.data(), node=NODES)
    def leave_or_return(self, data: st.DataObject, node: int) -> None:
        client = data.draw(st.sampled_from(self.world.clients))
        step = self.world.disconnect(client) if client.task else self.world.join(client, node)
        self.runner.run(step)

    @rule(kind=st.sampled_from(["pubsub", "normal"]))
    def cut_connections(self, kind: str) -> None:
        self.runner.run(self.world.redis.execute_command("CLIENT", "KILL", "TYPE", kind))

    @rule(channel=st.sampled_from(CHANNELS))
    def lose_the_log(self, channel: Channel) -> None:
        self.world.lose([channel])
        self.runner.run(self.world.redis.delete(channel_keys(channel).log))

    @rule()
    def lose_everything(self) -> None:
        self.world.lose(CHANNELS)
        self.runner.run(self.world.redis.flushall())

    @rule(channel=st.sampled_from(CHANNELS))
    def restart_of_the_broker(self, channel: Channel) -> None:
        self.runner.run(self.world.restart(channel))

    @rule()
    def forget_scripts(self) -> None:
        self.runner.run(self.world.redis.script_flush())

    @rule()
    def wait_complete(self) -> None:
        self.runner.run(self.world.wait_complete())


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_promise(valkey: Server) -> None:
    """Publish, connect, disconnect, trim, cut, lose and restart, in any order."""
    Promise.server = valkey
    run_state_machine_as_test(
        Promise,
        settings=settings(
            max_examples=150,
            stateful_step_count=30,
            deadline=None,
            phases=[Phase.generate],
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
