"""Answers from a real node: text and events, broken connections, join, stop, failure, rewriting."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from hub.core.channel import user_channel
from hub.core.generation import GenerationUpdate, Status, UpdateKind
from hub.ports.events import Publication
from hub_client import (
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
from tests.faults import FaultProxy
from tests.http.kit import LIMITS, Hub, running_hub

QUICK = RetryPolicy(min_delay_seconds=0.005, max_delay_seconds=0.02)


class Setup:
    """A node, a proxy in front of it that can break connections, and a client of the proxy."""

    def __init__(self, hub: Hub, proxy: FaultProxy, client: HubClient) -> None:
        self.hub = hub
        self.proxy = proxy
        self.client = client


@pytest.fixture
async def setup() -> AsyncIterator[Setup]:
    """Create a set-up without tokens, whose user is alice."""
    async with (
        running_hub(limits=type(LIMITS)(**{**_fields(LIMITS), "retry_ms": 1})) as hub,
        FaultProxy(("127.0.0.1", hub.port)) as proxy,
        HubClient(f"http://127.0.0.1:{proxy.port}", user="alice", retry=QUICK) as client,
    ):
        yield Setup(hub, proxy, client)


def _fields(limits: Any) -> dict[str, Any]:
    return {name: getattr(limits, name) for name in limits.__struct_fields__}


class Worker:
    """Publishes the events of a generation as a worker does."""

    def __init__(self, setup: Setup, answer: Answer) -> None:
        self._events = setup.hub.backend.events
        self._id = answer.id
        self._attempt = self._next = 0

    async def start(self) -> None:
        self._attempt, self._next = self._attempt + 1, 0
        name = "started" if self._attempt == 1 else "restarted"
        update = GenerationUpdate(self._id, self._attempt, UpdateKind.BEGIN)
        await self._publish(name, {"attempt": self._attempt, "model": "m1"}, update)

    async def continue_(self, parts: int, text: str) -> None:
        self._attempt, self._next = self._attempt + 1, parts
        update = GenerationUpdate(
            self._id, self._attempt, UpdateKind.BEGIN, index=parts, entries=text.encode()
        )
        snapshot = {"text": text, "parts": [{"type": "text", "text": text}]}
        fields = {"attempt": self._attempt, "model": "m1", "parts": parts, "snapshot": snapshot}
        await self._publish("continued", fields, update)

    async def send_text(self, text: str, kind: UpdateKind = UpdateKind.DELTA) -> None:
        update = GenerationUpdate(
            self._id, self._attempt, kind, index=self._next, entries=text.encode()
        )
        name = "delta" if kind is UpdateKind.DELTA else "replaced"
        await self._publish(name, {"i": self._next, "text": text}, update)
        self._next += 1

    async def end(self, status: Status = Status.DONE, **fields: Any) -> None:
        update = GenerationUpdate(self._id, self._attempt, UpdateKind.END, status)
        await self._publish(status.value, {"deltas": self._next, **fields}, update)

    async def _publish(self, name: str, fields: dict[str, Any], update: GenerationUpdate) -> None:
        data = json.dumps({"generation": self._id, **fields}, separators=(",", ":"))
        channel = user_channel("alice")
        await self._events.publish(
            [
                Publication(
                    channel=channel, name=f"generation.{name}", data=data.encode(), update=update
                )
            ]
        )


async def test_text_as_it_grows_and_as_a_whole(setup: Setup) -> None:
    """Iteration yields the parts, `text` returns all of them, and the end sets the details."""
    answer = await setup.client.ask("hi", model="m2", params={"temperature": 0})
    assert answer.status == "queued"
    worker = Worker(setup, answer)
    await worker.start()
    await worker.send_text("Hel")
    assert await anext(answer) == "Hel"
    assert answer.status == "running"
    await worker.send_text("lo")
    await worker.end(finish_reason="stop", usage={"completion_tokens": 2})
    assert [text async for text in answer] == ["lo"]
    assert [text async for text in answer] == []
    assert await answer.text() == answer.current_text == "Hello"
    assert (answer.status, answer.finish_reason, answer.usage) == (
        "done",
        "stop",
        {"completion_tokens": 2},
    )
    assert repr(answer) == f"<Answer {answer.id} done>"


async def test_events_are_typed(setup: Setup) -> None:
    """Each event is an instance of a class with the fields of the wire format."""
    answer = await setup.client.ask([{"role": "user", "content": "hi"}])
    worker = Worker(setup, answer)
    await worker.start()
    await worker.send_text("a")
    await worker.send_text("b", UpdateKind.REPLACE)
    await worker.start()
    await worker.send_text("c")
    await worker.end(finish_reason="length", usage=None)
    generation = answer.id
    assert [event async for event in answer.events()] == [
        Started(generation=generation, attempt=1, model="m1"),
        Delta(generation=generation, i=0, text="a"),
        Replaced(generation=generation, i=1, text="b"),
        Restarted(generation=generation, attempt=2, model="m1"),
        Delta(generation=generation, i=0, text="c"),
        Done(generation=generation, deltas=1, finish_reason="length"),
    ]
    assert await answer.text() == "c"


async def test_broken_connection_is_not_noticed(setup: Setup) -> None:
    """The text is complete, although connections break between and inside events."""
    answer = await setup.client.ask("hi")
    worker = Worker(setup, answer)
    words = [f"w{n} " for n in range(200)]

    async def send_words() -> None:
        await worker.start()
        for n, word in enumerate(words):
            await worker.send_text(word)
            if n % 20 == 10:
                setup.proxy.reset_all()
            if n % 20 == 0:
                setup.proxy.cut_after(50)
                await asyncio.sleep(0.01)
                setup.proxy.heal()
            await asyncio.sleep(0.001)
        await worker.end()

    async with asyncio.TaskGroup() as work:
        work.create_task(send_words())
        parts = [text async for text in answer]
    assert "".join(parts) == "".join(words) == await answer.text()
    assert len(parts) > 20


async def test_joined_answer_begins_with_its_text(setup: Setup) -> None:
    """A generation can be joined by its id at any time, also after its end."""
    first = await setup.client.ask("hi")
    worker = Worker(setup, first)
    await worker.start()
    await worker.send_text("Hel")
    async with setup.client.join(first.id) as answer:
        assert await anext(answer) == "Hel"
    await worker.send_text("lo")
    await worker.end()
    assert await anext(answer) == "lo"
    assert await answer.text() == "Hello"
    event_types = [type(event) async for event in setup.client.join(first.id).events()]
    assert event_types == [Snapshot, Done]
    with pytest.raises(NotFound):
        await setup.client.join("g000123456789abcdef").text()


async def test_stop_and_restart(setup: Setup) -> None:
    """A stopped answer has the text up to the stop; a restart returns another answer."""
    answer = await setup.client.ask("hi")
    worker = Worker(setup, answer)
    await worker.start()
    await worker.send_text("Hel")
    assert await answer.stop() == "stopping"
    await worker.end(Status.STOPPED, by="alice")
    assert await answer.text() == "Hel"
    assert answer.status == "stopped"
    assert await setup.client.stop(answer.id) == "already ended"
    again = await answer.restart()
    assert again.id != answer.id
    assert await again.stop() == "stopping"
    (stopped,) = [event async for event in again.events()]
    assert isinstance(stopped, Stopped)
    assert (stopped.generation, stopped.by) == (again.id, "alice")


async def test_failure_is_raised(setup: Setup) -> None:
    """A failure is raised after the text so far; for `events` it is the last event."""
    answer = await setup.client.ask("hi")
    worker = Worker(setup, answer)
    await worker.start()
    await worker.send_text("Hel")
    failure = {"code": "upstream_truncated", "message": "it broke off", "retryable": True}
    await worker.end(Status.FAILED, **failure)
    parts: list[str] = []
    with pytest.raises(AnswerFailed, match=r"it broke off \(upstream_truncated\)") as caught:
        async for text in answer:
            parts += [text]
    assert parts == ["Hel"]
    assert (caught.value.code, caught.value.retryable, caught.value.text) == (
        "upstream_truncated",
        True,
        "Hel",
    )
    with pytest.raises(AnswerFailed):
        await answer.text()
    *_, last = [event async for event in setup.client.join(answer.id).events()]
    assert isinstance(last, Failed)


@pytest.mark.parametrize("how", ["restarted", "replaced"])
async def test_rewriting_raises_an_error(setup: Setup, how: str) -> None:
    """AnswerRewritten is raised, and then the text comes from its beginning."""
    answer = await setup.client.ask("hi")
    worker = Worker(setup, answer)
    await worker.start()
    await worker.send_text("Hel")
    assert await anext(answer) == "Hel"
    if how == "restarted":
        await worker.start()
        await worker.send_text("Good day")
    else:
        await worker.send_text("Good day", UpdateKind.REPLACE)
    with pytest.raises(AnswerRewritten):
        await anext(answer)
    await worker.send_text(", sir")
    await worker.end()
    assert "".join([text async for text in answer]) == "Good day, sir"


@pytest.mark.parametrize("is_read", [True, False])
async def test_answer_continues_from_a_checkpoint(setup: Setup, is_read: bool) -> None:
    """The text before the checkpoint stays; AnswerRewritten is raised if later text was read."""
    answer = await setup.client.ask("hi")
    worker = Worker(setup, answer)
    await worker.start()
    await worker.send_text("Hel")
    assert await anext(answer) == "Hel"
    if is_read:
        await worker.send_text("void")
        assert await anext(answer) == "void"
    await worker.continue_(1, "Hel")
    await worker.send_text("lo")
    await worker.end()
    if is_read:
        with pytest.raises(AnswerRewritten):
            await anext(answer)
    rest = "".join([text async for text in answer])
    assert rest.endswith("Hello" if is_read else "lo")
    assert (await setup.client.join(answer.id).text(), answer.current_text) == ("Hello", "Hello")
    assert answer.parts == [{"type": "text", "text": "Hello"}]


async def test_rewriting_that_keeps_the_prefix_is_not_noticed(setup: Setup) -> None:
    """When the new text begins with the text so far, iteration yields the rest."""
    answer = await setup.client.ask("hi")
    worker = Worker(setup, answer)
    await worker.start()
    await worker.send_text("Hel")
    assert await anext(answer) == "Hel"
    await worker.send_text("Hello", UpdateKind.REPLACE)
    await worker.end()
    assert [text async for text in answer] == ["lo"]


async def test_lost_response_to_a_start_starts_nothing_twice(setup: Setup) -> None:
    """The retry has the same idempotency key, the caller's or the client's own."""
    first = await setup.client.ask("hi", idempotency_key="k")
    setup.proxy.drop_replies()
    second = await setup.client.ask("hi", idempotency_key="k")
    assert first.id == second.id
    setup.proxy.drop_replies()
    await setup.client.ask("hi")
    leases = [await setup.hub.backend.queue.reserve(0.01) for _ in range(3)]
    assert [lease is None for lease in leases] == [False, False, True]
    with pytest.raises(BadRequest, match="no upstream 'x'") as caught:
        await setup.client.ask("hi", upstream="x")
    assert (caught.value.status, caught.value.path) == (400, "upstream")
