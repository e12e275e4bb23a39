"""Answers of a real node: read as text and as events, cut, joined, stopped, failed, rewritten."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from hub.client import (
    Answer,
    AnswerFailed,
    AnswerRewritten,
    BadRequest,
    Delta,
    Done,
    Failed,
    HubClient,
    NotFound,
    Replaced,
    Restarted,
    RetryPolicy,
    Snapshot,
    Started,
    Stopped,
)
from hub.core.channel import user_channel
from hub.core.generation import GenerationUpdate, Status, UpdateKind
from hub.ports.events import Publication
from tests.faults import FaultProxy
from tests.http.kit import LIMITS, Hub, running_hub

QUICK = RetryPolicy(min_delay_seconds=0.005, max_delay_seconds=0.02)


class World:
    """A node, a proxy in front of it, a client behind that."""

    def __init__(self, hub: Hub, proxy: FaultProxy, client: HubClient) -> None:
        self.hub = hub
        self.proxy = proxy
        self.client = client


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """Without tokens: the user is alice."""
    async with (
        running_hub(limits=type(LIMITS)(**{**_fields(LIMITS), "retry_ms": 1})) as hub,
        FaultProxy(("127.0.0.1", hub.port)) as proxy,
        HubClient(f"http://127.0.0.1:{proxy.port}", user="alice", retry=QUICK) as client,
    ):
        yield World(hub, proxy, client)


def _fields(limits: Any) -> dict[str, Any]:
    return {name: getattr(limits, name) for name in limits.__struct_fields__}


class Worker:
    """Writes an answer as a worker does."""

    def __init__(self, world: World, answer: Answer) -> None:
        self._events = world.hub.backend.events
        self._id = answer.id
        self._attempt = self._next = 0

    async def begin(self) -> None:
        self._attempt, self._next = self._attempt + 1, 0
        name = "started" if self._attempt == 1 else "restarted"
        step = GenerationUpdate(self._id, self._attempt, UpdateKind.BEGIN)
        await self._write(name, {"attempt": self._attempt, "model": "m1"}, step)

    async def say(self, text: str, change: UpdateKind = UpdateKind.DELTA) -> None:
        step = GenerationUpdate(self._id, self._attempt, change, index=self._next, text=text)
        name = "delta" if change is UpdateKind.DELTA else "replaced"
        await self._write(name, {"i": self._next, "text": text}, step)
        self._next += 1

    async def end(self, status: Status = Status.DONE, **fields: Any) -> None:
        step = GenerationUpdate(self._id, self._attempt, UpdateKind.END, status)
        await self._write(status.value, {"deltas": self._next, **fields}, step)

    async def _write(self, name: str, fields: dict[str, Any], step: GenerationUpdate) -> None:
        data = json.dumps({"generation": self._id, **fields}, separators=(",", ":"))
        channel = user_channel("alice")
        await self._events.publish(
            [
                Publication(
                    channel=channel, name=f"generation.{name}", data=data.encode(), update=step
                )
            ]
        )


async def test_text_as_it_grows_and_as_a_whole(world: World) -> None:
    """Iteration gives the pieces, `text` all of them, and the end's details are there."""
    answer = await world.client.ask("hi", model="m2", params={"temperature": 0})
    assert answer.status == "queued"
    worker = Worker(world, answer)
    await worker.begin()
    await worker.say("Hel")
    assert await anext(answer) == "Hel"
    assert answer.status == "running"
    await worker.say("lo")
    await worker.end(finish_reason="stop", usage={"completion_tokens": 2})
    assert [text async for text in answer] == ["lo"]
    assert [text async for text in answer] == []
    assert await answer.text() == answer.text_so_far == "Hello"
    assert (answer.status, answer.finish_reason, answer.usage) == (
        "done",
        "stop",
        {"completion_tokens": 2},
    )
    assert repr(answer) == f"<Answer {answer.id} done>"


async def test_events_are_typed(world: World) -> None:
    """Each kind is a class with the wire's fields."""
    answer = await world.client.ask([{"role": "user", "content": "hi"}])
    worker = Worker(world, answer)
    await worker.begin()
    await worker.say("a")
    await worker.say("b", UpdateKind.REPLACE)
    await worker.begin()
    await worker.say("c")
    await worker.end(finish_reason="length", usage=None)
    one = answer.id
    assert [event async for event in answer.events()] == [
        Started(generation=one, attempt=1, model="m1"),
        Delta(generation=one, i=0, text="a"),
        Replaced(generation=one, i=1, text="b"),
        Restarted(generation=one, attempt=2, model="m1"),
        Delta(generation=one, i=0, text="c"),
        Done(generation=one, deltas=1, finish_reason="length"),
    ]
    assert await answer.text() == "c"


async def test_cut_is_not_seen(world: World) -> None:
    """Over resets between and within its events the text comes once and whole."""
    answer = await world.client.ask("hi")
    worker = Worker(world, answer)
    words = [f"w{n} " for n in range(200)]

    async def write() -> None:
        await worker.begin()
        for n, word in enumerate(words):
            await worker.say(word)
            if n % 20 == 10:
                world.proxy.reset_all()
            if n % 20 == 0:
                world.proxy.cut_after(50)
                await asyncio.sleep(0.01)
                world.proxy.heal()
            await asyncio.sleep(0.001)
        await worker.end()

    async with asyncio.TaskGroup() as work:
        work.create_task(write())
        pieces = [text async for text in answer]
    assert "".join(pieces) == "".join(words) == await answer.text()
    assert len(pieces) > 20


async def test_joined_answer_begins_with_what_there_is(world: World) -> None:
    """By its id, at any time, also after its end."""
    worker = Worker(world, asked := await world.client.ask("hi"))
    await worker.begin()
    await worker.say("Hel")
    async with world.client.join(asked.id) as answer:
        assert await anext(answer) == "Hel"
    await worker.say("lo")
    await worker.end()
    assert await anext(answer) == "lo"
    assert await answer.text() == "Hello"
    late = [type(event) async for event in world.client.join(asked.id).events()]
    assert late == [Snapshot, Done]
    with pytest.raises(NotFound):
        await world.client.join("g000123456789abcdef").text()


async def test_stop_and_restart(world: World) -> None:
    """A stopped answer's text is what there was; a restarted one is another answer."""
    answer = await world.client.ask("hi")
    worker = Worker(world, answer)
    await worker.begin()
    await worker.say("Hel")
    assert await answer.stop() == "stopping"
    await worker.end(Status.STOPPED, by="alice")
    assert await answer.text() == "Hel"
    assert answer.status == "stopped"
    assert await world.client.stop(answer.id) == "already ended"
    again = await answer.restart()
    assert again.id != answer.id
    assert await again.stop() == "stopping"
    (stopped,) = [event async for event in again.events()]
    assert isinstance(stopped, Stopped)
    assert (stopped.generation, stopped.by) == (again.id, "alice")


async def test_failure_is_raised(world: World) -> None:
    """With code and retryable, after the text until then; among the events it is one of them."""
    answer = await world.client.ask("hi")
    worker = Worker(world, answer)
    await worker.begin()
    await worker.say("Hel")
    failure = {"code": "upstream_truncated", "message": "it broke off", "retryable": True}
    await worker.end(Status.FAILED, **failure)
    pieces: list[str] = []
    with pytest.raises(AnswerFailed, match=r"it broke off \(upstream_truncated\)") as caught:
        async for text in answer:
            pieces += [text]
    assert pieces == ["Hel"]
    assert (caught.value.code, caught.value.retryable, caught.value.text) == (
        "upstream_truncated",
        True,
        "Hel",
    )
    with pytest.raises(AnswerFailed):
        await answer.text()
    *_, last = [event async for event in world.client.join(answer.id).events()]
    assert isinstance(last, Failed)


@pytest.mark.parametrize("how", ["restarted", "replaced"])
async def test_void_text_is_not_continued(world: World, how: str) -> None:
    """What was given cannot be taken back: it is raised, and the text comes from its beginning."""
    answer = await world.client.ask("hi")
    worker = Worker(world, answer)
    await worker.begin()
    await worker.say("Hel")
    assert await anext(answer) == "Hel"
    if how == "restarted":
        await worker.begin()
        await worker.say("Good day")
    else:
        await worker.say("Good day", UpdateKind.REPLACE)
    with pytest.raises(AnswerRewritten):
        await anext(answer)
    await worker.say(", sir")
    await worker.end()
    assert "".join([text async for text in answer]) == "Good day, sir"


async def test_rewriting_that_continues_is_not_seen(world: World) -> None:
    """Where the new text begins with what was given, the rest is given."""
    answer = await world.client.ask("hi")
    worker = Worker(world, answer)
    await worker.begin()
    await worker.say("Hel")
    assert await anext(answer) == "Hel"
    await worker.say("Hello", UpdateKind.REPLACE)
    await worker.end()
    assert [text async for text in answer] == ["lo"]


async def test_lost_answer_to_a_question_starts_nothing_twice(world: World) -> None:
    """The repeat has the same key: one generation, also for a key of one's own."""
    first = await world.client.ask("hi", idempotency_key="k")
    world.proxy.drop_replies()
    second = await world.client.ask("hi", idempotency_key="k")
    assert first.id == second.id
    world.proxy.drop_replies()
    await world.client.ask("hi")
    leases = [await world.hub.backend.queue.reserve(0.01) for _ in range(3)]
    assert [lease is None for lease in leases] == [False, False, True]
    with pytest.raises(BadRequest, match="no upstream 'x'") as caught:
        await world.client.ask("hi", upstream="x")
    assert (caught.value.status, caught.value.path) == (400, "upstream")
