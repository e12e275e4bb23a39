"""Test that slots of a Valkey Cluster move while answers stream and events are published."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator

import pytest

from hub.backends.redis.keys import JOBS_PARTITION, hash_tag
from hub.core.channel import partition_of, user_channel
from hub.core.sse_decoder import SseDecoder
from hub.upstreams.simulated.answers import choose_answer
from tests.e2e.cluster import ENDS, Cluster, GenerationEvents, create_cluster
from tests.topologies import ClusterOfThree, valkey_binary

pytestmark = pytest.mark.slow  # three servers, a node and a worker
USERS = [f"u{n}" for n in range(4)]
PROMPT = "count to 120"


@pytest.fixture
def valkeys() -> Iterator[ClusterOfThree]:
    """Yield the Valkey Cluster, whose slots the test moves."""
    cluster = ClusterOfThree(valkey_binary(), node_timeout_seconds=30.0)  # no server fails here
    yield cluster
    cluster.close()


@pytest.fixture
async def hub(valkeys: ClusterOfThree) -> AsyncIterator[Cluster]:
    """Yield a node, a worker and a simulated LLM on the Valkey Cluster."""
    async with create_cluster() as hub:
        hub.set("REDIS__URL", valkeys.url)
        hub.set("REDIS__TIMEOUT_SECONDS", 1.5)
        hub.set("WORKER__CONCURRENCY", 20)
        await hub.add_upstream("sim", tokens_per_second=2.0)  # longer than the slots move
        await hub.start_node()
        await hub.start_ready_worker()
        yield hub


class Publisher:
    """Publishes numbered events to all users until it is told to end, as a careful backend does:
    one that is refused is sent again with the same id.
    """

    def __init__(self, hub: Cluster) -> None:
        self._hub = hub
        self.is_ending = False
        self.counts = dict.fromkeys(USERS, 0)
        self.repeated = 0

    async def run(self) -> None:
        """Publish to each user in turn, then an event that ends each user's numbers."""
        await asyncio.gather(*map(self._run_for, USERS))

    async def _run_for(self, user: str) -> None:
        while not self.is_ending:
            await self._publish(user, "note", self.counts[user])
            self.counts[user] += 1
            await asyncio.sleep(0.1)
        await self._publish(user, "last", self.counts[user])

    async def _publish(self, user: str, name: str, number: int) -> None:
        body = {"to": {"user": user}, "event": name, "data": number, "id": f"{user}-{number}"}
        while True:
            async with self._hub.session.post(f"{self._hub.internal_url}/publish", json=body) as r:
                if r.status == 200:
                    return
                assert r.status == 503, await r.text()
            self.repeated += 1
            await asyncio.sleep(0.1)


async def read_stream(hub: Cluster, user: str, cursor: str) -> tuple[list[int], GenerationEvents]:
    """Return the numbers of the notes and the events of the answer, up to the last of both."""
    decoder, notes, answer = SseDecoder(), list[int](), GenerationEvents()
    is_complete = {"last": False, "answer": False}
    async with (
        asyncio.timeout(120),
        hub.session.get(
            f"{hub.url}/sse/connect/{user}", headers={"Last-Event-ID": cursor}
        ) as response,
    ):
        async for chunk in response.content.iter_any():
            for event in decoder.feed(chunk):
                assert event.name not in ("hub.reset", "hub.bye"), event
                if event.name.startswith("generation."):
                    answer.append((event.name, json.loads(event.data)))
                elif event.name == "note":
                    notes.append(int(event.data))
                is_complete["last"] |= event.name == "last"
                is_complete["answer"] |= event.name in ENDS
            if all(is_complete.values()):
                break
    return notes, answer


def move(valkeys: ClusterOfThree, partition: int, *, by_key: bool) -> None:
    """Move the slot of a partition, at once or key by key, so that clients find it half moved."""
    slot = valkeys.masters[0].ask("CLUSTER", "KEYSLOT", hash_tag(partition))
    source = valkeys.owner(slot)
    target = next(server for server in valkeys.masters if server is not source)
    if not by_key:
        valkeys.migrate_slot(slot, source, target)
        return
    valkeys.move_slot(slot, source, target, keys_at_once=1, seconds_between=0.1)


@pytest.mark.timeout(240)
async def test_slots_move_while_answers_stream(valkeys: ClusterOfThree, hub: Cluster) -> None:
    """The slots of the queue of answers and of users move: each reader gets every event once and in
    order, and each answer streams on, without another attempt.
    """
    started = [await hub.start_generation(user, PROMPT, "sim") for user in USERS]
    assert [status for status, _ in started] == [202] * len(USERS)
    async with asyncio.TaskGroup() as tasks:
        readers = [
            tasks.create_task(read_stream(hub, user, answer["cursor"]))
            for user, (_, answer) in zip(USERS, started, strict=True)
        ]
        publisher = Publisher(hub)
        publishing = tasks.create_task(publisher.run())
        first, second = [partition_of(user_channel(user)) for user in USERS[:2]]
        for partition, by_key in ((JOBS_PARTITION, True), (first, True), (second, False)):
            await asyncio.to_thread(move, valkeys, partition, by_key=by_key)
        assert (await hub.stats("sim"))["running"] == len(USERS)
        hub.set_speed("sim", 200.0)
        publisher.is_ending = True
        await publishing
    for user, reader in zip(USERS, readers, strict=True):
        notes, events = reader.result()
        assert notes == list(range(publisher.counts[user]))
        names = [name for name, _ in events]
        assert names.count("generation.restarted") == 0, hub.log("worker")
        assert sum(name in ENDS for name in names) == 1
        assert names[-1] == "generation.done", events[-1]
        deltas = [data for name, data in events if name == "generation.delta"]
        assert [data["i"] for data in deltas] == list(range(len(deltas)))
        assert "".join(data["text"] for data in deltas) == choose_answer(PROMPT)
