"""A durable publish is answered when replicas have the event, or after a bounded wait."""

from __future__ import annotations

import asyncio
import shutil
import signal
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import pytest

from hub.backends.redis.client import RedisClient, channel_keys, open_client
from hub.backends.redis.events import RedisEventLog, ReplicaWait
from hub.core.channel import user_channel
from hub.engine.publisher import Publisher, PublishRequest
from hub.errors import BrokerRefusesWrites, BrokerUnavailable
from hub.ports.events import Outcome, Publication, Published
from hub.settings import Settings
from hub.wiring.backend import open_backend
from tests.conftest import missing
from tests.faults import FaultProxy
from tests.redis_backend import retention
from tests.topologies import ClusterOfThree, PrimaryAndReplica, valkey_binary

ALICE = user_channel("alice")
TIMEOUT = 5.0


@pytest.fixture(scope="module", params=["valkey", "redis"])
def binary(request: pytest.FixtureRequest) -> str:
    """The binary of each kind of server."""
    if request.param == "valkey":
        return valkey_binary()
    return shutil.which("redis-server") or missing("redis-server")


@pytest.fixture(scope="module")
def pair(binary: str) -> Iterator[PrimaryAndReplica]:
    """A primary and its replica."""
    pair = PrimaryAndReplica(binary)
    yield pair
    pair.close()


class Frozen:
    """`with Frozen(pair):` the replica receives nothing."""

    def __init__(self, pair: PrimaryAndReplica) -> None:
        self._process = pair.replica.process

    def __enter__(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def __exit__(self, *error: object) -> None:
        self._process.send_signal(signal.SIGCONT)


@pytest.fixture
async def log(pair: PrimaryAndReplica) -> AsyncIterator[RedisEventLog]:
    """An event log that waits for one replica, on empty servers."""
    pair.primary.ask("FLUSHALL")
    assert pair.primary.ask("WAIT", 1, 50_000) == 1  # the test before may have stopped the replica
    url = f"redis://127.0.0.1:{pair.primary.port}"
    async with (
        open_client(url, timeout_seconds=TIMEOUT) as client,
        open_client(url, timeout_seconds=TIMEOUT) as waiting,
    ):
        for each in (client, waiting):
            await each.ping()  # a new connection loads the scripts, which a test may remove
        yield RedisEventLog(client, retention(), ReplicaWait(waiting, 1))


def event(data: bytes = b"1", **options: Any) -> Publication:
    return Publication(channel=ALICE, name="n", data=data, durable=True, **options)


async def publish(log: RedisEventLog, *publications: Publication) -> Sequence[Published]:
    return await log.publish(publications)


def stored(pair: PrimaryAndReplica) -> int:
    """Return the number of alice's events on the replica."""
    return int(pair.replica.ask("XLEN", channel_keys(ALICE).log))


async def test_replica_has_the_event_when_the_publish_is_answered(
    pair: PrimaryAndReplica, log: RedisEventLog
) -> None:
    """The result counts the replicas that have it; only an ephemeral event has no count."""
    for n in range(20):
        (published,) = await publish(log, event(b"%d" % n))
        assert (published.outcome, published.replicas) == (Outcome.WRITTEN, 1)
        assert stored(pair) == n + 1
    (ephemeral,) = await publish(log, event(ephemeral=True))
    assert ephemeral.replicas is None


@pytest.mark.parametrize("wait_replicas", [0, 1])
async def test_setting(pair: PrimaryAndReplica, wait_replicas: int) -> None:
    """The setting decides whether publishes wait."""
    url = f"redis://127.0.0.1:{pair.primary.port}"
    redis = {"url": url, "wait_replicas": wait_replicas, "timeout_seconds": 30}
    settings = Settings.model_validate({"redis": redis})
    async with open_backend(settings, ["default"]) as backend:
        (published,) = await backend.events.publish([event()])
        assert published.replicas == (1 if wait_replicas else None)


async def test_publish_that_does_not_wait(pair: PrimaryAndReplica, log: RedisEventLog) -> None:
    """An event that is not durable, as those of answers, is not held up by a replica."""
    with Frozen(pair):
        (published,) = await log.publish([Publication(channel=ALICE, name="n", data=b"1")])
        assert (published.outcome, published.replicas) == (Outcome.WRITTEN, None)


async def test_ephemeral_events_do_not_wait(pair: PrimaryAndReplica) -> None:
    """No replica stores them, so a replica that is behind does not hold them up."""
    url = f"redis://127.0.0.1:{pair.primary.port}"
    redis = {"url": url, "wait_replicas": 1, "timeout_seconds": 30}
    settings = Settings.model_validate({"redis": redis})
    pair.primary.ask("CONFIG", "RESETSTAT")
    async with open_backend(settings, ["default"]) as backend:
        publisher = Publisher(backend.events, max_data_bytes=10)
        await publisher.publish(PublishRequest(to=[ALICE], event="n", data=b"1", ephemeral=True))
        assert b"cmdstat_wait:" not in pair.primary.ask("INFO", "commandstats")
        results = await publisher.try_publish(
            [
                PublishRequest(to=[ALICE], event="n", data=b"1", ephemeral=ephemeral)
                for ephemeral in (True, False)
            ]
        )
        assert [each[0][1].replicas for each in results if isinstance(each, list)] == [None, 1]


async def test_refusals_are_counted(pair: PrimaryAndReplica) -> None:
    """A publish that waits for replicas and is refused counts as any other."""
    url = f"redis://127.0.0.1:{pair.primary.port}"
    settings = Settings.model_validate({"redis": {"url": url, "wait_replicas": 1}})
    pair.primary.ask("CONFIG", "SET", "min-replicas-to-write", 2)
    try:
        async with open_backend(settings, ["default"]) as backend:
            with pytest.raises(BrokerRefusesWrites):
                await backend.events.publish([event()])
            assert backend.statistics.refusals == {"refuses_writes": 1}
    finally:
        pair.primary.ask("CONFIG", "SET", "min-replicas-to-write", 0)


async def test_replica_that_is_behind(pair: PrimaryAndReplica, log: RedisEventLog) -> None:
    """The wait is bounded, the result says that no replica has the event, and nothing else waits.
    The same id later waits for the replica again.
    """
    with Frozen(pair):
        publishing = asyncio.create_task(publish(log, event(idempotency_key="k")))
        while (head := (await log.heads([ALICE]))[ALICE]) is None:
            await asyncio.sleep(0.01)
        assert not publishing.done()  # the log is read while the publish waits
        (published,) = await publishing
        assert (published.outcome, published.replicas) == (Outcome.WRITTEN, 0)
        assert head == published.position
    (again,) = await publish(log, event(idempotency_key="k"))
    assert (again.outcome, again.position, again.replicas) == (
        Outcome.DUPLICATE,
        published.position,
        1,
    )
    assert stored(pair) == 1


async def test_many_publishes_share_a_wait(pair: PrimaryAndReplica, log: RedisEventLog) -> None:
    """While one wait lasts, everything that is published meanwhile waits together."""
    pair.primary.ask("CONFIG", "RESETSTAT")
    with Frozen(pair):
        first = asyncio.create_task(publish(log, event()))
        while (await log.heads([ALICE]))[ALICE] is None:
            await asyncio.sleep(0.01)
        others = [asyncio.create_task(publish(log, event())) for _ in range(300)]
        await first
        results = [each for other in others for each in await other]
    assert [each.replicas for each in results] == [0] * 300
    stats = pair.primary.ask("INFO", "commandstats").decode()
    (waits,) = [line for line in stats.splitlines() if line.startswith("cmdstat_wait:")]
    assert waits.startswith("cmdstat_wait:calls=2,")


async def test_server_that_has_forgotten_the_scripts(
    pair: PrimaryAndReplica, log: RedisEventLog
) -> None:
    """The event is written, and the result claims no replica that is not known to have it."""
    await publish(log, event())
    pair.primary.ask("SCRIPT", "FLUSH")
    (published,) = await publish(log, event(idempotency_key="k"))
    assert (published.outcome, published.replicas) == (Outcome.WRITTEN, 0)
    (again,) = await publish(log, event(idempotency_key="k"))
    assert (again.outcome, again.replicas) == (Outcome.DUPLICATE, 1)


async def test_connection_that_breaks_during_the_wait(pair: PrimaryAndReplica) -> None:
    """The publish fails as any other: the event may have been written."""
    async with FaultProxy(("127.0.0.1", pair.primary.port)) as proxy:
        url = f"redis://127.0.0.1:{proxy.port}"
        async with (
            open_client(url, timeout_seconds=TIMEOUT) as client,
            open_client(url, timeout_seconds=TIMEOUT) as waiting,
        ):
            log = RedisEventLog(client, retention(), ReplicaWait(waiting, 1))
            await publish(log, event())
            proxy.drop_replies()
            with pytest.raises(BrokerUnavailable):
                await publish(log, event())
            (published,) = await publish(log, event())
            assert published.replicas == 1


async def test_cluster(binary: str) -> None:
    """Each event waits for the replicas of its own server."""
    cluster = ClusterOfThree(binary)
    try:
        async with (
            open_client(cluster.url, timeout_seconds=TIMEOUT) as client,
            open_client(cluster.url, timeout_seconds=TIMEOUT) as waiting,
        ):
            log = RedisEventLog(client, retention(), ReplicaWait(waiting, 1))
            users = [user_channel(f"u{n}") for n in range(60)]
            published = await log.publish(
                [Publication(channel=user, name="n", data=b"1", durable=True) for user in users]
            )
            for user, result in zip(users, published, strict=True):
                server = _server_of(client, user)
                assert result.replicas == (1 if server == cluster.masters[0].port else 0)
    finally:
        cluster.close()


def _server_of(client: RedisClient, channel: Any) -> int:
    return int(client.server_of(channel_keys(channel).partition).address.rpartition(":")[2])
