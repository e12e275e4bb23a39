"""Answers whose parts a process of the application posts over HTTP.

test_producer_contract.py has what gRPC offers as well.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import StreamReader
from aiohttp.base_protocol import BaseProtocol

from hub.api.api_keys import ApiKey, ApiKeys, hash_key
from hub.api.streamed_posts import StreamedPost, StreamedPostLimits
from hub.engine.tasks import SystemClock
from hub.http.routes.posted_lines import LineSource
from hub.push.vapid import generate_vapid_keys
from hub.settings import Push
from tests.http.kit import Hub, running_hub

KEYS = ApiKeys(
    [
        ApiKey("agents", hash_key("p" * 20), frozenset({"produce"})),
        ApiKey("pages", hash_key("q" * 20), frozenset({"publish", "read"})),
    ]
)
NDJSON = {"Content-Type": "application/x-ndjson"}
HEADERS = {"Authorization": "Bearer " + "p" * 20}


class Producer:
    """A producer of one answer, which sends what a test tells it to."""

    def __init__(self, hub: Hub, started: dict[str, Any]) -> None:
        self.hub = hub
        self.generation, self.lease = started["generation"], started["lease"]

    async def post(self, body: Any, **headers: str) -> tuple[int, Any]:
        return await self.hub.call(
            "POST",
            f"/generations/{self.generation}/parts",
            internal=True,
            headers={**HEADERS, "Hub-Lease": self.lease, **headers},
            **({"data": body} if isinstance(body, bytes | AsyncIterator) else {"json": body}),
        )

    async def lines(self, *lines: Any) -> tuple[int, Any]:
        body = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
        return await self.post(body, **NDJSON)

    async def record(self) -> Any:
        _, record = await self.hub.call("GET", f"/generations/{self.generation}?user=alice")
        return record


async def start(hub: Hub, status: int = 201, **fields: Any) -> Any:
    body = {"to": {"user": "alice"}, "producer": "external", **fields}
    answered = await hub.call("POST", "/generations", internal=True, headers=HEADERS, json=body)
    assert answered[0] == status, answered
    return answered[1]


async def begin(hub: Hub, **fields: Any) -> Producer:
    return Producer(hub, await start(hub, **fields))


def text(seq: int, words: str) -> dict[str, Any]:
    return {"seq": seq, "type": "text", "text": words}


def end(seq: int, **fields: Any) -> dict[str, Any]:
    return {"seq": seq, "type": "end", **fields}


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    async with running_hub(keys=KEYS) as running:
        yield running


async def test_answer_from_start_to_end(hub: Hub) -> None:
    """The parts appear in the user's channel in order, and the record has them and the usage."""
    async with hub.stream("/sse/connect/alice") as stream:
        started = await start(hub, model="agent-1", metadata={"order": 7}, chat="c1")
        assert started["attempt"] == 1
        assert started["lease_seconds"] == 30
        producer = Producer(hub, started)
        status, answer = await producer.post(
            [
                {"seq": 0, "type": "status", "text": "Searching"},
                text(1, "Hel"),
                text(2, "lo"),
                {"seq": 3, "type": "tool_call", "id": "c1", "name": "look", "arguments": "{}"},
                {"seq": 4, "type": "tool_result", "id": "c1", "result": [1], "visible": False},
            ]
        )
        assert status == 200
        assert answer == {
            "ack": 4, "stop": None, "inputs": [], "steering": [], "lease_seconds": 30.0,
        }  # fmt: skip
        assert (await producer.post([]))[1]["ack"] == 4
        ended = end(5, finish_reason="length", usage={"prompt_tokens": 3})
        assert (await producer.post([ended]))[1]["ack"] == 5
        names = [(await stream.next()) for _ in range(5)]
    assert [event.name for event in names] == [
        "generation.started", "generation.part", "generation.delta", "generation.delta",
        "generation.done",
    ]  # fmt: skip
    assert json.loads(names[2].data)["text"] == "Hello"
    record = await producer.record()
    assert (record["status"], record["text"], record["finish_reason"]) == (
        "done",
        "Hello",
        "length",
    )
    assert record["usage"] == {"prompt_tokens": 3}
    assert (record["model"], record["metadata"], record["chat"]) == ("agent-1", {"order": 7}, "c1")
    assert record["deltas"] == 3
    _, whole = await hub.call(
        "GET", f"/generations/{producer.generation}", internal=True,
        headers={"Authorization": "Bearer " + "q" * 20},
    )  # fmt: skip
    assert whole["parts"][-1]["result"] == [1]
    assert "result" not in record["parts"][-1]


async def test_counts_of_usage_are_whole_numbers(hub: Hub) -> None:
    """Readers get the counts of tokens as whole numbers, and no count where there is none."""
    producer = await begin(hub)
    tokens = {"prompt_tokens": 3.0, "completion_tokens": "4", "total_tokens": None, "cost": 0.5}
    await producer.post([{"seq": 0, "type": "usage", "tokens": tokens}, end(1)])
    usage = (await producer.record())["usage"]
    assert json.dumps(usage) == '{"prompt_tokens": 3, "completion_tokens": 4, "cost": 0.5}'


async def test_lines_are_published_as_they_arrive(hub: Hub) -> None:
    """A part of a streamed post is in the stream of the reader while the request goes on."""
    producer = await begin(hub)
    published = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield json.dumps(text(0, "first")).encode() + b"\n"
        await published.wait()
        yield b"\n" + json.dumps(text(1, " second")).encode()[:9]
        yield json.dumps(text(1, " second")).encode()[9:] + b"\n"
        yield json.dumps(end(2)).encode()  # the last line may lack its end

    async with hub.stream(
        f"/generations/{producer.generation}?user=alice&cursor=start",
        headers={"Accept": "text/event-stream"},
    ) as stream:
        post = asyncio.create_task(
            producer.post(body(), **{"Content-Type": "application/x-ndjson"})
        )
        seen = stream.opened
        while "first" not in seen.data:
            seen = await stream.next()
        published.set()
        status, answer = await post
    assert (status, answer["ack"]) == (200, 2)
    assert (await producer.record())["text"] == "first second"


@pytest.mark.parametrize("filler", [b" ", b"x"])
async def test_line_that_is_too_long(hub: Hub, filler: bytes) -> None:
    """A line that is too long is refused, also one of white space, which would fill the memory."""
    producer = await begin(hub)
    first = json.dumps(text(0, "a")).encode() + b"\n"
    status, problem = await producer.post(first + filler * 70_000, **NDJSON)
    assert (status, problem["code"]) == (413, "body_too_large")
    assert (await producer.record())["text"] == "a"


async def test_lines_without_parts_keep_nobody_waiting(hub: Hub) -> None:
    """While millions of empty lines arrive, as in a compressed body, the node serves others."""
    producer = await begin(hub)
    content = StreamReader(BaseProtocol(asyncio.get_running_loop()), 2**24)
    content.feed_data(b"\n" * 2_000_000)
    content.feed_eof()
    post = StreamedPost(
        hub.node.producers,
        SystemClock(),
        StreamedPostLimits(max_part_bytes=1000, flush_seconds=0),
        producer.generation,
        producer.lease,
    )
    posting = asyncio.create_task(post.publish(LineSource(content, max_line_bytes=1000)))
    turns = 0
    while not posting.done():
        await asyncio.sleep(0)
        turns += 1
    assert (await posting).ack == -1
    assert turns > 2_000_000 // 2**16


@pytest.mark.parametrize(
    ("item", "path"),
    [
        ({"type": "text", "text": "a"}, "[1]"),
        ({"seq": -1, "type": "text", "text": "a"}, "[1].seq"),
        ({"seq": 0, "type": "finished", "reason": "stop"}, "[1].type"),
        ({"seq": 0, "type": "text"}, "[1]"),
        ({"seq": 0, "type": "text", "text": "a", "visble": False}, "[1].visble"),
        ({"seq": 0, "type": "file", "media_type": "a/b"}, "[1].url"),
        ({"seq": 0, "type": "end", "status": "stopped"}, "[1].status"),
        ({"seq": 0, "type": "end", "code": "x"}, "[1].code"),
        (
            {"seq": 0, "type": "end", "status": "failed", "finish_reason": "stop"},
            "[1].finish_reason",
        ),
        ({"seq": 0, "type": "end", "status": "failed", "code": ""}, "[1].code"),
        ({"seq": 0, "type": "end", "usage": {"prompt_tokens": "x"}}, "[1].usage.prompt_tokens"),
        ({"seq": 0, "type": "end", "usage": {"prompt_tokens": True}}, "[1].usage.prompt_tokens"),
        (
            {"seq": 0, "type": "usage", "tokens": {"completion_tokens": -1}},
            "[1].tokens.completion_tokens",
        ),
        ({"seq": 0, "type": "usage", "tokens": {"total_tokens": [1]}}, "[1].tokens.total_tokens"),
    ],
)  # fmt: skip
async def test_wrong_part(hub: Hub, item: Any, path: str) -> None:
    """A wrong part is refused with its path, and nothing of the array is published."""
    producer = await begin(hub)
    status, problem = await producer.post([text(0, "a"), item])
    assert (status, problem["path"]) == (400, path)
    assert (await producer.record())["deltas"] == 0


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"to": {}}, "to"),
        ({"to": {"topic": "a,b"}}, "to.topic"),
        ({"to": {"user": "a b"}}, "to.user"),
        ({"lease_seconds": 4.9}, "lease_seconds"),
        ({"lease_seconds": 901}, "lease_seconds"),
        ({"upstream": "main"}, "upstream"),
        ({"on_busy": "enqueue", "chat": "c"}, "on_busy"),
        ({"on_busy": "interrupt", "chat": "c"}, "on_busy"),
        ({"chat": ""}, "chat"),
        ({"on_disconnect": "stop"}, "on_disconnect"),
        ({"producer": None, "lease_seconds": 10}, "lease_seconds"),
        ({"producer": "function"}, "producer"),
        ({"messages": []}, "messages"),
    ],
)
async def test_wrong_start(hub: Hub, fields: dict[str, Any], path: str) -> None:
    """A wrong field of POST /generations is refused with its path."""
    assert (await start(hub, 400, **fields))["path"] == path


async def test_upstream_answers_for_a_user(hub: Hub) -> None:
    """Without `producer` an upstream answers, as on the public listener."""
    fields = {"producer": None, "prompt": "hi", "chat": "c", "id": "q1"}
    first = await start(hub, 202, **fields)
    assert (await start(hub, 202, **fields))["generation"] == first["generation"]
    busy = await start(hub, 409, producer=None, prompt="and?", chat="c", on_busy="reject")
    assert (busy["code"], busy["generation"]) == ("chat_busy", first["generation"])


async def test_post_without_a_lease(hub: Hub) -> None:
    """A post needs the header that has the lease."""
    producer = await begin(hub)
    status, problem = await producer.post([], **{"Hub-Lease": ""})
    assert (status, problem["path"]) == (400, "Hub-Lease")


async def test_restart_is_refused(hub: Hub) -> None:
    """Nobody can restart an answer whose producer the hub does not know."""
    producer = await begin(hub)
    path = f"/generations/{producer.generation}/restart?user=alice"
    status, problem = await hub.call("POST", path)
    assert (status, problem["code"]) == (409, "not_restartable")
    assert (await producer.record())["status"] == "running"


async def test_long_text_becomes_several_events(hub: Hub) -> None:
    """A long text is whole in the record, and no event of it is long."""
    producer = await begin(hub)
    words = "".join(chr(0x61 + n % 26) for n in range(40_000))
    assert (await producer.post([text(0, words), text(1, "!"), end(2)]))[0] == 200
    record = await producer.record()
    assert record["text"] == words + "!"
    assert record["deltas"] == 3


async def claim(hub: Hub, status: int = 200, **fields: Any) -> Any:
    body = {"queue": "support", "wait_seconds": 0, **fields}
    answered = await hub.call("POST", "/jobs/claim", internal=True, headers=HEADERS, json=body)
    assert answered[0] == status, answered
    return answered[1]


async def test_attempt_after_a_checkpoint(hub: Hub) -> None:
    """The next attempt with the same id gets the checkpoint and the parts before it."""
    first = await begin(hub, id="k")
    await first.post([{**text(0, "kept"), "checkpoint": None}])
    again = await start(hub, 200, id="k")
    assert again["previous"] == [{"type": "text", "text": "kept"}]
    assert (again["checkpoint"], again["inputs"]) == (None, [])
    third = await start(hub, 200, id="k")
    assert third["previous"] == again["previous"]


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"queue": "main"}, "queue"),
        ({"max": 0}, "max"),
        ({"max": 33}, "max"),
        ({"wait_seconds": -1}, "wait_seconds"),
        ({"wait_seconds": 61}, "wait_seconds"),
        ({"lease_seconds": 1}, "lease_seconds"),
        ({"claim_id": ""}, "claim_id"),
        ({"count": 1}, "count"),
    ],
)
async def test_wrong_claim(hub: Hub, fields: dict[str, Any], path: str) -> None:
    """A wrong field of a claim is refused with its path."""
    assert (await claim(hub, 400, **fields))["path"] == path


async def test_answers_of_producers_are_listed(hub: Hub) -> None:
    """The list of active generations has those that external producers began, and claimed jobs."""
    producer = await begin(hub, model="agent")
    await hub.call("POST", "/generations?user=bob", json={"prompt": "hi", "upstream": "support"})
    (job,) = (await claim(hub))["jobs"]
    headers = {"Authorization": "Bearer " + "q" * 20}
    _, listed = await hub.call("GET", "/generations", internal=True, headers=headers)
    assert [each["generation"] for each in listed["generations"]] == [
        producer.generation,
        job["generation"],
    ]
    assert listed["total"] == 2
    await producer.post([end(0)])
    _, listed = await hub.call("GET", "/generations", internal=True, headers=headers)
    assert [each["generation"] for each in listed["generations"]] == [job["generation"]]


async def test_notify_of_an_external_producer() -> None:
    """`notify` is stored with the answer; without push keys, and without a user, it is a 400."""
    keys = generate_vapid_keys().private_key
    push = Push.model_validate({"private_key": keys, "subject": "mailto:a@b.example"})
    body = {"to": {"user": "alice"}, "producer": "external", "notify": True}

    async def start(hub: Hub, **fields: Any) -> tuple[int, Any]:
        return await hub.call("POST", "/generations", internal=True, json={**body, **fields})

    async with running_hub() as hub:
        status, problem = await start(hub)
        assert (status, problem["path"]) == (400, "notify")
    async with running_hub(tables={"push": push}) as hub:
        status, problem = await start(hub, to={"topic": "t"})
        assert (status, problem["path"]) == (400, "notify")
        status, started = await start(hub)
        record = await hub.backend.generations.find(started["generation"])
        assert record is not None
        assert (status, record.request.notify_seconds) == (201, push.after_seconds)
