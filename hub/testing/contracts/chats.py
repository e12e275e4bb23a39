"""What every store of generations must do with the answers of a chat, and with lists."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

import msgspec
import pytest

from hub.core.channel import partition_of, user_channel
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

CHAT = msgspec.structs.replace(REQUEST, chat="c1")


class ChatsContract:
    """The suite for the chats of ports.generations: what a request does while its chat is busy."""

    @pytest.fixture
    async def node(self, open_backend: OpenBackend) -> Node:
        """A node on an empty backend."""
        return Node(await open_backend(BackendOptions()))

    async def test_rejected_while_an_answer_is_open(self, node: Node) -> None:
        """An answer is open from its request to its end; the error names it."""
        first = await _start(node, OnBusy.REJECT)
        for step in (None, UpdateKind.BEGIN, UpdateKind.DELTA):
            if step is not None:
                assert await _update(node, first, step) is Outcome.WRITTEN
            with pytest.raises(Conflict) as caught:
                await _start(node, OnBusy.REJECT)
            assert caught.value.code == "chat_busy"
            assert caught.value.generation == first.generation
        assert len(await node.backend.generations.take_open(1e-9)) == 1
        await node.backend.generations.request_stop(first.generation, "alice")
        with pytest.raises(Conflict):
            await _start(node, OnBusy.REJECT)
        await _update(node, first, UpdateKind.END, status=Status.STOPPED)
        assert not (await _start(node, OnBusy.REJECT)).waits

    async def test_enqueued_answers_begin_in_order(self, node: Node) -> None:
        """Each begins when all before it have ended; nobody can begin it earlier."""
        store = node.backend.generations
        answers = [await _start(node, OnBusy.ENQUEUE) for _ in range(4)]
        assert [each.waits for each in answers] == [False, True, True, True]
        assert await store.next_of_chat(ALICE, "c1") is None
        for first, second in pairwise(answers):
            assert await _update(node, second, UpdateKind.BEGIN) is Outcome.STALE
            assert await _update(node, first, UpdateKind.BEGIN) is Outcome.WRITTEN
            record = await store.find(second.generation)
            assert record is not None
            assert (record.status, record.waits) == (Status.QUEUED, True)
            assert await store.next_of_chat(ALICE, "c1") is None
            await _update(node, first, UpdateKind.END, status=Status.DONE)
            assert await store.next_of_chat(ALICE, "c1") == second.generation
        assert await _update(node, answers[3], UpdateKind.BEGIN) is Outcome.WRITTEN
        record = await store.find(answers[3].generation)
        assert record is not None
        assert not record.waits
        assert await store.next_of_chat(ALICE, "c1") is None

    async def test_interrupted_answers_are_asked_to_stop(self, node: Node) -> None:
        """All open ones of the chat get the stop request, and the new one waits for their ends."""
        store = node.backend.generations
        running, queued = await _start(node, OnBusy.ALLOW), await _start(node, OnBusy.ENQUEUE)
        await _update(node, running, UpdateKind.BEGIN)
        last = await _start(node, OnBusy.INTERRUPT)
        stopped = [running.generation, queued.generation]
        assert (last.waits, [*last.stopped]) == (True, stopped)
        for each in stopped:
            assert await store.stop_requested_by(each) == "alice"
            record = await store.find(each)
            assert record is not None
            assert record.status is Status.STOPPING
        assert await _update(node, last, UpdateKind.BEGIN) is Outcome.STALE
        await _update(node, running, UpdateKind.END, status=Status.STOPPED)
        assert await store.next_of_chat(ALICE, "c1") is None
        await _update(node, queued, UpdateKind.END, attempt=0, status=Status.STOPPED)
        assert await store.next_of_chat(ALICE, "c1") == last.generation

    async def test_chats_are_counted_separately(self, node: Node) -> None:
        """Another chat, another user's chat of the same name and a request without one are free."""
        await _start(node, OnBusy.REJECT)
        other = msgspec.structs.replace(REQUEST, chat="c1/x")
        assert not (await _start(node, OnBusy.REJECT, request=other)).waits
        assert not (await _start(node, OnBusy.REJECT, user="bob")).waits
        assert not (await _start(node, OnBusy.ENQUEUE, request=REQUEST)).waits

    async def test_allowed_answers_run_beside_others(self, node: Node) -> None:
        """Both begin; an enqueued one waits for both."""
        first, second = [await _start(node, OnBusy.ALLOW) for _ in range(2)]
        third = await _start(node, OnBusy.ENQUEUE)
        for each in (first, second):
            assert await _update(node, each, UpdateKind.BEGIN) is Outcome.WRITTEN
        await _update(node, first, UpdateKind.END, status=Status.DONE)
        assert await node.backend.generations.next_of_chat(ALICE, "c1") is None
        assert await _update(node, third, UpdateKind.BEGIN) is Outcome.STALE
        await _update(node, second, UpdateKind.END, status=Status.FAILED)
        assert await _update(node, third, UpdateKind.BEGIN) is Outcome.WRITTEN

    async def test_idempotency_is_checked_first(self, node: Node) -> None:
        """A repeated key finds its answer, also in a busy chat."""
        first = await _start(node, OnBusy.REJECT, key="k")
        again = await _start(node, OnBusy.REJECT, key="k")
        assert (again.generation, again.new) == (first.generation, False)
        waiting = await _start(node, OnBusy.ENQUEUE, key="k2")
        again = await _start(node, OnBusy.INTERRUPT, key="k2")
        assert (again.generation, again.new, [*again.stopped]) == (waiting.generation, False, [])

    async def test_second_call_with_the_same_id_changes_nothing(self, node: Node) -> None:
        """So a call whose reply was lost may be repeated."""
        await _start(node, OnBusy.ALLOW)
        generation = Generation(new_generation_id(partition_of(ALICE)), "alice", CHAT)
        create = node.backend.generations.create
        first = await create(generation, None, OnBusy.ENQUEUE)
        again = await create(generation, None, OnBusy.REJECT)
        assert (again.generation, again.position, again.new, again.waits) == (
            *(first.generation, first.position, True, True),
        )

    async def test_discarded_answer_makes_room(self, node: Node) -> None:
        """What waited for an answer that did not get into the queue may begin."""
        store = node.backend.generations
        first, second = [await _start(node, OnBusy.ENQUEUE) for _ in range(2)]
        await store.discard(Generation(first.generation, "alice", CHAT), None)
        assert await store.next_of_chat(ALICE, "c1") == second.generation

    @pytest.mark.parametrize("on_busy", [OnBusy.REJECT, OnBusy.ENQUEUE, OnBusy.INTERRUPT])
    async def test_racing_requests(self, open_backend: OpenBackend, on_busy: OnBusy) -> None:
        """Of many requests on two nodes no two can begin while the other has not ended."""
        nodes = [Node(await open_backend(BackendOptions())) for _ in range(2)]
        calls = [_start(nodes[n % 2], on_busy) for n in range(24)]
        results = await asyncio.gather(*calls, return_exceptions=True)
        started = [each for each in results if isinstance(each, CreatedGeneration)]
        were_written = [
            await _update(nodes[0], each, UpdateKind.BEGIN) is Outcome.WRITTEN for each in started
        ]
        assert sum(were_written) == 1
        assert len(started) == (1 if on_busy is OnBusy.REJECT else 24)
        assert sum(not each.waits for each in started) == 1

    async def test_list_of_a_user(self, node: Node) -> None:
        """The newest first, of one user, by chat, status and page."""
        store = node.backend.generations
        request = msgspec.structs.replace(CHAT, metadata={"n": 1})
        first = await _start(node, OnBusy.ALLOW, request=request)
        others = [await _start(node, OnBusy.ALLOW, request=REQUEST) for _ in range(3)]
        await _start(node, OnBusy.ALLOW, user="bob")
        await _update(node, first, UpdateKind.BEGIN)
        await _update(node, first, UpdateKind.DELTA)
        await _update(node, first, UpdateKind.END, status=Status.DONE, index=1)
        ids = [first.generation, *(each.generation for each in others)]

        async def listed(**which: Any) -> list[str]:
            page = await store.list_of_user("alice", GenerationFilter(**{"limit": 20, **which}))
            return [each.id for each in page]

        newest_first = await listed()
        assert sorted(newest_first) == sorted(ids)
        times = [
            each.requested_at
            for each in await store.list_of_user("alice", GenerationFilter(limit=20))
        ]
        assert times == sorted(times, reverse=True)
        assert await listed(limit=2) == newest_first[:2]
        assert await listed(before=newest_first[1]) == newest_first[2:]
        assert await listed(before="unknown") == []
        assert await listed(chat="c1") == [first.generation]
        assert await listed(chat="") == []
        assert await listed(status=Status.DONE) == [first.generation]
        assert len(await listed(status=Status.QUEUED)) == 3
        (done,) = await store.list_of_user("alice", GenerationFilter(limit=1, chat="c1"))
        assert (done.status, done.attempt, done.deltas) == (Status.DONE, 1, 1)
        assert (done.model, done.upstream, done.chat) == ("m", "u", "c1")
        assert (done.metadata, done.end) == ({"n": 1}, {"by": "x"})

    async def test_list_without_discarded_generations(self, node: Node) -> None:
        """A generation whose record is gone is not listed."""
        started = await _start(node, OnBusy.ALLOW)
        await node.backend.generations.discard(Generation(started.generation, "alice", CHAT), None)
        assert [
            *await node.backend.generations.list_of_user("alice", GenerationFilter(limit=5))
        ] == []


async def _start(
    node: Node,
    on_busy: OnBusy,
    *,
    user: str = "alice",
    request: GenerationRequest = CHAT,
    key: str | None = None,
) -> CreatedGeneration:
    generation = new_generation_id(partition_of(user_channel(user)))
    record = Generation(generation, user, request)
    return await node.backend.generations.create(record, key, on_busy)


async def _update(
    node: Node, created: CreatedGeneration, kind: UpdateKind, attempt: int = 1, **more: Any
) -> Outcome:
    update = GenerationUpdate(created.generation, attempt, kind, **more)
    outcome, _ = await node.publish('{"by":"x"}', update=update)
    return outcome
