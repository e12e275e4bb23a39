"""What every store of generations must do with the messages that users send to running answers."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from hub.core.channel import partition_of, user_channel
from hub.core.event import encode_json
from hub.core.generation import (
    Generation,
    GenerationRequest,
    GenerationUpdate,
    OnBusy,
    Status,
    UpdateKind,
    new_generation_id,
)
from hub.core.steering import MAX_STEERING_BYTES, MAX_STEERING_MESSAGES, SteeringMessage
from hub.errors import Conflict
from hub.ports.events import FROM_START, Outcome
from hub.ports.generations import CreatedGeneration
from hub.testing.contracts.generations import REQUEST
from hub.testing.contracts.node import ALICE, BackendOptions, Node, OpenBackend

CHAT = msgspec.structs.replace(REQUEST, chat="c1")
HI = {"role": "user", "content": "hi"}


class SteeringContract:
    """The suite for the messages of ports.generations: to an answer, and to that of a chat."""

    @pytest.fixture
    async def node(self, open_backend: OpenBackend) -> Node:
        """A node on an empty backend, which follows alice's channel."""
        node = Node(await open_backend(BackendOptions()))
        await node.backend.subscriptions.subscribe([ALICE])
        return node

    async def test_message_is_stored_and_published(self, node: Node) -> None:
        """In the record, in the log, and to every node, with a number from 0."""
        answer = await _start(node)
        text = 'a "b"\n\u2028 é 1 {"n":7,'
        for n in range(3):
            assert await _steer(node, answer, content=f"{text}{n}", by="alice é") == (n, True)
        expected = tuple(
            SteeringMessage(n, {"role": "user", "content": f"{text}{n}"}, "alice é")
            for n in range(3)
        )
        assert (await _find(node, answer)).steering == expected
        data = [
            encode_json({"generation": answer.generation, **msgspec.to_builtins(each)})
            for each in expected
        ]
        received = [await node.next() for _ in range(3)]
        assert [each.name for each in received] == ["generation.steered"] * 3
        assert [each.data for each in received] == data == await node.read(answer.position)

    async def test_message_before_and_while_it_runs(self, node: Node) -> None:
        """A queued answer takes messages, and later attempts keep them."""
        answer = await _start(node)
        await _steer(node, answer, content="first")
        await _update(node, answer, UpdateKind.BEGIN)
        await _steer(node, answer, content="second")
        await _update(node, answer, UpdateKind.DELTA)
        await _update(node, answer, UpdateKind.BEGIN, attempt=2)
        contents = [each.message["content"] for each in (await _find(node, answer)).steering]
        assert contents == ["first", "second"]
        await _update(node, answer, UpdateKind.END, attempt=2, status=Status.DONE)
        assert len((await _find(node, answer)).steering) == 2

    async def test_repeated_key(self, node: Node) -> None:
        """It changes nothing, also after the end; with another message it is refused."""
        answer, other = await _start(node), await _start(node)
        assert await _steer(node, answer, key="k") == (0, True)
        assert await _steer(node, answer, key="k2") == (1, True)
        assert await _steer(node, answer, key="k") == (0, False)
        assert await _steer(node, other, key="k") == (0, True)
        with pytest.raises(Conflict) as caught:
            await _steer(node, answer, key="k2", content="another")
        assert caught.value.code == "idempotency_key_reused"
        await _end(node, answer)
        assert await _steer(node, answer, key="k2") == (1, False)
        assert len((await _find(node, answer)).steering) == 2
        assert len(await node.read(FROM_START)) == 5  # with the two of the end

    async def test_refused_messages(self, node: Node) -> None:
        """Of a relay, of an answer that has ended or is about to, and of an unknown one."""
        relay, stopping, ended = (
            await _start(node, steerable=False),
            *[await _start(node) for _ in range(2)],
        )
        await node.backend.generations.request_stop(stopping.generation, "alice")
        await _end(node, ended)
        refused = [(relay, "not_steerable"), (stopping, "ended"), (ended, "ended")]
        for answer, code in refused:
            with pytest.raises(Conflict) as caught:
                await _steer(node, answer)
            assert (caught.value.code, caught.value.generation) == (code, answer.generation)
            assert (await _find(node, answer)).steering == ()
        unknown = CreatedGeneration(new_generation_id(partition_of(ALICE)), FROM_START, new=True)
        assert await _steer(node, unknown) is None
        assert await node.backend.generations.steering_of(unknown.generation) == ()

    async def test_bounds(self, node: Node) -> None:
        """An answer takes a number of messages, and a number of bytes, and not one more."""
        many, large = await _start(node), await _start(node)
        for _ in range(MAX_STEERING_MESSAGES):
            await _steer(node, many)
        size = MAX_STEERING_BYTES // 2 - len(encode_json({"role": "user", "content": ""}))
        for _ in range(2):
            await _steer(node, large, content="x" * size)
        for answer, content in ((many, "hi"), (large, "")):
            with pytest.raises(Conflict) as caught:
                await _steer(node, answer, content=content)
            assert caught.value.code == "steering_full"

    async def test_steered_chat(self, node: Node) -> None:
        """The message goes to the open answer, whose id is the result; nothing is created."""
        first = await _start(node, OnBusy.STEER)
        assert (first.new, first.waits, first.steered) == (True, False, None)
        for n, step in enumerate((None, UpdateKind.BEGIN, UpdateKind.DELTA)):
            if step is not None:
                assert await _update(node, first, step) is Outcome.WRITTEN
            steered = await _start(node, OnBusy.STEER, content=f"more {n}")
            assert (steered.generation, steered.new, steered.steered) == (
                *(first.generation, False, n),
            )
            assert len(await node.read(steered.position)) == 1
        assert [each.message["content"] for each in (await _find(node, first)).steering] == [
            *("more 0", "more 1", "more 2"),
        ]
        assert len(await node.backend.generations.take_open(1e-9)) == 1
        await _end(node, first)
        assert (await _start(node, OnBusy.STEER)).new

    async def test_which_answer_of_a_chat(self, node: Node) -> None:
        """The oldest one that is not about to stop; after only such ones, the new one waits."""
        store = node.backend.generations
        first, second = await _start(node), await _start(node, OnBusy.ENQUEUE)
        assert (await _start(node, OnBusy.STEER)).generation == first.generation
        await store.request_stop(first.generation, "alice")
        assert (await _start(node, OnBusy.STEER)).generation == second.generation
        await store.request_stop(second.generation, "alice")
        third = await _start(node, OnBusy.STEER)
        assert (third.new, third.waits, [*third.stopped]) == (True, True, [])
        assert await _update(node, third, UpdateKind.BEGIN) is Outcome.STALE
        await _end(node, first)
        await _end(node, second, attempt=0)
        assert await store.next_of_chat(ALICE, "c1") == third.generation

    async def test_chats_that_take_no_message(self, node: Node) -> None:
        """That of a relay, one with too many messages; those of others do not matter."""
        relay = await _start(node, OnBusy.STEER, steerable=False)
        with pytest.raises(Conflict) as caught:
            await _start(node, OnBusy.STEER)
        assert (caught.value.code, caught.value.generation) == ("not_steerable", relay.generation)
        other = msgspec.structs.replace(CHAT, chat="c2")
        full = await _start(node, OnBusy.STEER, request=other)
        with pytest.raises(Conflict) as caught:
            await _start(node, OnBusy.STEER, request=other, content="x" * MAX_STEERING_BYTES)
        assert (caught.value.code, caught.value.generation) == ("steering_full", full.generation)
        assert (await _start(node, OnBusy.STEER, user="bob")).new
        assert (await _start(node, OnBusy.STEER, request=REQUEST)).new

    async def test_repeated_request_to_a_chat(self, node: Node) -> None:
        """It sends its message once, and has the first result, also after the end."""
        first = await _start(node, OnBusy.STEER, key="k1")
        steered = await _start(node, OnBusy.STEER, key="k2", content="more")
        for _ in range(2):
            again = await _start(node, OnBusy.STEER, key="k2", content="more")
            assert again == steered
            again = await _start(node, OnBusy.STEER, key="k1")
            assert (again.generation, again.new, again.steered) == (first.generation, False, None)
            await _end(node, first)
        with pytest.raises(Conflict) as caught:
            await _start(node, OnBusy.STEER, key="k2", content="another")
        assert caught.value.code == "idempotency_key_reused"
        assert len((await _find(node, first)).steering) == 1

    async def test_racing_requests(self, open_backend: OpenBackend) -> None:
        """Of many requests on two nodes one starts an answer, and it gets all other messages."""
        nodes = [Node(await open_backend(BackendOptions())) for _ in range(2)]
        calls = [_start(nodes[n % 2], OnBusy.STEER, content=str(n)) for n in range(24)]
        results = await asyncio.gather(*calls)
        (started,) = [each for each in results if each.new]
        assert {each.generation for each in results} == {started.generation}
        numbers = [each.steered for each in results if each.steered is not None]
        assert sorted(numbers) == [*range(23)]
        record = await _find(nodes[1], started)
        contents = {each.message["content"] for each in record.steering}
        assert contents == {str(n) for n in range(24)} - {record.request.messages[0].content}


async def _start(
    node: Node,
    on_busy: OnBusy = OnBusy.ALLOW,
    *,
    user: str = "alice",
    request: GenerationRequest = CHAT,
    content: str = "hi",
    key: str | None = None,
    steerable: bool = True,
) -> CreatedGeneration:
    generation = new_generation_id(partition_of(user_channel(user)))
    message = msgspec.structs.replace(request.messages[0], content=content)
    request = msgspec.structs.replace(request, messages=[message])
    record = Generation(generation, user, request, steerable=steerable)
    return await node.backend.generations.create(record, key, on_busy)


async def _steer(
    node: Node,
    created: CreatedGeneration,
    *,
    content: str = "hi",
    by: str = "alice",
    key: str | None = None,
) -> tuple[int, bool] | None:
    record = Generation(created.generation, "alice", CHAT)
    message = encode_json({**HI, "content": content})
    return await node.backend.generations.steer(record, message, by, key)


async def _find(node: Node, created: CreatedGeneration) -> Generation:
    record = await node.backend.generations.find(created.generation)
    assert record is not None
    assert record.steering == await node.backend.generations.steering_of(created.generation)
    return record


async def _update(
    node: Node, created: CreatedGeneration, kind: UpdateKind, attempt: int = 1, **more: Any
) -> Outcome:
    update = GenerationUpdate(created.generation, attempt, kind, **more)
    outcome, _ = await node.publish('{"by":"x"}', update=update)
    return outcome


async def _end(node: Node, created: CreatedGeneration, attempt: int | None = None) -> None:
    if attempt is None:
        await _update(node, created, UpdateKind.BEGIN)
        attempt = 1
    record = await _find(node, created)
    if not record.status.ended:
        outcome = await _update(
            *(node, created, UpdateKind.END, record.attempt),
            status=Status.STOPPED,
            index=record.deltas,
        )
        assert outcome is Outcome.WRITTEN
