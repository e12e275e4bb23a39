"""What every store of generations must do with the answers of topics."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from hub.core.channel import Channel, partition_of, topic_channel, user_channel
from hub.core.fair_queue import Admission, Job
from hub.core.generation import (
    Generation,
    GenerationRequest,
    GenerationUpdate,
    OnBusy,
    Status,
    UpdateKind,
    new_generation_id,
)
from hub.errors import Conflict
from hub.ports.events import Outcome
from hub.ports.generations import CreatedGeneration, GenerationFilter
from hub.testing.contracts.generations import REQUEST
from hub.testing.contracts.node import ALICE, BackendOptions, Node, OpenBackend

ROOM = topic_channel("room:1")
IN_ROOM = msgspec.structs.replace(REQUEST, topic="room:1")
CHAT = msgspec.structs.replace(IN_ROOM, chat="c1")


class TopicAnswersContract:
    """The suite for answers whose events go to a topic's channel."""

    @pytest.fixture
    async def node(self, open_backend: OpenBackend) -> Node:
        """A node on an empty backend."""
        return Node(await open_backend(BackendOptions()))

    async def test_position_and_snapshot_are_those_of_the_topic(self, node: Node) -> None:
        """The record changes with the events of the topic's channel, and not of the user's."""
        store = node.backend.generations
        await node.publish()
        _, before = await node.publish(channel=ROOM)
        created = await _start(node)
        assert created.position == before
        assert await _update(node, created, UpdateKind.BEGIN) is Outcome.WRITTEN
        assert await _update(node, created, UpdateKind.DELTA, entries=b'{"t":"x"}') is (
            Outcome.WRITTEN
        )
        record = await store.find(created.generation)
        assert record is not None
        assert (record.channel, record.after, record.deltas) == (ROOM, before, 1)
        snapshot = await store.snapshot(record)
        pages = await node.backend.events.read(
            {ROOM: created.position, ALICE: None}, max_events=9, max_bytes=10**6
        )
        assert len(pages[ROOM].events) == 2
        assert pages[ALICE].head.offset == 1
        assert snapshot is not None
        assert snapshot[1] == pages[ROOM].head

    async def test_key_counts_within_a_channel(self, node: Node) -> None:
        """The same key finds the answer of its user there; another user or channel has others."""
        first = await _start(node, key="k")
        assert (await _start(node, key="k")).generation == first.generation
        for user, request in (("bob", IN_ROOM), ("alice", REQUEST)):
            other = await _start(node, user, request, key="k")
            assert other.new
            assert (await _start(node, user, request, key="k")).generation == other.generation
        with pytest.raises(Conflict):
            await _start(node, "alice", CHAT, key="k")

    async def test_keys_of_users_do_not_collide(self, node: Node) -> None:
        """A slash in a user id or in a key makes no key another user's."""
        first = await _start(node, "a/b", key="c")
        assert (await _start(node, "a", key="b/c")).generation != first.generation

    async def test_chat_belongs_to_the_channel(self, node: Node) -> None:
        """All users of the topic share it; the chats of the users' own channels are others."""
        store = node.backend.generations
        first = await _start(node, request=CHAT, on_busy=OnBusy.REJECT)
        with pytest.raises(Conflict) as caught:
            await _start(node, "bob", CHAT, on_busy=OnBusy.REJECT)
        assert caught.value.generation == first.generation
        own = msgspec.structs.replace(REQUEST, chat="c1")
        assert not (await _start(node, request=own, on_busy=OnBusy.REJECT)).waits
        second = await _start(node, "bob", CHAT, on_busy=OnBusy.ENQUEUE)
        assert second.waits
        assert await store.next_of_chat(ROOM, "c1") is None
        await _update(node, first, UpdateKind.BEGIN)
        assert await _update(node, second, UpdateKind.BEGIN) is Outcome.STALE
        await _update(node, first, UpdateKind.END, status=Status.DONE)
        assert await store.next_of_chat(ROOM, "c1") == second.generation
        assert await _update(node, second, UpdateKind.BEGIN) is Outcome.WRITTEN

    async def test_nobody_interrupts_the_answer_of_another_user(self, node: Node) -> None:
        """The chat is busy for them; a user's own answer is stopped."""
        store = node.backend.generations
        first = await _start(node, request=CHAT)
        with pytest.raises(Conflict) as caught:
            await _start(node, "bob", CHAT, on_busy=OnBusy.INTERRUPT)
        assert (caught.value.code, caught.value.generation) == ("chat_busy", first.generation)
        assert await store.stop_requested_by(first.generation) is None
        second = await _start(node, request=CHAT, on_busy=OnBusy.INTERRUPT)
        assert [*second.stopped] == [first.generation]

    async def test_discarded(self, node: Node) -> None:
        """Its idempotency key and its place in the chat are free again."""
        store = node.backend.generations
        first = await _start(node, request=CHAT, key="k", on_busy=OnBusy.REJECT)
        await store.discard(Generation(first.generation, "alice", CHAT), "k")
        second = await _start(node, request=CHAT, key="k", on_busy=OnBusy.REJECT)
        assert second.new
        assert second.generation != first.generation

    async def test_list_of_a_user_has_them(self, node: Node) -> None:
        """Beside the user's other answers, in the order of the requests."""
        store = node.backend.generations
        started = [
            await _start(node, user, request)
            for user, request in (
                *(("alice", CHAT), ("bob", CHAT), ("alice", REQUEST)),
                *(("alice", msgspec.structs.replace(REQUEST, topic=f"t{n}")) for n in range(4)),
            )
        ]
        own = [each.generation for n, each in enumerate(started) if n != 1]

        async def listed(**which: Any) -> list[str]:
            page = await store.list_of_user("alice", GenerationFilter(**{"limit": 20, **which}))
            return [each.id for each in page]

        newest_first = await listed()
        assert sorted(newest_first) == sorted(own)
        assert await listed(limit=2) == newest_first[:2]
        assert await listed(before=newest_first[3], limit=2) == newest_first[4:]
        assert await listed(chat="c1") == [own[0]]
        (summary,) = await store.list_of_user("alice", GenerationFilter(limit=9, chat="c1"))
        assert (summary.topic, summary.chat) == ("room:1", "c1")
        await store.discard(Generation(own[0], "alice", CHAT), None)
        assert await listed() == [each for each in newest_first if each != own[0]]

    async def test_job_keeps_the_topic(self, open_backend: OpenBackend) -> None:
        """So that a worker can end an answer whose record is lost, also after a release."""
        queue = (await open_backend(BackendOptions())).queue
        jobs = [Job("g1", "alice", "u", topic="room:1"), Job("g2", "alice", "u")]
        for job in jobs:
            assert await queue.enqueue(job) is Admission.ACCEPTED
        assert {*(await queue.list_jobs(9)).generations} == {"g1", "g2"}
        seen = {}
        for _ in range(2):
            for _ in range(2):
                lease = await queue.reserve(5.0)
                assert lease is not None
                seen[lease.generation] = lease
            for lease in seen.values():
                await queue.release(lease)
        channels = {each.generation: each.channel for each in seen.values()}
        assert channels == {"g1": ROOM, "g2": ALICE}
        for job in jobs:
            await queue.withdraw(job)
        assert (await queue.list_jobs(9)).total == 0


async def _start(
    node: Node,
    user: str = "alice",
    request: GenerationRequest = IN_ROOM,
    *,
    key: str | None = None,
    on_busy: OnBusy = OnBusy.ALLOW,
) -> CreatedGeneration:
    channel = user_channel(user) if request.topic is None else topic_channel(request.topic)
    record = Generation(new_generation_id(partition_of(channel)), user, request)
    return await node.backend.generations.create(record, key, on_busy)


async def _update(
    node: Node, created: CreatedGeneration, kind: UpdateKind, channel: Channel = ROOM, **more: Any
) -> Outcome:
    update = GenerationUpdate(created.generation, 1, kind, **more)
    outcome, _ = await node.publish('{"by":"x"}', update=update, channel=channel)
    return outcome
