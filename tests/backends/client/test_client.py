"""The client with a real Valkey and a network that fails: the promises about each call."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from redis.crc import key_slot
from structlog.testing import capture_logs

from hub.backends.redis.budgets import RedisBudgetStore
from hub.backends.redis.client import RedisClient, open_client
from hub.backends.redis.client.script import Script
from hub.backends.redis.events import RedisEventLog, ReplicaWait
from hub.backends.redis.keys import hash_tag
from hub.core.channel import partition_of, user_channel
from hub.core.fair_queue import Admission, Job
from hub.core.generation import Generation, GenerationRequest, StopResult, new_generation_id
from hub.errors import BrokerUnavailable
from hub.ports.events import FROM_START, Outcome, Publication, Published
from tests.conftest import OpenedRedis
from tests.faults import FaultProxy
from tests.redis_backend import redis_backend, retention
from tests.topologies import TcpServer, free_ports, valkey_binary
from tests.topologies import until as wait_until

ALICE = user_channel("alice")
TIMEOUT = 0.5  # for tests in which nothing answers; a busy server may be slower


@asynccontextmanager
async def through_proxy(
    server: OpenedRedis, timeout_seconds: float = 20.0
) -> AsyncIterator[tuple[FaultProxy, RedisClient]]:
    """Open a client whose connections pass through a fault proxy."""
    path = server.client.connection_pool.connection_kwargs["path"]
    async with FaultProxy(path) as proxy:
        url = f"redis://127.0.0.1:{proxy.port}"
        async with open_client(url, timeout_seconds=timeout_seconds) as client:
            yield proxy, client


@pytest.fixture
async def valkey_server(open_redis: Any) -> OpenedRedis:
    """An empty Valkey."""
    opened: OpenedRedis = await open_redis("valkey")
    return opened


async def test_each_caller_gets_its_own_reply(valkey_server: OpenedRedis) -> None:
    """A thousand calls share one connection, and each gets its own reply."""
    client = valkey_server.hub_client

    async def echo(n: int) -> bool:
        return bool(await client.call(n % 128, "ECHO", str(n)) == str(n).encode())

    assert all(await asyncio.gather(*(echo(n) for n in range(1000))))
    clients = await valkey_server.client.client_list()
    assert len(clients) == 2  # the hub's and the one of this test


async def test_cancelled_call_disturbs_no_other(valkey_server: OpenedRedis) -> None:
    """The reply to a cancelled call is dropped."""
    client = valkey_server.hub_client
    await client.ping()
    calls = [asyncio.create_task(client.call(0, "ECHO", str(n))) for n in range(10)]
    await asyncio.sleep(0)
    for call in calls[::2]:
        call.cancel()
    kept = await asyncio.gather(*calls[1::2])
    assert kept == [b"1", b"3", b"5", b"7", b"9"]


async def test_error_reply_affects_one_call(valkey_server: OpenedRedis) -> None:
    """Other calls on the connection go on."""
    with pytest.raises(BrokerUnavailable, match="refused the command: ERR unknown command"):
        await valkey_server.hub_client.call(0, "NONSENSE")
    assert await valkey_server.hub_client.call(0, "ECHO", "x") == b"x"


async def test_server_that_does_not_answer(valkey_server: OpenedRedis) -> None:
    """Every call fails in time, later ones too; calls succeed again when the network works."""
    async with through_proxy(valkey_server, TIMEOUT) as (proxy, client):
        await client.ping()
        proxy.blackhole()
        for _ in range(3):
            with pytest.raises(BrokerUnavailable):
                async with asyncio.timeout(60):
                    await client.ping()
        proxy.heal()
        async with asyncio.timeout(60):
            while True:
                try:
                    await client.ping()
                    break
                except BrokerUnavailable:
                    pass


async def test_connection_that_died_silently(valkey_server: OpenedRedis) -> None:
    """Reads do not fail when the network has forgotten the connection; they are repeated."""
    async with through_proxy(valkey_server, TIMEOUT) as (proxy, client):
        log = RedisEventLog(client, retention())
        await log.publish([Publication(channel=ALICE, name="n", data=b"1")])
        proxy.freeze()
        pages = await log.read({ALICE: FROM_START}, max_events=10, max_bytes=1000)
        assert [event.data for event in pages[ALICE].events] == [b"1"]
        proxy.freeze()
        assert await client.call(0, "GET", "nothing") is None
        proxy.freeze()
        heads, again = await asyncio.gather(log.heads([ALICE]), log.heads([ALICE]))
        assert heads == again
        proxy.freeze()
        with pytest.raises(BrokerUnavailable):  # it may have been executed
            await log.publish([Publication(channel=ALICE, name="n", data=b"2")])


async def test_writes_that_are_repeated(valkey_server: OpenedRedis) -> None:
    """A write succeeds although its first reply was lost, if it may be executed twice."""
    async with through_proxy(valkey_server) as (proxy, client):
        backend = redis_backend(client)
        generation = new_generation_id(partition_of(ALICE))
        request = GenerationRequest([], upstream="main", model="m")
        await backend.generations.create(Generation(generation, "alice", request), None)
        job = Job(generation, "alice", "main")
        proxy.drop_replies()
        assert await backend.generations.request_stop(generation, "alice") is StopResult.STOPPING
        proxy.drop_replies()
        await backend.commands.block("alice", 60.0)
        assert [*await backend.commands.blocked()] == ["alice"]
        proxy.drop_replies()
        assert await backend.queue.enqueue(job) is Admission.ACCEPTED
        assert await backend.queue.list_jobs(10) == ([generation], 1)
        proxy.drop_replies()
        await backend.queue.withdraw(job)
        assert await backend.queue.list_jobs(10) == ([], 0)
        assert client.disconnects == 4


async def test_idle_connection_that_died_silently(valkey_server: OpenedRedis) -> None:
    """It is replaced before a caller needs it, so a publish does not fail either."""
    async with through_proxy(valkey_server, TIMEOUT) as (proxy, client):
        await client.ping()
        proxy.freeze()
        async with asyncio.timeout(60):
            while client.disconnects == 0:
                await asyncio.sleep(0.01)
        log = RedisEventLog(client, retention())
        await log.publish([Publication(channel=ALICE, name="n", data=b"1")])
        assert client.disconnects == 1


async def until_answered(client: RedisClient) -> None:
    """Wait until the client has a connection again."""
    async with asyncio.timeout(60):
        while True:
            with suppress(BrokerUnavailable):
                await client.ping()
                return
            await asyncio.sleep(0.01)


async def test_refused_publish_is_never_written_later(valkey_server: OpenedRedis) -> None:
    """A publish that failed while the server was away is not sent afterwards."""
    async with through_proxy(valkey_server, TIMEOUT) as (proxy, client):
        log = RedisEventLog(client, retention())
        await client.ping()
        proxy.refusing = True
        proxy.reset_all()
        await asyncio.sleep(0.05)
        with pytest.raises(BrokerUnavailable):
            await log.publish([Publication(channel=ALICE, name="n", data=b"refused")])
        proxy.heal()
        await until_answered(client)  # an attempt to connect may still meet the refusing proxy
        await log.publish([Publication(channel=ALICE, name="n", data=b"written")])
        pages = await log.read({ALICE: FROM_START}, max_events=10, max_bytes=1000)
        assert [event.data for event in pages[ALICE].events] == [b"written"]


async def test_call_waits_for_a_new_connection(valkey_server: OpenedRedis) -> None:
    """A call that comes while the connection is being replaced waits for it."""
    async with through_proxy(valkey_server) as (proxy, client):
        await client.ping()
        for _ in range(20):
            with capture_logs() as log:
                proxy.reset_all()
                while not [line for line in log if line["event"] == "redis.disconnected"]:
                    await asyncio.sleep(0.001)
            assert await client.call(0, "ECHO", "x") == b"x"


@pytest.mark.slow
async def test_lost_replies_make_no_second_event(valkey_server: OpenedRedis) -> None:
    """A publish with a key whose reply was lost is repeated on the next connection and writes one
    event; its publisher gets no error.
    """
    async with through_proxy(valkey_server) as (proxy, client):
        log = RedisEventLog(client, retention())
        duplicates = 0
        for n in range(200):
            once = Publication(channel=ALICE, name="n", data=b"%d" % n, idempotency_key=str(n))
            await client.ping()
            proxy.drop_replies()
            (result,) = await log.publish([once])
            duplicates += result.outcome is Outcome.DUPLICATE
        pages = await log.read({ALICE: FROM_START}, max_events=2000, max_bytes=10**6)
        assert [event.data for event in pages[ALICE].events] == [b"%d" % n for n in range(200)]
        assert duplicates == 200
        assert client.disconnects == 200


@pytest.mark.parametrize("is_durable", [False, True])
async def test_only_publishes_with_a_key_are_repeated(
    valkey_server: OpenedRedis, is_durable: bool
) -> None:
    """Of the publishes of one call whose reply was lost, those without a key fail and are stored
    once at most; a key that had another event is still a conflict.
    """
    async with through_proxy(valkey_server) as (proxy, client), AsyncExitStack() as opened:
        log = RedisEventLog(client, retention())
        if is_durable:
            url = f"redis://127.0.0.1:{proxy.port}"
            waiting = await opened.enter_async_context(open_client(url, timeout_seconds=20.0))
            log = RedisEventLog(client, retention(), ReplicaWait(waiting, 0))
        options: dict[str, Any] = {"channel": ALICE, "durable": is_durable}
        await log.publish([Publication(name="n", data=b"old", idempotency_key="used", **options)])
        mixed = [
            Publication(name="n", data=b"1", **options),
            Publication(name="n", data=b"2", idempotency_key="k", **options),
            Publication(name="n", data=b"3", idempotency_key="used", **options),
            Publication(name="n", data=b"4", idempotency_key="e", ephemeral=True, **options),
        ]
        proxy.drop_replies()
        without, keyed, conflict, ephemeral = await log.try_publish(mixed)
        assert isinstance(without, BrokerUnavailable)
        results = [each for each in (keyed, conflict, ephemeral) if isinstance(each, Published)]
        outcomes = [Outcome.DUPLICATE, Outcome.CONFLICT, Outcome.DUPLICATE]
        assert [each.outcome for each in results] == outcomes
        pages = await log.read({ALICE: FROM_START}, max_events=100, max_bytes=10**6)
        assert [event.data for event in pages[ALICE].events] == [b"old", b"1", b"2"]


async def test_repeated_publish_ends_in_time(valkey_server: OpenedRedis) -> None:
    """A publish with a key whose connection and the next one are lost fails, as one without."""
    async with through_proxy(valkey_server, TIMEOUT) as (proxy, client):
        log = RedisEventLog(client, retention())
        await client.ping()
        proxy.blackhole()
        once = Publication(channel=ALICE, name="n", data=b"1", idempotency_key="k")
        with pytest.raises(BrokerUnavailable):
            await log.publish([once])


async def test_reply_cut_anywhere(valkey_server: OpenedRedis) -> None:
    """An incomplete reply is an error."""
    async with through_proxy(valkey_server) as (proxy, client):
        await client.ping()
        whole = b"x" * 1000
        for cut in (1, 2, 5, 200, 1008):
            proxy.cut_after(cut)
            with pytest.raises(BrokerUnavailable):
                await client.call(0, "ECHO", whole)
            proxy.heal()
            assert await client.call(0, "ECHO", whole) == whole


async def test_new_server_knows_the_scripts(valkey_server: OpenedRedis) -> None:
    """No call is refused for an unknown script, because it would run after later calls."""
    server = valkey_server.client
    await server.script_flush()
    await server.config_resetstat()
    async with through_proxy(valkey_server) as (_, client):
        log = RedisEventLog(client, retention())
        many = [Publication(channel=ALICE, name="n", data=b"%d" % n) for n in range(100)]
        await asyncio.gather(*(log.publish(many) for _ in range(5)))
    assert "errorstat_NOSCRIPT" not in await server.info("errorstats")


async def test_scripts_that_a_server_knows_are_not_sent_again(valkey_server: OpenedRedis) -> None:
    """A new connection to the same server loads only the scripts that the server lacks."""
    server = valkey_server.client
    await valkey_server.hub_client.ping()  # the connection has loaded its scripts
    await server.script_flush()
    await server.script_load(Script.known[0].body)
    await server.config_resetstat()
    for _ in range(2):
        async with through_proxy(valkey_server) as (_, client):
            await client.ping()
    calls = await server.info("commandstats")
    assert calls["cmdstat_script|load"]["calls"] == len(Script.known) - 1


async def test_loading_server_is_waited_for(valkey_server: OpenedRedis) -> None:
    """A call that is refused for a while is repeated until its timeout."""
    client = valkey_server.hub_client
    await valkey_server.client.execute_command("REPLICAOF", "127.0.0.1", "1")
    try:
        async with through_proxy(valkey_server, TIMEOUT) as (_, second):
            with pytest.raises(BrokerUnavailable, match="still refuses the command: READONLY"):
                await second.call(0, "SET", "key", "value")
        waiting = asyncio.create_task(client.call(0, "SET", "key", "value"))
        await asyncio.sleep(0.2)
        assert not waiting.done()
    finally:
        await valkey_server.client.execute_command("REPLICAOF", "NO", "ONE")
    assert await waiting == b"OK"


async def test_redirections_are_followed(short_path: Path) -> None:
    """A slot that moves to a new server of a Cluster is used there before the server owns one, and
    once it has moved also by a client whose view of the topology stays the old one.
    """
    slot = key_slot(hash_tag(partition_of(ALICE)).encode())
    ports, bus_ports = free_ports(2), free_ports(2)
    started: list[TcpServer] = []
    try:
        for port, bus_port in zip(ports, bus_ports, strict=True):
            options = ("--cluster-enabled", "yes", "--cluster-port", str(bus_port))
            started.append(TcpServer(valkey_binary(), short_path, port, *options))
        owner, new = started
        owner.ask("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        new.ask("CLUSTER", "MEET", "127.0.0.1", ports[0], bus_ports[0])
        for server in started:
            wait_until(lambda s=server: b"state:ok" in s.ask("CLUSTER", "INFO"), short_path)
        new_id = new.ask("CLUSTER", "MYID")
        new.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", owner.ask("CLUSTER", "MYID"))
        owner.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", new_id)
        async with open_client(
            f"redis+cluster://127.0.0.1:{ports[0]}", timeout_seconds=5
        ) as client:
            budgets = RedisBudgetStore(client, seconds=60)
            assert await budgets.charge("alice", 1, 100) == 0
            new.ask("SCRIPT", "FLUSH")
            assert await budgets.charge("alice", 10, 100) == 0
            assert await budgets.read("alice") == 11
        assert new.ask("CLUSTER", "COUNTKEYSINSLOT", slot) == 1
        for server in (new, owner):
            server.ask("CLUSTER", "SETSLOT", slot, "NODE", new_id)
        async with open_client(f"redis://127.0.0.1:{ports[0]}", timeout_seconds=5) as client:
            budgets = RedisBudgetStore(client, seconds=60)
            assert await budgets.charge("alice", 20, 100) == 0
            assert await budgets.read("alice") == 31
    finally:
        for server in started:
            server.kill()
