"""The second turn of a conversation: `previous_response_id` and `item_reference`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from hub.core.channel import user_channel
from hub.core.generation import GenerationRequest, Status
from tests.api.test_authentication import AUTHENTICATOR, token
from tests.compat.test_routes import Worker, read_data
from tests.http.kit import Hub, Stream, running_hub

CALL = {"index": 0, "id": "call_a", "function": {"name": "weather", "arguments": '{"city":"Oslo"}'}}
OUTPUT = {"type": "function_call_output", "call_id": "call_a", "output": "rain"}
FIRST = {"model": "m1", "input": "Oslo?", "instructions": "be brief"}
Response = dict[str, Any]


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    """Run a node that needs no tokens."""
    async with running_hub() as hub:
        yield hub


async def first_turn(hub: Hub, *, stream: bool, **end: Any) -> tuple[Worker, Response]:
    """Answer with reasoning, text and a tool call; return the response as the client has it."""
    worker = Worker(hub)
    call = asyncio.create_task(read_response(hub, {**FIRST, "stream": stream}))
    await worker.take()
    await worker.send_delta(reasoning="hm")
    await worker.send_text("I look.")
    await worker.send_delta(tool_calls=[CALL])
    await worker.end(**(end or {"finish_reason": "tool_calls"}))
    return worker, await call


async def read_response(hub: Hub, body: dict[str, Any]) -> Response:
    async with hub.ask("POST", "/v1/responses", json=body) as response:
        assert response.status == 200, await response.text()
        if not body.get("stream"):
            whole: Response = await response.json()
            return whole
        last: Response = json.loads((await read_data(Stream(response)))[-1])["response"]
        return last


async def second_turn(hub: Hub, **body: Any) -> tuple[GenerationRequest, Response]:
    """Send a second request; return what the worker gets, and the response."""
    worker = Worker(hub)
    call = asyncio.create_task(read_response(hub, {"model": "m1", **body}))
    request = await worker.take()
    await worker.send_text("It is rain.")
    await worker.end()
    return request, await call


def roles(request: GenerationRequest) -> list[tuple[str, Any]]:
    return [(message.role, message.content) for message in request.messages]


def check_conversation(request: GenerationRequest, system: list[tuple[str, Any]]) -> None:
    """Check the conversation of the second turn: the first question, its answer, and the result."""
    messages = [("user", "Oslo?"), ("assistant", "I look."), ("tool", "rain")]
    assert roles(request) == [*system, *messages]
    answer = request.messages[-2]
    assert answer.reasoning_content == "hm"
    assert answer.tool_calls == [
        {
            "id": "call_a",
            "type": "function",
            "function": {"name": "weather", "arguments": '{"city":"Oslo"}'},
        }
    ]


@pytest.mark.parametrize("stream", [True, False])
async def test_previous_response_id(hub: Hub, stream: bool) -> None:
    """The next request has the whole conversation, with its own instructions and no earlier ones;
    a third turn has the second one too.
    """
    _, first = await first_turn(hub, stream=stream)
    request, second = await second_turn(
        hub, previous_response_id=first["id"], input=[OUTPUT], instructions="be long"
    )
    check_conversation(request, [("system", "be long")])
    assert second["previous_response_id"] == first["id"]
    request, _ = await second_turn(hub, previous_response_id=second["id"], input="thanks")
    assert roles(request)[-2:] == [("assistant", "It is rain."), ("user", "thanks")]
    assert len(request.messages) == 5


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("typed", [True, False])
async def test_item_references(hub: Hub, stream: bool, typed: bool) -> None:
    """Reasoning, messages and calls can be named by their ids, as the AI SDK does."""
    _, first = await first_turn(hub, stream=stream)
    kind = {"type": "item_reference"} if typed else {}
    references = [{**kind, "id": item["id"]} for item in first["output"]]
    assert len(references) == 3
    request, _ = await second_turn(
        hub, input=[{"role": "user", "content": "Oslo?"}, *references, OUTPUT]
    )
    check_conversation(request, [])


async def test_items_of_a_whole_response_are_those_of_its_stream(hub: Hub) -> None:
    """An answer whose parts alternate has the same items and ids, however it is read."""
    worker = Worker(hub)
    call = asyncio.create_task(read_response(hub, {**FIRST, "stream": True}))
    await worker.take()
    for fields in ({"text": "a"}, {"reasoning": "b"}, {"text": "c"}, {"tool_calls": [CALL]}):
        await worker.send_delta(**fields)
    await worker.end()
    streamed = await call
    assert [item["type"] for item in streamed["output"]] == [
        *("message", "reasoning", "message", "function_call"),
    ]
    assert (await hub.call("GET", f"/v1/responses/{streamed['id']}"))[1] == streamed
    text = [item for item in streamed["output"] if item["type"] == "message"]
    reference = {"type": "item_reference", "id": text[1]["id"]}
    request, _ = await second_turn(hub, input=[reference, {"role": "user", "content": "x"}])
    assert roles(request) == [("assistant", "c"), ("user", "x")]


async def test_stopped_answer_can_be_continued_without_its_broken_call(hub: Hub) -> None:
    """The text of a stopped answer stays in the conversation; half a call does not."""
    worker = Worker(hub)
    call = asyncio.create_task(read_response(hub, {**FIRST, "stream": True}))
    await worker.take()
    await worker.send_text("I lo")
    await worker.send_delta(tool_calls=[CALL])
    await worker.end(Status.STOPPED, by="dev")
    first = await call
    request, _ = await second_turn(hub, previous_response_id=first["id"], input="go on")
    assert roles(request) == [("user", "Oslo?"), ("assistant", "I lo"), ("user", "go on")]
    assert request.messages[1].tool_calls is None


async def refuse(hub: Hub, body: dict[str, Any], **more: Any) -> tuple[int, str, str]:
    status, answer = await hub.call("POST", "/v1/responses", json={"model": "m1", **body}, **more)
    return status, answer["error"]["code"], answer["error"]["param"]


@pytest.mark.parametrize(
    "name", ["resp_", "resp_g00aaaaaaaaaaaaaaaa", "chatcmpl-1", "resp_\u00e9", "resp_" + "x" * 999]
)
async def test_unknown_response_is_not_found(hub: Hub, name: str) -> None:
    """Whatever the name is, the refusal is the one that SDKs know."""
    body = {"input": "x", "previous_response_id": name}
    expected = (400, "previous_response_not_found", "previous_response_id")
    assert await refuse(hub, body) == expected


@pytest.mark.parametrize("id_", ["msg_1", "msg_g00aaaaaaaaaaaaaaaa_0", "", "rs__0", "x"])
async def test_unknown_item_is_not_found(hub: Hub, id_: str) -> None:
    """An item that the hub does not have is refused by its place in the input."""
    body = {"input": [{"role": "user", "content": "x"}, {"type": "item_reference", "id": id_}]}
    assert await refuse(hub, body) == (400, "previous_response_not_found", "input[1].id")


async def test_answer_that_still_runs_is_a_conflict(hub: Hub) -> None:
    """SDKs repeat a request after 409; by then the answer may have ended."""
    worker = Worker(hub)
    body = {**FIRST, "background": True}
    first = await read_response(hub, body)
    await worker.take()
    refusal = await refuse(hub, {"input": "x", "previous_response_id": first["id"]})
    assert refusal == (409, "response_not_finished", "previous_response_id")


async def test_answers_of_other_users_do_not_exist() -> None:
    """Nobody learns whether an id of another user exists."""
    async with running_hub(AUTHENTICATOR) as hub:
        alice, bob = ({"Authorization": f"Bearer {token(sub=user)}"} for user in ("alice", "bob"))
        worker = Worker(hub)
        call = asyncio.create_task(hub.call("POST", "/v1/responses", json=FIRST, headers=alice))
        await worker.take()
        await worker.send_text("secret")
        await worker.end()
        _, first = await call
        for body in (
            {"input": "x", "previous_response_id": first["id"]},
            {"input": [{"type": "item_reference", "id": first["output"][0]["id"]}]},
        ):
            refusal = await refuse(hub, body, headers=bob)
            assert refusal[:2] == (400, "previous_response_not_found")


async def test_answer_whose_events_are_lost(hub: Hub) -> None:
    """Its record continues the conversation, with the reasoning and the calls."""
    _, first = await first_turn(hub, stream=True, finish_reason="tool_calls")
    references = [{"type": "item_reference", "id": item["id"]} for item in first["output"]]
    kept, _ = await second_turn(hub, input=references)
    continued, _ = await second_turn(hub, input="x", previous_response_id=first["id"])
    hub.backend.events.forget_events(user_channel("dev"))
    request, _ = await second_turn(hub, input=references)
    assert request.messages == kept.messages
    assert [message.tool_calls is not None for message in request.messages] == [True]
    request, _ = await second_turn(hub, input="x", previous_response_id=first["id"])
    assert request.messages == continued.messages
