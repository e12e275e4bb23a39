"""OpenAI's own SDK against real processes; only its base URL is changed."""

from __future__ import annotations

import asyncio
import itertools
import signal
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
import pytest_asyncio

from hub.http.server import ListenAddress, listen
from hub.upstreams.simulated.answers import choose_answer
from tests import sdks
from tests.e2e.cluster import Cluster, create_cluster
from tests.e2e.tool_llm import ToolLlm

MODEL = "simulated-1"
LLM = ToolLlm()
COUNT: Any = [{"role": "user", "content": "count to 20"}]
REFUSING = {"refusing": ("InternalServerError", 502), "rejecting": ("BadRequestError", 400)}
"""Upstreams that answer with a status, and what the SDK raises for it."""
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}}


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def cluster() -> AsyncIterator[Cluster]:
    """Run a node, a worker, simulated LLMs of which three fail, and an LLM that calls tools."""
    async with create_cluster() as cluster:
        await cluster.add_upstream("sim", tokens_per_second=60.0)
        await cluster.add_upstream("refusing", fault="refuse", retries=0)
        await cluster.add_upstream("rejecting", fault="status:400", retries=0)
        await cluster.add_upstream("cutting", fault="truncate:3", retries=0)
        address = ListenAddress("127.0.0.1", 0, "x")
        async with listen(
            LLM.app(), address, cancel_handlers=True, shutdown_timeout_seconds=0.1
        ) as port:
            cluster.set("UPSTREAMS__tool__BASE_URL", f"http://127.0.0.1:{port}/v1")
            cluster.set("DEFAULT_UPSTREAM", "sim")
            cluster.set("NODE__DRAIN_SECONDS", 0)
            await cluster.start()
            await cluster.start_worker()
            yield cluster


def openai_client(cluster: Cluster) -> sdks.openai.AsyncOpenAI:
    """Return a client of the unmodified SDK."""
    return sdks.openai.AsyncOpenAI(base_url=f"{cluster.url}/v1", api_key="none")


async def wait_until_idle(cluster: Cluster) -> None:
    """Wait until the LLM has no running answer: its connection ends after the answer has."""
    async with asyncio.timeout(60):
        while (await cluster.stats("sim"))["running"]:
            await asyncio.sleep(0.02)


async def test_sdk_starts_resumes_on_another_node_and_stops(cluster: Cluster) -> None:
    """Over an upstream that knows none of it. A node that drains cuts the stream, which is an error
    for the SDK and not an end; the events go on at the next number.
    """
    seen, id_ = list[int](), ""
    async with openai_client(cluster) as client:
        first_events = await client.responses.create(
            model=MODEL, input="count to 3000", background=True, stream=True
        )
        with pytest.raises((httpx2.TransportError, sdks.openai.APIConnectionError)):
            async for event in first_events:
                seen.append(event.sequence_number)
                if event.type == "response.created":
                    id_ = event.response.id
                if len(seen) == 20:
                    cluster.node.send_signal(signal.SIGTERM)
    await cluster.node.wait()
    await cluster.start_node()
    async with openai_client(cluster) as client:
        events = await client.responses.retrieve(id_, stream=True, starting_after=seen[-1])
        async for event in events:
            seen.append(event.sequence_number)
            if len(seen) > 60:
                break
        assert seen == list(range(61))
        stopped = await client.responses.cancel(id_)
        assert stopped.status == "cancelled"
        assert await client.responses.cancel(id_) == stopped
        rest = await client.responses.retrieve(id_, stream=True, starting_after=seen[-1])
        last = [event async for event in rest][-1]
        assert last.type == "response.incomplete"
        assert last.response.output == stopped.output
        await wait_until_idle(cluster)


async def test_sdk_gets_complete_answers_and_chunks(cluster: Cluster) -> None:
    """The SDK gets text, usage and finish reasons, streamed or not, of chat and of responses."""
    whole = choose_answer("count to 20")
    async with openai_client(cluster) as client:
        listed = {model.id async for model in client.models.list()}
        assert listed == {MODEL, *(f"{name}/{MODEL}" for name in ("cutting", *REFUSING))}
        completion = await client.chat.completions.create(model=MODEL, messages=COUNT)
        assert completion.choices[0].message.content == whole
        assert completion.choices[0].finish_reason == "stop"
        assert completion.usage is not None
        async with client.chat.completions.stream(
            model=MODEL, messages=COUNT, stream_options={"include_usage": True}
        ) as chunks:
            streamed = await chunks.get_final_completion()
        assert streamed.choices[0].message.content == whole
        assert streamed.usage == completion.usage
        response = await client.responses.create(model=MODEL, input="count to 20")
        assert (response.status, response.output_text) == ("completed", whole)
        async with client.responses.stream(model=MODEL, input="count to 20") as events:
            assert (await events.get_final_response()).output_text == whole
        assert (await client.responses.retrieve(response.id)).output == response.output


async def test_sdk_calls_tools_and_sends_back_the_results(cluster: Cluster) -> None:
    """The SDK gets parallel calls and reasoning, and sends its own objects back."""
    async with openai_client(cluster) as client:
        await _chat_with_tools(client)
        await _respond_with_tools(client)


async def test_sdk_over_websocket_and_with_compaction(cluster: Cluster) -> None:
    """`connect` runs turns of one conversation, and `compact` shortens it; the SDK's own types are
    sent back.
    """
    async with openai_client(cluster) as client:
        async with client.responses.connect() as connection:
            await connection.response.create(model="tool/m", store=False, input="Oslo")
            first = await _last_response(connection)
            assert first.output_text == "It is Oslo."
            await connection.response.create(
                model="tool/m", store=False, previous_response_id=first.id, input="Rome"
            )
            assert (await _last_response(connection)).output_text == "It is Rome."
            await connection.response.create(
                model="tool/m", previous_response_id="resp_none", input="Rome"
            )
            error: Any = await connection.recv()
            assert (error.type, error.error.code) == ("error", "previous_response_not_found")
        compacted = await client.responses.compact(model="tool/m", input="Oslo")
        items: Any = [item.to_dict(warnings=False) for item in compacted.output]
        await client.responses.create(model="tool/m", input=[*items, *COUNT])
    assert [message["role"] for message in LLM.requests[-1]["messages"]] == [
        *("user", "assistant", "user"),
    ]


async def test_sdk_deletes_responses(cluster: Cluster) -> None:
    """A response is gone after its deletion, also one that was running, and its worker is free."""
    async with openai_client(cluster) as client:
        whole = await client.responses.create(model="tool/m", input="Oslo")
        running = await client.responses.create(model=MODEL, input="count to 3000", background=True)
        for response in (whole, running):
            await client.responses.delete(response.id)
            with pytest.raises(sdks.openai.NotFoundError):
                await client.responses.retrieve(response.id)
        await wait_until_idle(cluster)


async def _last_response(connection: Any) -> Any:
    async for event in connection:
        if event.type == "response.completed":
            return event.response
    raise EOFError


async def _chat_with_tools(client: sdks.openai.AsyncOpenAI) -> None:
    tools: Any = [
        {"type": "function", "function": {"name": name, "parameters": PARAMETERS}}
        for name in ("weather", "time")
    ]
    messages: list[Any] = [{"role": "user", "content": "Oslo?"}]
    async with client.chat.completions.stream(
        model="tool/m", messages=messages, tools=tools, tool_choice="auto"
    ) as chunks:
        (choice,) = (await chunks.get_final_completion()).choices
    assert choice.finish_reason == "tool_calls"
    assert choice.message.tool_calls is not None
    assert [
        (call.id, call.function.name, call.function.arguments) for call in choice.message.tool_calls
    ] == [("call_0", "weather", '{"city": "Oslo"}'), ("call_1", "time", '{"city": "Oslo"}')]
    assert LLM.requests[-1]["tools"] == tools
    messages.append(choice.message)
    messages.append({"role": "tool", "tool_call_id": "call_0", "content": "rain"})
    messages.append({"role": "tool", "tool_call_id": "call_1", "content": "noon"})
    answer = await client.chat.completions.create(model="tool/m", messages=messages, tools=tools)
    assert answer.choices[0].message.content == "It is noon."
    assert getattr(answer.choices[0].message, "reasoning_content", None) == "Let me see."
    assert answer.usage is not None
    assert answer.usage.total_tokens == 12
    assert len(LLM.requests[-1]["messages"][1]["tool_calls"]) == 2


async def _respond_with_tools(client: sdks.openai.AsyncOpenAI) -> None:
    tools: Any = [
        {"type": "function", "name": "weather", "parameters": PARAMETERS, "strict": False}
    ]
    given: list[Any] = [{"role": "user", "content": "Oslo?"}]
    async with client.responses.stream(model="tool/m", input=given, tools=tools) as events:
        response = await events.get_final_response()
    assert [item.type for item in response.output] == ["reasoning", "function_call"]
    call = response.output[1]
    assert call.type == "function_call"
    given += [item.model_dump(exclude={"parsed_arguments"}) for item in response.output]
    given.append({"type": "function_call_output", "call_id": call.call_id, "output": "rain"})
    answer = await client.responses.create(model="tool/m", input=given, tools=tools)
    assert answer.output_text == "It is rain."
    assert [m["role"] for m in LLM.requests[-1]["messages"]] == ["user", "assistant", "tool"]


async def test_sdk_raises_errors(cluster: Cluster) -> None:
    """The SDK raises errors before and during the answer, and does not retry by itself."""
    async with openai_client(cluster) as client:
        for name, stream in itertools.product(REFUSING, (False, True)):
            with pytest.raises(sdks.openai.APIStatusError) as refused:
                model = f"{name}/{MODEL}"
                await client.chat.completions.create(model=model, messages=COUNT, stream=stream)
            assert (type(refused.value).__name__, refused.value.status_code) == REFUSING[name]
            with pytest.raises(sdks.openai.APIStatusError) as refused:
                await client.responses.create(model=model, input="count", stream=stream)
            assert (type(refused.value).__name__, refused.value.status_code) == REFUSING[name]
        chunks = await client.chat.completions.create(
            model=f"cutting/{MODEL}", messages=COUNT, stream=True
        )
        text = ""
        with pytest.raises(sdks.openai.APIError, match="before the answer was finished"):
            async for chunk in chunks:
                text += chunk.choices[0].delta.content or ""
        assert text == "1 2 3"
        with pytest.raises(sdks.openai.InternalServerError, match="before the answer was finished"):
            await client.responses.create(model=f"cutting/{MODEL}", input="count to 20")
        events = await client.responses.create(
            model=f"cutting/{MODEL}", input="count to 20", stream=True
        )
        with pytest.raises(sdks.openai.APIError, match="before the answer was finished"):
            async for _ in events:
                pass
        assert (await cluster.stats("cutting"))["started"] == 3
        with pytest.raises(sdks.openai.NotFoundError):
            await client.responses.retrieve("resp_none")
        with pytest.raises(sdks.openai.BadRequestError):
            await client.responses.create(model=MODEL, input="x", previous_response_id="resp_y")
