"""POST /v1/responses/compact: what the LLM is asked, and what the next turn has of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from hub.core.generation import Status
from tests.compat.test_earlier_answers import CALL, OUTPUT, first_turn, second_turn
from tests.compat.test_routes import Worker
from tests.doubles import until
from tests.http.kit import Hub, running_hub

CALL_ITEM = {"type": "function_call", "call_id": "call_a", "name": "f", "arguments": "{}"}


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    """Run a node that needs no tokens."""
    async with running_hub() as hub:
        yield hub


async def compact(hub: Hub, **body: Any) -> tuple[list[dict[str, Any]], str]:
    """Compact a conversation; return the output, and the transcript that the LLM got."""
    worker = Worker(hub)
    path = "/v1/responses/compact"
    call = asyncio.create_task(hub.call("POST", path, json={"model": "m1", **body}))
    request = await worker.take()
    await worker.send_text("the summary")
    await worker.end()
    status, document = await call
    assert status == 200, document
    assert [message.role for message in request.messages] == ["system", "user"]
    assert "tools" not in request.params
    return document["output"], request.messages[1].content


async def test_earlier_answer_is_compacted_with_its_open_call(hub: Hub) -> None:
    """The LLM gets the whole conversation as text, also calls without output, which some APIs
    refuse as messages. The output of such a call fits after the compaction.
    """
    _, first = await first_turn(hub, stream=False)
    output, transcript = await compact(hub, previous_response_id=first["id"])
    assert transcript == (
        "<transcript>\nuser: Oslo?\nassistant: I look.\n"
        'assistant calls weather({"city":"Oslo"})\n</transcript>'
    )
    request, _ = await second_turn(hub, input=[*output, OUTPUT])
    user, summary, result = request.messages
    assert (user.content, summary.content, result.content) == ("Oslo?", "the summary", "rain")
    assert summary.tool_calls == [{**{k: CALL[k] for k in ("id", "function")}, "type": "function"}]


async def test_compaction_of_a_compaction(hub: Hub) -> None:
    """A summary is part of the next one, and what is no text is named."""
    output, _ = await compact(hub, input=[{"role": "user", "content": "one"}])
    picture = {"role": "user", "content": [{"type": "input_image", "image_url": "x:y"}]}
    result = {**OUTPUT, "output": "done"}
    again, transcript = await compact(hub, input=[*output, CALL_ITEM, result, picture])
    assert transcript == (
        "<transcript>\nuser: one\nassistant: the summary\nassistant calls f({})\n"
        "result of call_a: done\nuser: [input_image]\n</transcript>"
    )
    assert [item["type"] for item in again] == ["message", "message", "compaction"]
    request, _ = await second_turn(hub, input=again)
    assert request.messages[-1].tool_calls is None


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "input"),
        ({"input": []}, "input"),
        ({"input": None}, "input"),
        ({"input": [{"type": "function_call_output", "call_id": "x", "output": ""}]}, "input"),
        ({"previous_response_id": "resp_x"}, "previous_response_id"),
    ],
)
async def test_request_without_a_conversation(hub: Hub, body: Any, param: str) -> None:
    """There must be something to compact."""
    status, document = await hub.call("POST", "/v1/responses/compact", json={"model": "m1", **body})
    assert (status, document["error"]["param"]) == (400, param)


async def test_compaction_that_was_changed_or_is_of_another_server(hub: Hub) -> None:
    """Half an item, or one that only another server can read, is refused by its name."""
    output, _ = await compact(hub, input="one")
    content = output[-1]["encrypted_content"]
    for changed in (content[:-5], content[:40], content + "x", "hub1.", "hub1.bm8", "gAAAAA", ""):
        item = {**output[-1], "encrypted_content": changed}
        status, document = await hub.call(
            "POST", "/v1/responses", json={"model": "m1", "input": [item]}
        )
        assert (status, document["error"]["param"][:8]) == (400, "input[0]"), changed


async def test_summary_that_fails(hub: Hub) -> None:
    """A failure has the status that it has elsewhere, and there is no half a summary."""
    for status, code in ((Status.FAILED, 502), (Status.STOPPED, 409)):
        worker = Worker(hub)
        body = {"model": "m1", "input": "x"}
        call = asyncio.create_task(hub.call("POST", "/v1/responses/compact", json=body))
        await worker.take()
        await worker.send_text("half")
        await worker.end(status, code="upstream_truncated", message="broke off")
        assert (await call)[0] == code


async def test_client_that_leaves_stops_the_summary(hub: Hub) -> None:
    """Nobody could read it later."""
    worker = Worker(hub)
    body = {"model": "m1", "input": "x"}
    call = asyncio.create_task(hub.call("POST", "/v1/responses/compact", json=body))
    await worker.take()
    call.cancel()
    await until(lambda: hub.backend.generations.records[worker.id].stop_requested_by == "dev")
