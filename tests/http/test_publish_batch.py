"""POST /publish/batch: one result per item, in order, without holding the whole batch."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import uvloop
from structlog.testing import capture_logs

from hub.api.api_keys import ApiKey, ApiKeys, hash_key
from hub.http.routes.publish import NDJSON
from tests.http.kit import MAX_BODY, Hub, running_hub

ROUTE = "/publish/batch"


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    """A node without API keys."""
    async with running_hub() as hub:
        yield hub


def item(data: Any, user: str = "a", **more: Any) -> dict[str, Any]:
    """Return an item for a user."""
    return {"to": {"user": user}, "data": data, **more}


GOOD = json.dumps(item(1)).encode()
BAD = [
    (b'{"to":{"user":"a"},"dta":1}', 400, "dta"),
    (b'{"to":{"user":"a b"}}', 400, "to.user"),
    (b'{"to":{}}', 400, "to"),
    (b'{"to":{"user":"a"},"event":"hub.open"}', 400, "event"),
    (b'{"to":{"users":["a","b","c","d"]}}', 400, "to.users"),
    (b'{"to":{"user":"a"},"ttl_seconds":0}', 400, "ttl_seconds"),
    (b"3", 400, None),
]
NOT_JSON = [
    (b'{"to":{"user":"a"}', 400, None),
    (b'{"to":{"user":"\xff"}}', 400, None),
    (b'{"to":{"user":"a"},"data":"' + b"x" * MAX_BODY + b'"}', 413, None),
]


async def ask(hub: Hub, body: Any, kind: str = "application/x-ndjson") -> tuple[int, list[Any]]:
    """Send a batch and return the status and the encoded results."""
    headers = {"Content-Type": kind}
    async with hub.ask("POST", ROUTE, internal=True, data=body, headers=headers) as response:
        text = await response.text()
        if kind == "application/json" or response.status != 200:
            return response.status, json.loads(text)
        return response.status, [json.loads(line) for line in text.splitlines()]


async def test_array_is_answered_item_by_item(hub: Hub) -> None:
    """Each result is what POST /publish would have answered, and the order is kept."""
    items = [item(n, id=f"k{n}") for n in range(1200)] + [item(5, id="k5")]
    async with hub.stream("/sse/connect/a") as stream:
        status, results = await ask(hub, json.dumps(items).encode(), "application/json")
        seen = [(await stream.next()).data for _ in range(1200)]
    assert status == 200
    assert seen == [str(n) for n in range(1200)]
    assert [result["published"][0]["duplicate"] for result in results] == [False] * 1200 + [True]
    assert results[-1]["published"][0]["cursor"] == results[5]["published"][0]["cursor"]


@pytest.mark.parametrize("kind", ["application/json", "application/x-ndjson"])
async def test_one_bad_item_harms_no_other(hub: Hub, kind: str) -> None:
    """An invalid item gets its own problem document in its index."""
    bodies = [GOOD]
    for body, *_ in BAD:
        bodies += [body, GOOD]
    joined = b"[" + b",".join(bodies) + b"]" if kind == "application/json" else b"\n".join(bodies)
    async with hub.stream("/sse/connect/a") as stream:
        status, results = await ask(hub, joined, kind)
        for _ in range(len(BAD) + 1):
            assert (await stream.next()).data == "1"
    assert status == 200
    assert len(results) == len(bodies)
    for index, (_, expected, path) in enumerate(BAD):
        assert "published" in results[2 * index]
        assert results[2 * index + 1]["status"] == expected
        assert results[2 * index + 1].get("path") == path
        assert results[2 * index + 1]["detail"]


async def test_lines_that_are_no_json(hub: Hub) -> None:
    """After garbage, invalid UTF-8 or a line that is too long, the next line is read normally."""
    bodies = [GOOD]
    for body, *_ in NOT_JSON:
        bodies += [body, GOOD]
    status, results = await ask(hub, b"\n\n\r\n".join(bodies))
    assert status == 200
    assert [result.get("status", 200) for result in results] == [200, 400, 200, 400, 200, 413, 200]


@pytest.mark.parametrize(
    ("body", "kind", "expected"),
    [
        (GOOD, "application/json", 400),
        (b"[1,", "application/json", 400),
        (b"[" + b" " * MAX_BODY + b"]", "application/json", 413),
        (GOOD, "text/plain", 415),
    ],
)
async def test_a_batch_that_is_none(hub: Hub, body: bytes, kind: str, expected: int) -> None:
    """A body that is not a batch is rejected as a whole."""
    async with hub.ask(
        "POST", ROUTE, internal=True, data=body, headers={"Content-Type": kind}
    ) as response:
        assert response.status == expected
        assert (await response.json(content_type=None))["detail"]


@pytest.mark.parametrize("line", [b'{"to":{"user":"alice"}}', b'{"to":', b'{"data":NaN}'])
async def test_batch_that_is_no_array_says_so(hub: Hub, line: bytes) -> None:
    """Lines with the content type of JSON are a usual mistake; where an array is missing is said
    before anything is said about the text.
    """
    status, problem = await hub.call(
        *("POST", "/publish/batch"),
        internal=True,
        data=line + b"\n" + line,
        headers={"Content-Type": "application/json"},
    )
    assert (status, problem["detail"]) == (400, "Expected `array`, got `object`")


async def test_empty_batches(hub: Hub) -> None:
    """An empty batch has an empty result."""
    assert await ask(hub, b"[]", "application/json") == (200, [])
    assert await ask(hub, b"") == (200, [])
    assert await ask(hub, b"\n \n") == (200, [])


async def test_wrong_key_is_refused() -> None:
    """A batch requires the same API key as a single publish."""
    async with running_hub(
        keys=ApiKeys([ApiKey("a", hash_key("right"), frozenset({"publish"}))])
    ) as hub:
        assert (await ask(hub, GOOD))[0] == 401


@pytest.mark.parametrize("cut", [1, 7, 64, 1000])
async def test_lines_in_pieces(hub: Hub, cut: int) -> None:
    """Lines may be split anywhere; the last one needs no line end."""
    text = b"\n".join(json.dumps(item(n)).encode() for n in range(50))

    async def chunks() -> AsyncIterator[bytes]:
        for at in range(0, len(text), cut):
            yield text[at : at + cut]

    status, results = await ask(hub, chunks())
    assert status == 200
    assert len({result["published"][0]["cursor"] for result in results}) == 50


async def test_answers_come_while_the_batch_goes_on(hub: Hub) -> None:
    """A line is published and answered before the next one is sent."""
    answered: asyncio.Queue[bytes] = asyncio.Queue()

    async def lines() -> AsyncIterator[bytes]:
        for n in range(3):
            yield json.dumps(item(n)).encode() + b"\n"
            if n < 2:
                assert b"published" in await answered.get()

    headers = {"Content-Type": "application/x-ndjson"}
    async with (
        hub.stream("/sse/connect/a") as stream,
        hub.ask("POST", ROUTE, internal=True, data=lines(), headers=headers) as response,
    ):
        async for line in response.content:
            answered.put_nowait(line)
        assert [(await stream.next()).data for _ in range(3)] == ["0", "1", "2"]
    assert answered.qsize() == 1


async def test_no_more_is_read_than_is_published(hub: Hub) -> None:
    """While the broker is slow, the hub stops reading and the client has to wait."""
    gate, sent = asyncio.Event(), 0
    publish = hub.backend.events.publish

    async def slow(publications: Any) -> Any:
        await gate.wait()
        return await publish(publications)

    hub.backend.events.publish = slow  # type: ignore[method-assign]
    line = json.dumps(item("x" * 1000)).encode() + b"\n"

    async def lines() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(40_000):
            yield line
            sent += len(line)

    request = asyncio.create_task(ask(hub, lines()))
    waited = -1
    while sent != waited:  # until nothing more goes
        waited = sent
        await asyncio.sleep(0.3)
    assert sent < 20_000 * len(line)  # what kernel and client hold, and a little of the hub's
    gate.set()
    status, results = await request
    assert (status, len(results)) == (200, 40_000)


async def test_broker_away_is_the_answer_of_each(hub: Hub) -> None:
    """While the broker is unavailable, the stream continues with a 503 per item."""
    hub.backend.is_unavailable = True
    status, results = await ask(hub, GOOD + b"\n" + BAD[0][0])
    assert status == 200
    assert [result["status"] for result in results] == [503, 400]


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_sender_that_leaves_in_the_middle(run: Any) -> None:
    """If the client disconnects, its complete lines are published and no error is logged."""

    async def main() -> None:
        async with running_hub() as hub, hub.stream("/sse/connect/a") as stream:
            _, writer = await asyncio.open_connection("127.0.0.1", hub.internal_port)
            head = "POST /publish/batch HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n"
            writer.write(f"{head}Content-Type: {NDJSON[0]}\r\n\r\n".encode() + GOOD + b"\n")
            assert (await stream.next()).data == "1"
            writer.transport.abort()
            await asyncio.sleep(0.2)

    with capture_logs() as logs:
        run(main())
    assert not [line for line in logs if line["log_level"] in {"error", "warning"}]


async def test_id_of_another_event(hub: Hub) -> None:
    """An item whose id belongs to another event is a 409 and affects no other, on both forms."""
    items = [item(1, id="k"), item(2, id="k"), item(1, id="k"), item(2, id="l")]
    _, results = await ask(hub, json.dumps(items), "application/json")
    _, lines = await ask(hub, "\n".join(map(json.dumps, items)))
    for answers in (results, lines):
        assert [answer.get("code") for answer in answers] == [
            None,
            "idempotency_key_reused",
            None,
            None,
        ]
        assert (answers[1]["status"], answers[1]["path"]) == (409, "id")
    assert results[2]["published"][0]["duplicate"]


@pytest.mark.parametrize("lines", [False, True])
async def test_idempotency_key_of_a_batch(hub: Hub, lines: bool) -> None:
    """A batch that is sent again with the same header publishes nothing twice; the `id` of an item
    has precedence.
    """
    items: list[dict[str, Any]] = [{"to": {"user": "alice"}, "data": n} for n in range(3)]
    items[1]["id"] = "own"
    headers = {
        "Idempotency-Key": "batch-1",
        "Content-Type": "application/x-ndjson" if lines else "application/json",
    }
    text = "\n".join(map(json.dumps, items)) if lines else json.dumps(items)
    duplicates = []
    for _ in range(2):
        more: dict[str, Any] = {"headers": headers, "data": text}
        async with hub.ask("POST", "/publish/batch", internal=True, **more) as response:
            answer = await response.text()
        results = (
            [json.loads(each) for each in answer.splitlines()] if lines else json.loads(answer)
        )
        duplicates.append([each["published"][0]["duplicate"] for each in results])
    assert duplicates == [[False] * 3, [True] * 3]
    headers = {**headers, "Idempotency-Key": "x" * 256}
    more = {"headers": headers, "data": text}
    async with hub.ask("POST", "/publish/batch", internal=True, **more) as response:
        assert response.status == 400


async def test_idempotency_key_of_a_publish(hub: Hub) -> None:
    """The header is the same as `id` in the body, which has precedence."""
    headers = {"Idempotency-Key": "k"}
    for body, duplicate in (({}, False), ({}, True), ({"id": "other"}, False), ({"id": "k"}, True)):
        event = {"to": {"user": "alice"}, "data": 1, **body}
        status, answer = await hub.call(
            "POST", "/publish", internal=True, headers=headers, json=event
        )
        assert (status, answer["published"][0]["duplicate"]) == (200, duplicate)
