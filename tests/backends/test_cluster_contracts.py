"""Contract suites on a real Cluster and behind real Sentinels, with a prefix of the keys.

On a Cluster, all keys that a script uses must belong to one slot, also those whose names it builds
itself. A single server accepts any keys, so the suites of scripts with several keys run here too.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack

import pytest

from hub.backends.redis.client import channel_keys, open_client
from hub.backends.redis.keys import hash_tag
from hub.core.channel import partition_of
from hub.core.inbox import InboxOptions
from hub.engine.tasks import Supervisor, SystemClock
from hub.ports.backend import Backend
from hub.ports.events import FROM_START, Publication
from hub.testing.contracts import (
    BackendOptions,
    ChatsContract,
    DeliveriesContract,
    InboxesContract,
    InputsContract,
    OpenBackend,
    PushSubscriptionsContract,
    QueueContract,
    SteeringContract,
    TopicAnswersContract,
    UserDataContract,
    UserPresenceContract,
    WebhooksContract,
)
from hub.testing.contracts.node import ALICE
from tests.redis_backend import redis_backend
from tests.topologies import ClusterOfThree, SentinelSetup, TcpServer, valkey_binary

pytestmark = pytest.mark.xdist_group("cluster")
PREFIX = "tenant:"
on_cluster = pytest.mark.parametrize("kind", ["cluster"])
on_both = pytest.mark.parametrize("kind", ["cluster", "sentinel"])


@pytest.fixture(scope="module")
def sentinel() -> Iterator[SentinelSetup]:
    """A set-up that no test breaks."""
    setup = SentinelSetup(valkey_binary())
    yield setup
    setup.close()


@pytest.fixture
def deployment(kind: str, request: pytest.FixtureRequest) -> tuple[str, list[TcpServer]]:
    """The URL and the servers that accept writes, which store nothing."""
    if kind == "cluster":
        cluster: ClusterOfThree = request.getfixturevalue("shared_cluster")
        url, servers = cluster.url, cluster.masters
    else:
        setup: SentinelSetup = request.getfixturevalue("sentinel")
        url, servers = setup.url, [setup.master]
    for server in servers:
        server.ask("FLUSHALL")
    return url, servers


@pytest.fixture
async def open_backend(deployment: tuple[str, list[TcpServer]]) -> AsyncIterator[OpenBackend]:
    """Opens backends with the prefix. In the end, every key has it."""
    url, servers = deployment
    async with AsyncExitStack() as clients, Supervisor(SystemClock()) as tasks:

        async def open_one(options: BackendOptions) -> Backend:
            client = await clients.enter_async_context(
                open_client(url, timeout_seconds=1.5, prefix=PREFIX)
            )
            backend = redis_backend(
                client,
                log={"user": {"max_events": options.max_events}},
                inbox={"max_items": options.inbox_max_items},
                queue_limits=options.queue_limits,
                delivery_limits=options.delivery_limits,
                lease_seconds=options.lease_seconds,
                max_push_subscriptions=options.max_push_subscriptions,
                push_ttl_seconds=options.push_ttl_seconds,
            )
            for name in ("subscriptions", "commands", "queue"):
                tasks.start(f"{name} {id(backend)}", getattr(backend, name).run)
            return backend

        yield open_one
    keys = [key for server in servers for key in server.ask("KEYS", "*")]
    assert [key for key in keys if not key.startswith(f"{PREFIX}{{hub:p".encode())] == []


@on_cluster
class TestSteering(SteeringContract):
    """On a Cluster."""


@on_cluster
class TestPushSubscriptions(PushSubscriptionsContract):
    """On a Cluster."""


@on_cluster
class TestChats(ChatsContract):
    """On a Cluster."""


@on_cluster
class TestInboxes(InboxesContract):
    """On a Cluster."""


@on_cluster
class TestInputs(InputsContract):
    """On a Cluster."""


@on_both
class TestQueue(QueueContract):
    """On a Cluster and behind Sentinels."""


@on_cluster
class TestTopicAnswers(TopicAnswersContract):
    """On a Cluster."""


@on_cluster
class TestUserPresence(UserPresenceContract):
    """On a Cluster."""


@on_cluster
class TestWebhooks(WebhooksContract):
    """On a Cluster."""


@on_cluster
class TestDeliveries(DeliveriesContract):
    """On a Cluster."""


@on_cluster
class TestUserData(UserDataContract):
    """On a Cluster."""


async def test_item_in_a_slot_that_moves(shared_cluster: ClusterOfThree) -> None:
    """It waits for the end of the move and is written as a whole, although the script builds names
    of keys itself.
    """
    slot = shared_cluster.masters[0].ask("CLUSTER", "KEYSLOT", hash_tag(partition_of(ALICE)))
    owner = shared_cluster.owner(slot)
    owner.ask("FLUSHALL")
    target = next(server for server in shared_cluster.masters if server is not owner)
    kept = Publication(channel=ALICE, name="n", data=b"1", inbox=InboxOptions())
    head = channel_keys(ALICE).head
    async with open_client(shared_cluster.url, timeout_seconds=20) as client:
        log = redis_backend(client).events
        await log.publish([kept])
        *counts, _ = owner.ask("HGET", head, "i").decode().split(" ")
        owner.ask("HSET", head, "i", " ".join([*counts, "0" * 13]))  # an expiry is to be checked
        owner.ask("CONFIG", "RESETSTAT")
        owner.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", target.ask("CLUSTER", "MYID"))
        try:
            publishing = asyncio.create_task(log.publish([kept]))
            while not publishing.done() and b"TRYAGAIN" not in owner.ask("INFO", "errorstats"):
                await asyncio.sleep(0.01)
        finally:
            owner.ask("CLUSTER", "SETSLOT", slot, "STABLE")
        await publishing
        page = (await log.read({ALICE: FROM_START}, max_events=9, max_bytes=10**6))[ALICE]
        assert [event.name for event in page.events] == ["n", "inbox.item"] * 2
    owner.ask("FLUSHALL")
