"""External producers over Valkey: every part once, whoever repeats what through which node."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import nullcontext, suppress
from itertools import count
from typing import Any

import msgspec
import pytest

from hub.core.durable import AskInput
from hub.core.external_producer import LeaseState
from hub.core.generation import Status
from hub.core.inputs import InputRequest
from hub.core.parts import (
    Data,
    Part,
    Reasoning,
    Replace,
    Source,
    Text,
    ToolCall,
    ToolCallDelta,
    ToolResult,
    Usage,
)
from hub.core.parts import Status as StatusPart
from hub.core.posted_parts import Posted, PostedEnd, PostedPart
from hub.errors import CallerError, SequenceGap
from tests.conftest import OpenedRedis, OpenRedis
from tests.engine.external_kit import Node, folded, numbered, texts
from tests.redis_backend import redis_backend

DONE: dict[str, Any] = {"finish_reason": "stop"}


@pytest.fixture
async def opened(open_redis: OpenRedis) -> OpenedRedis:
    return await open_redis("valkey")


@pytest.fixture
def nodes(opened: OpenedRedis) -> list[Node]:
    return [Node(redis_backend(opened.hub_client)) for _ in range(2)]


def random_parts(chance: random.Random) -> list[Part]:
    """Return parts of all kinds, in which neighbours often become one event."""
    calls = count()
    open_calls: list[int] = []

    def delta() -> Part:
        if not open_calls or chance.random() < 0.5:
            n = next(calls)
            open_calls.append(n)
            function = {"name": f"f{n}", "arguments": '{"a":"'}
            return ToolCallDelta(
                [{"index": n, "id": f"d{n}", "type": "function", "function": function}]
            )
        return ToolCallDelta([{"index": open_calls[-1], "function": {"arguments": "x"}}])

    makers: list[Callable[[], Part]] = [
        *[lambda: Text(chance.choice(["a", "b ", "ü", ""]))] * 8,
        lambda: Text("long " * chance.randrange(1, 8000)),
        lambda: Reasoning("r"),
        delta,
        lambda: ToolCall(f"t{next(calls)}", "tool", run_by=chance.choice(["producer", "client"])),
        lambda: ToolCall("hidden", "tool", visible=False),
        lambda: ToolResult("hidden", 1, visible=False),
        lambda: StatusPart(chance.choice("xyz")),
        lambda: Data("d", chance.random(), id=chance.choice(["1", "2", None])),
        lambda: Data("d", 1, transient=True),
        lambda: Data("h", 1, visible=False),
        lambda: Source("https://a.example"),
        lambda: Usage({"prompt_tokens": chance.randrange(9)}),
        lambda: Replace("new"),
    ]
    return [chance.choice(makers)() for _ in range(chance.randrange(1, 40))]


async def expected_fold(opened: OpenedRedis, parts: list[Part]) -> list[dict[str, Any]]:
    """Return the folded parts of an answer that was posted part by part by nobody else."""
    node = Node(redis_backend(opened.hub_client))
    started = await node.producers.start(
        "bob", (await node.begin()).record.request, None, lease_seconds=30
    )
    for part in numbered(parts):
        await node.producers.post(started.record.id, started.lease, [part])
    return (await node.record(started.record.id)).all_parts


@pytest.mark.parametrize("seed", range(12))
async def test_random_posts_through_two_nodes(
    nodes: list[Node], opened: OpenedRedis, seed: int
) -> None:
    """Whatever is repeated, lost, reordered or sent at the same time through two nodes, readers and
    the record have each part exactly once, and one end.
    """
    chance = random.Random(seed)
    parts = random_parts(chance)
    started = await nodes[0].begin()
    generation, lease = started.record.id, started.lease
    posted: list[Posted] = [*numbered(parts), PostedEnd(len(parts), Status.DONE, DONE)]

    async def send(first: int, last: int) -> None:
        with suppress(SequenceGap):
            await chance.choice(nodes).producers.post(
                generation, lease, posted[first:last], whole=chance.random() < 0.5
            )

    acked = -1
    while acked < len(parts):
        first = max(0, min(acked + 1, len(parts)) - chance.randrange(4))
        sends = []
        for _ in range(chance.randrange(1, 4)):
            last = first + chance.randrange(1, 12)
            sends.append(send(first, last))
            first = chance.choice([first, last])
        await asyncio.gather(*sends)
        answer = await chance.choice(nodes).producers.post(generation, lease, [])
        acked = answer.ack
    events = [each for each in await nodes[0].events() if each[1]["generation"] == generation]
    assert [name for name, _ in events if name == "generation.done"] == ["generation.done"]
    assert events[-1][0] == "generation.done"
    record = await nodes[1].record(generation)
    live = folded(events)
    assert [part for part in record.parts if part["type"] != "status"] == [
        part for part in live if part["type"] != "status" and not part.get("transient")
    ]
    kept = [part for part in await expected_fold(opened, parts) if part["type"] != "tool_call"]
    assert [part for part in record.all_parts if part["type"] not in ("tool_call", "status")] == [
        part for part in kept if part["type"] != "status"
    ]
    usage = {k: v for part in parts if isinstance(part, Usage) for k, v in part.tokens.items()}
    assert record.end["usage"] == (usage or None)
    assert sum(len(node.results) for node in nodes) == 1


async def test_messages_through_two_nodes(nodes: list[Node]) -> None:
    """Each answer to a post has all messages so far, whichever node took them and the post; a post
    without new ones costs no further call.
    """
    started = await nodes[0].begin()
    record = await nodes[0].record(started.record.id)
    for n in range(6):
        message = {"role": "user", "content": str(n)}
        await nodes[n // 2 % 2].generations.steer(record, message, "alice", None)
        for node in nodes:
            result = await node.producers.post(record.id, started.lease, texts(n, "x"))
            assert [each.text for each in result.steering] == [str(m) for m in range(n + 1)]
    before = nodes[1].backend.statistics.calls
    await nodes[1].producers.post(record.id, started.lease, texts(6, "x"))
    assert nodes[1].backend.statistics.calls - before == 1


async def test_repeated_ids_of_tool_calls(nodes: list[Node]) -> None:
    """Each call has an id of its own, and a result belongs to the newest call with its id,
    whichever node gets it, also after a checkpoint.
    """
    parts: list[Part] = []
    for n in range(4):
        visible = n % 2 == 0
        parts += [
            ToolCall("call_0", f"f{n}", visible=visible),
            ToolResult("call_0", n, visible=visible),
        ]
    parts.append(ToolResult("unknown", "x"))
    started = await nodes[0].begin("k")
    for n, part in enumerate(parts[:6]):
        post = [PostedPart(n, part, b"1" if n == 5 else None)]
        await nodes[n % 2].producers.post(started.record.id, started.lease, post)
    again = await nodes[1].begin("k")
    for n, part in enumerate(parts[6:]):
        await nodes[n % 2].producers.post(again.record.id, again.lease, [PostedPart(n, part)])
    record = await nodes[0].record(started.record.id)
    calls = [part for part in record.all_parts if part["type"] == "tool_call"]
    assert [(each["name"], each["result"]) for each in calls] == [(f"f{n}", n) for n in range(4)]
    assert calls[0]["id"] == "call_0"
    assert len({each["id"] for each in calls}) == 4


async def test_a_post_costs_one_call(nodes: list[Node]) -> None:
    """A node that gets post after post of an answer does not read its record again."""
    node = nodes[0]
    started = await node.begin()
    calls = []
    for n in range(5):
        before = node.backend.statistics.calls
        await node.producers.post(started.record.id, started.lease, texts(n, "word"))
        calls.append(node.backend.statistics.calls - before)
    assert calls == [2, 1, 1, 1, 1]
    await nodes[1].producers.post(started.record.id, started.lease, texts(5, "other"))
    before = node.backend.statistics.calls
    await node.producers.post(started.record.id, started.lease, texts(5, "other", "mine"))
    assert node.backend.statistics.calls - before == 3  # refused, read, published


@pytest.mark.parametrize("kill_after", range(6))
async def test_killed_producer(nodes: list[Node], opened: OpenedRedis, kill_after: int) -> None:
    """A producer that is killed after any part leaves one end event, `producer_lost`."""
    started = await nodes[0].begin()
    generation, words = started.record.id, ["a", "b", "c", "d", "e"][:kill_after]
    for n, word in enumerate(words):
        await nodes[n % 2].producers.post(generation, started.lease, texts(n, word))
    await expire_lease(opened, generation)
    for node in nodes * 2:
        await check(node)
    record = await nodes[0].record(generation)
    assert (record.text, record.end["code"]) == ("".join(words), "producer_lost")
    names = [name for name, _ in await nodes[0].events()]
    assert [name for name in names if name not in ("generation.started", "generation.delta")] == [
        "generation.failed"
    ]
    with pytest.raises(CallerError) as raised:
        await nodes[0].producers.post(generation, started.lease, texts(kill_after, "late"))
    assert raised.value.code == "lease_lost"


async def test_post_after_the_end_of_the_lease(nodes: list[Node], opened: OpenedRedis) -> None:
    """A lease that has ended publishes nothing, also when nobody has noticed it before."""
    started = await nodes[0].begin()
    generation = started.record.id
    await nodes[0].producers.post(generation, started.lease, texts(0, "a"))
    await expire_lease(opened, generation)
    for _ in range(2):
        with pytest.raises(CallerError) as raised:
            await nodes[0].producers.post(generation, started.lease, texts(1, "b"))
        assert raised.value.code == "lease_lost"
    record = await nodes[1].record(generation)
    assert (record.text, record.end["code"]) == ("a", "producer_lost")


@pytest.mark.parametrize("ahead_seconds", [-100_000, 100_000])
async def test_server_with_another_clock(
    nodes: list[Node], opened: OpenedRedis, ahead_seconds: int
) -> None:
    """After a fail-over to a server with another clock a lease is as long as before, and not over;
    and a producer that is lost then is noticed after it.
    """
    started = await nodes[0].begin()
    generation = started.record.id
    await change_lease(opened, generation, ahead_seconds=ahead_seconds, history="another")
    await check(nodes[0])
    assert not (await nodes[0].record(generation)).status.ended
    key = record_key(generation)
    until, length, history = (await opened.client.hget(key, "lease")).split()
    seconds, microseconds = await opened.client.time()
    left = int(until) - (seconds * 1000 + microseconds // 1000)
    assert 0 < left <= int(length) == 30_000
    assert history != b"another"
    await nodes[1].producers.post(generation, started.lease, texts(0, "a"))


async def test_clock_that_was_set_back(nodes: list[Node], opened: OpenedRedis) -> None:
    """A lease whose end is further away than its length begins anew."""
    started = await nodes[0].begin()
    await change_lease(opened, started.record.id, ahead_seconds=100_000)
    await check(nodes[0])
    until, _, _ = (await opened.client.hget(record_key(started.record.id), "lease")).split()
    assert int(until) / 1000 - (await opened.client.time())[0] < 40


async def test_crash_between_creation_and_beginning(nodes: list[Node]) -> None:
    """An answer that its node created and did not begin ends as `producer_lost`."""
    node = nodes[0]
    begin = node.producers.begin

    async def crash(*arguments: Any, **more: Any) -> Any:
        raise ConnectionError

    node.producers.begin = crash  # type: ignore[method-assign]
    with pytest.raises(ConnectionError):
        await node.begin("key")
    node.producers.begin = begin  # type: ignore[method-assign]
    await asyncio.sleep(0.01)  # longer than the interval of the reconciler
    await check(nodes[1])
    (name, failed) = (await node.events())[-1]
    assert (name, failed["code"]) == ("generation.failed", "producer_lost")


async def test_racing_attempts(nodes: list[Node]) -> None:
    """Attempts that begin at the same time have numbers of their own, and only the last writes."""
    started = await asyncio.gather(*(nodes[n % 2].begin("key") for n in range(8)))
    assert sorted(each.attempt for each in started) == [*range(1, 9)]
    assert [each.new for each in started].count(True) == 1
    for each in started:
        refusal = nullcontext() if each.attempt == 8 else pytest.raises(CallerError, match="void")
        with refusal:
            await nodes[0].producers.post(each.record.id, each.lease, texts(0, "a"))


async def test_stop_races_with_posts(nodes: list[Node]) -> None:
    """A stop ends an answer once, and the number of parts in its end is right."""
    for seed in range(8):
        chance = random.Random(seed)
        started = await nodes[0].begin()
        generation = started.record.id

        async def produce(generation: str = generation, lease: str = started.lease) -> Any:
            answer, n = None, 0
            while answer is None or answer.stop is None:
                answer = await nodes[n % 2].producers.post(generation, lease, texts(n, "w"))
                n += 1
            return answer

        async def stop(generation: str = generation, chance: random.Random = chance) -> None:
            await asyncio.sleep(chance.random() / 50)
            await nodes[1].generations.stop(generation, "alice")

        answer, _ = await asyncio.gather(produce(), stop())
        assert answer.stop == "alice"
        events = [each for each in await nodes[0].events() if each[1]["generation"] == generation]
        folded(events)
        assert [name for name, _ in events if name.endswith("stopped")] == ["generation.stopped"]


async def test_part_that_is_too_large(nodes: list[Node]) -> None:
    """The parts before one that is too large are published, and the answer ends."""
    started = await nodes[0].begin()
    generation = started.record.id
    posted = numbered([Text("a"), Data("d", "x" * 2000), Text("b")])
    for _ in range(2):
        with pytest.raises(CallerError) as raised:
            await nodes[0].producers.post(generation, started.lease, posted)
        assert raised.value.code == "ended"
    record = await nodes[1].record(generation)
    assert (record.text, record.end["code"]) == ("a", "answer_too_large")


async def test_renewal_needs_no_memory(nodes: list[Node], opened: OpenedRedis) -> None:
    """A producer can renew its lease and end its answer while the memory of the server is full."""
    started = await nodes[0].begin()
    generation = started.record.id
    await nodes[0].producers.post(generation, started.lease, texts(0, "a"))
    await opened.client.config_set("maxmemory", 1)
    try:
        await nodes[0].producers.post(generation, started.lease, [])
        end: list[Posted] = [PostedEnd(1, Status.DONE, DONE)]
        await nodes[0].producers.post(generation, started.lease, end)
    finally:
        await opened.client.config_set("maxmemory", 0)
    assert (await nodes[0].record(generation)).status is Status.DONE


async def test_open_generations_tell_their_leases(nodes: list[Node], opened: OpenedRedis) -> None:
    """The reconciler learns which leases are held and which have ended."""
    held, ended = await nodes[0].begin(), await nodes[0].begin()
    await expire_lease(opened, ended.record.id)
    listed = await nodes[1].backend.generations.list_leased_or_suspended(10)
    assert sorted(listed) == sorted([held.record.id, ended.record.id])
    leases = {each.id: each.lease for each in await take_open(nodes[0])}
    assert leases == {held.record.id: LeaseState.HELD, ended.record.id: LeaseState.ENDED}


def record_key(generation: str) -> str:
    return f"{{hub:p{generation[1:3]}}}:generation:{generation}"


async def expire_lease(opened: OpenedRedis, generation: str) -> None:
    """Let the lease of an answer have ended, as its time would."""
    await change_lease(opened, generation, ahead_seconds=-31)


async def change_lease(
    opened: OpenedRedis, generation: str, *, ahead_seconds: int, history: str | None = None
) -> None:
    key = record_key(generation)
    until, length, written_in = (await opened.client.hget(key, "lease")).decode().split()
    until = str(int(until) + ahead_seconds * 1000)
    await opened.client.hset(key, "lease", f"{until} {length} {history or written_in}")


async def check(node: Node) -> None:
    """Let the reconciler look at all open generations."""
    await repeat(node.reconciler.check)


async def test_reconciler_ends_an_overdue_input(nodes: list[Node]) -> None:
    """The producer and the readers learn of it without another post, once; the answer goes on."""
    node, other = nodes[:2]
    started = await node.begin()
    generation = started.record.id
    node.producers._now = lambda: 0.0  # when the input is asked for
    requests = [
        InputRequest(input="late", prompt="?", expires_at=1.0),
        InputRequest(input="later", prompt="?", expires_at=1e10),
    ]
    asks: list[Any] = [AskInput(each) for each in requests]
    await node.producers.post(generation, started.lease, numbered(asks))
    assert {each.is_waiting for each in await take_open(node)} == {True}
    for _ in range(2):
        await check(other)
    names = [(name, data.get("input")) for name, data in await node.events()]
    assert names == [
        ("generation.started", None),
        ("generation.input_requested", "late"),
        ("generation.input_requested", "later"),
        ("generation.input_expired", "late"),
    ]
    posted = await other.producers.post(generation, started.lease, [])
    assert [(each.input, each.expired) for each in posted.inputs] == [("late", True)]


async def take_open(node: Node) -> Any:
    return await repeat(lambda: node.backend.generations.take_open(0.001))


async def repeat(call: Callable[[], Awaitable[Any]]) -> Any:
    """Call when the interval of the reconciler, which all nodes share, is over."""
    await asyncio.sleep(0.002)
    return await call()


@pytest.mark.parametrize("cut", range(7))
async def test_checkpoint_is_saved_with_its_part(nodes: list[Node], cut: int) -> None:
    """The next attempt continues after the newest checkpoint whose part was acknowledged, and
    readers keep the parts up to it.
    """
    posted = numbered(
        [
            Text("a"),
            Text("b"),
            Data("h", 1, visible=False),
            Usage({"prompt_tokens": 3}),
            Text("c"),
            Text("d"),
        ]
    )
    for n in (1, 2, 3, 4):
        posted[n] = msgspec.structs.replace(posted[n], checkpoint=b'{"n":%d}' % n)
    first = await nodes[0].begin("key")
    generation = first.record.id
    await nodes[0].producers.post(generation, first.lease, posted[:cut])
    saved = min(cut - 1, 4)
    second = await nodes[1].begin("key")
    checkpoint = second.state.checkpoint
    assert (checkpoint and checkpoint.value) == (b'{"n":%d}' % saved if saved > 0 else None)
    kept = ["", "", "ab", "ab", "ab", "abc"][saved + 1] if saved > 0 else ""
    assert (await nodes[0].record(generation)).text == kept
    await nodes[0].producers.post(
        generation, second.lease, [*texts(0, "!"), PostedEnd(1, Status.DONE, DONE)]
    )
    record = await nodes[0].record(generation)
    assert record.text == kept + "!"
    events = await nodes[0].events()
    assert ("generation.continued" in [name for name, _ in events]) == (saved > 0)
    assert record.end["usage"] == ({"prompt_tokens": 3} if saved >= 3 else None)
    hidden = [part for part in record.all_parts if part["type"] == "data"]
    assert len(hidden) == (saved >= 2)
