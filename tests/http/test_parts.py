"""A reader of an answer gets all of its parts, whenever it comes and however it reads."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from hub.core.folded_parts import FoldedParts
from hub.core.parts import (
    Data,
    File,
    Finished,
    Part,
    Reasoning,
    Source,
    Status,
    StepEnd,
    StepStart,
    Text,
    ToolCall,
    ToolCallDelta,
    ToolResult,
)
from hub.core.parts_journal import PartsLimits
from hub.engine.worker.relay import Relay
from hub.engine.worker.worker import Worker
from tests.doubles import RELAY_LIMITS, FakeClock, ScriptedUpstream
from tests.http.kit import Hub, Stream, running_hub

STREAMED = {"Accept": "text/event-stream"}
CALL = {"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": "{"}}
RELAYED: list[Part] = [
    Reasoning("I "),
    Reasoning("look."),
    Text("One "),
    Text("moment"),
    ToolCallDelta([CALL]),
    ToolCallDelta([{"index": 0, "function": {"arguments": "}"}}]),
]
OF_RELAYED = [
    {"type": "reasoning", "text": "I look."},
    {"type": "text", "text": "One moment"},
    {
        "type": "tool_call",
        "index": 0,
        "id": "c",
        "name": "f",
        "arguments": "{}",
        "run_by": "client",
    },
]
PRODUCED: list[Part] = [
    Status("Searching"),
    StepStart("search"),
    ToolCall("t", "find", '{"q":1}'),
    ToolCall("secret", "debug", visible=False),
    ToolResult("t", {"hits": 2}),
    StepEnd("search"),
    Source("https://a.example", title="A", id="s"),
    Status("Writing"),
    Data("state", {"n": 1}, id="x"),
    Text("a"),
    Data("tick", 1, transient=True),
    Data("state", {"n": 2}, id="x"),
    Text("b"),
    File(url="https://a.example/f.png", media_type="image/png"),
]
OF_PRODUCED = [
    {"type": "step", "name": "search", "state": "done"},
    {
        "type": "tool_call",
        "index": 0,
        "id": "t",
        "name": "find",
        "arguments": '{"q":1}',
        "run_by": "producer",
        "result": {"hits": 2},
        "is_error": False,
    },
    {"type": "source", "url": "https://a.example", "title": "A", "id": "s"},
    {"type": "status", "text": "Writing"},
    {"type": "data", "name": "state", "value": {"n": 2}, "id": "x"},
    {"type": "text", "text": "ab"},
    {"type": "file", "url": "https://a.example/f.png", "media_type": "image/png"},
]


@asynccontextmanager
async def answering_hub(
    parts: Sequence[Part], *, max_part_bytes: int = 64 * 1024
) -> AsyncIterator[Hub]:
    """Run a node and a worker whose upstream answers at once with these parts."""
    limits = PartsLimits(max_part_bytes=max_part_bytes, max_record_bytes=2**20)
    async with running_hub() as hub:
        relay = Relay(
            hub.backend.events,
            hub.backend.generations,
            {"main": ScriptedUpstream([*parts, Finished("stop")])},
            FakeClock(),
            msgspec.structs.replace(RELAY_LIMITS, parts=limits),
        )
        worker = Worker(
            hub.backend.queue,
            hub.backend.generations,
            relay,
            FakeClock(),
            concurrency=10,
            lease_seconds=15.0,
        )
        fetching = asyncio.create_task(worker.run_fetch())
        try:
            yield hub
        finally:
            fetching.cancel()


async def read_parts(response: Any) -> list[dict[str, Any]]:
    """Return the folded parts of a stream, at its end."""
    stream, folded = Stream(response), FoldedParts()
    while (event := await stream.next()).name != "hub.bye":
        folded.apply(event.name, json.loads(event.data))
    return folded.parts


@pytest.mark.parametrize(("parts", "expected"), [(RELAYED, OF_RELAYED), (PRODUCED, OF_PRODUCED)])
async def test_no_part_is_lost(parts: list[Part], expected: list[dict[str, Any]]) -> None:
    """An answer that is faster than the reader's join has all its parts, also joined by its key."""
    async with answering_hub(parts) as hub:

        async def ask(n: int) -> None:
            body, path = {"prompt": "hi", "id": f"k{n}"}, f"/generations?user=u{n % 50}"
            for _ in range(2):  # the second one joins by the key
                async with hub.ask("POST", path, json=body, headers=STREAMED) as response:
                    assert await read_parts(response) == expected

        await asyncio.gather(*map(ask, range(80)))


async def test_record_has_the_parts() -> None:
    """The snapshot as JSON has the parts in order, beside the text."""
    async with answering_hub(PRODUCED) as hub:
        path = "/generations?user=alice"
        async with hub.ask("POST", path, json={"prompt": "hi"}, headers=STREAMED) as response:
            location = response.headers["Location"]
            await read_parts(response)
        _, record = await hub.call("GET", f"{location}?user=alice")
    assert (record["parts"], record["text"]) == (OF_PRODUCED, "ab")
    assert record["status"] == "done"


async def test_internal_api_has_the_hidden_parts() -> None:
    """A part that readers do not see is in the record of the internal API, also at the very end."""
    end: list[Part] = [ToolResult("t", "raw", visible=False), Data("trace", "x", visible=False)]
    async with answering_hub([*PRODUCED, *end]) as hub:
        path = "/generations?user=alice"
        async with hub.ask("POST", path, json={"prompt": "hi"}, headers=STREAMED) as response:
            location = response.headers["Location"]
            assert await read_parts(response) == OF_PRODUCED
        assert (await hub.call("GET", f"{location}?user=alice"))[1]["parts"] == OF_PRODUCED
        status, record = await hub.call("GET", location, internal=True)
        missing, _ = await hub.call("GET", "/generations/g00aaaaaaaaaaaaaaaa", internal=True)
    hidden = [part for part in record["parts"] if part.get("visible") is False]
    assert (status, missing) == (200, 404)
    assert [part["type"] for part in hidden] == ["tool_call", "tool_result", "data"]
    assert [part for part in record["parts"] if part not in hidden] == OF_PRODUCED


async def test_order_and_numbers_of_all_kinds() -> None:
    """One numbering without holes counts the events of all kinds, transient ones too."""
    async with answering_hub(PRODUCED) as hub, hub.stream("/sse/connect/alice") as stream:
        await hub.call("POST", "/generations?user=alice", json={"prompt": "hi"})
        events = [json.loads((await stream.next()).data) for _ in range(15)]
    assert [event.get("i") for event in events] == [None, *range(13), None]
    kinds = [event.get("type") or [*event][-1] for event in events[1:-1]]
    assert kinds == [
        *["status", "step_start", "tool_calls", "tool_result", "step_end", "source", "status"],
        *["data", "text", "data", "data", "text", "file"],
    ]
