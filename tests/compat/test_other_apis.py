"""Answers that another API has started, read by the routes and encoders of a dialect."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.compat.ag_ui.encoder import AgUiEncoder
from hub.compat.ai_sdk.encoder import AiSdkEncoder
from hub.compat.openai_responses.earlier_answers import EarlierAnswers
from hub.compat.openai_responses.encoder import ResponsesEncoder
from hub.compat.openai_responses.input_items import input_items
from hub.compat.openai_responses.response_collector import ResponseCollector
from hub.core.event import encode_json
from hub.core.generation import GenerationRequest, Message
from hub.errors import TooLarge
from tests.api.test_null_members import ANY_JSON
from tests.compat.history import RECORD
from tests.compat.test_earlier_answers import read_response
from tests.compat.test_routes import Worker
from tests.http.kit import MAX_BODY, running_hub

NAMES = ("thread", "run", "ids", "message", "background", "instructions", "max_tool_calls")
RESPONSE_NAMES = ("metadata", "previous_response_id", "reasoning", "store", "text", "tools")
INNER_TOOLS: st.SearchStrategy[Any] = ANY_JSON | st.just([{}])
TOOLS: st.SearchStrategy[Any] = st.lists(
    st.fixed_dictionaries(
        {"type": st.just("namespace"), "name": st.just("n"), "tools": INNER_TOOLS}
    ),
    max_size=2,
)
METADATA = st.dictionaries(
    st.sampled_from((*NAMES, *RESPONSE_NAMES, "tool_choice")), ANY_JSON | TOOLS, max_size=4
)
PARTS = st.fixed_dictionaries(
    {"type": st.sampled_from(("text", "image_url", "file", "other"))},
    optional=dict.fromkeys(("text", "image_url", "file"), ANY_JSON),
)
CALLS = st.lists(
    ANY_JSON | st.fixed_dictionaries({}, optional={"id": ANY_JSON, "function": ANY_JSON})
)
MESSAGES = st.builds(
    Message,
    role=st.sampled_from(("system", "user", "assistant", "tool")),
    content=ANY_JSON | st.lists(PARTS),
    tool_calls=st.none() | CALLS,
)
CALL = {"index": 0, "id": "c", "function": {"name": "n__None", "arguments": "{}"}}
EVENTS = [
    ("generation.delta", encode_json({"generation": RECORD.id, "tool_calls": [CALL]})),
    ("generation.restarted", encode_json({"generation": RECORD.id})),
    ("generation.done", encode_json({"generation": RECORD.id, "finish_reason": "stop"})),
]


@given(METADATA, st.lists(MESSAGES, max_size=3))
def test_any_metadata_and_messages_can_be_read(
    metadata: dict[str, Any], messages: list[Message]
) -> None:
    """Each dialect reads the answer to any request; it ignores metadata that is not its own."""
    request = GenerationRequest(messages, "main", "m1", metadata=metadata)
    record = msgspec.structs.replace(RECORD, request=request)
    for new_encoder in (ResponsesEncoder, AgUiEncoder, AiSdkEncoder, ResponseCollector):
        encoder = new_encoder(record)
        encoder.start()
        for name, data in EVENTS:
            encoder.feed(name, data)
        if isinstance(encoder, ResponseCollector):
            assert encoder.document()["status"] == "completed"
    for item in input_items(record):
        assert item["id"]


async def test_answer_of_another_api_as_a_response() -> None:
    """It can be read, listed and continued, whatever its metadata and messages are."""
    body = {
        "messages": [
            {"role": "user", "content": [{"type": "file", "file": "x"}]},
            {"role": "assistant", "tool_calls": ["x", {"id": "c", "function": "f"}]},
            {"role": "user", "content": "hi"},
        ],
        "metadata": {"tools": "x", "reasoning": "high", "text": 1, "ids": 5},
    }
    async with running_hub() as hub:
        worker = Worker(hub)
        status, _ = await hub.call("POST", "/generations?user=dev", json=body)
        assert status == 202
        await worker.take()
        await worker.send_text("hello")
        await worker.end()
        status, response = await hub.call("GET", f"/v1/responses/resp_{worker.id}")
        assert (status, response["status"], response["tools"]) == (200, "completed", [])
        status, page = await hub.call("GET", f"/v1/responses/resp_{worker.id}/input_items")
        assert (status, len(page["data"])) == (200, 4)
        again = Worker(hub)
        body = {"model": "m1", "input": "x", "previous_response_id": f"resp_{worker.id}"}
        call = asyncio.create_task(read_response(hub, body))
        request = await again.take()
        await again.end()
        assert [message.role for message in request.messages[-2:]] == ["assistant", "user"]
        assert (await call)["status"] == "completed"


@pytest.mark.parametrize("kind", ["msg", "rs"])
async def test_names_of_items_count_with_the_size_of_the_items(kind: str) -> None:
    """Many names of one long item are refused before they become a large list of messages."""
    async with running_hub() as hub:
        worker = Worker(hub)
        call = asyncio.create_task(read_response(hub, {"model": "m1", "input": "x"}))
        await worker.take()
        await worker.send_delta(reasoning="r" * 10_000)
        await worker.send_text("t" * 10_000)
        await worker.end()
        ids = [item["id"] for item in (await call)["output"]]
        (name,) = (id_ for id_ in ids if id_.startswith(kind))
        earlier = EarlierAnswers(hub.node.generations, max_bytes=MAX_BODY)
        few, many = ({"input": [{"type": "item_reference", "id": name}] * n} for n in (3, 900))
        resolved, _ = await earlier.resolve(few, "dev")
        assert [item["id"] for item in resolved["input"]] == [name] * 3
        with pytest.raises(TooLarge):
            await earlier.resolve(many, "dev")
