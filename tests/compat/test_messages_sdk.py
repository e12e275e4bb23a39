"""Anthropic's Python SDK against a node: streams, whole messages, and the errors that it raises."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from hub.core.generation import Status
from tests import sdks
from tests.api.test_authentication import AUTHENTICATOR, token
from tests.compat.test_routes import Worker
from tests.http.kit import Hub, running_hub

ASK: Any = {"model": "m1", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    """Run a node that needs no tokens."""
    async with running_hub() as hub:
        yield hub


def client_of(hub: Hub, **options: Any) -> sdks.anthropic.AsyncAnthropic:
    """Return a client, which sends the key as `x-api-key`."""
    url = f"http://127.0.0.1:{hub.port}"
    given: dict[str, Any] = {"base_url": url, "api_key": "x", "max_retries": 0, **options}
    return sdks.anthropic.AsyncAnthropic(**given)


async def test_stream_and_whole_message_agree(hub: Hub) -> None:
    """The helper of the SDK makes the same message of the stream as it gets whole."""
    messages: list[dict[str, Any]] = []
    async with client_of(hub) as client:
        for create in (_stream, _create):
            worker = Worker(hub)
            read = asyncio.create_task(create(client))
            await worker.take()
            await worker.send_delta(reasoning="hm")
            await worker.send_text("Yes.")
            await worker.send_part(type="source", url="https://a.example", title="A")
            function = {"name": "f", "arguments": '{"a": 1}'}
            call = {"index": 0, "id": "c", "type": "function", "function": function}
            await worker.send_delta(tool_calls=[call])
            await worker.end(finish_reason="tool_calls", usage={"prompt_tokens": 3})
            message = await read
            messages.append(message.to_dict(mode="json") | {"id": None})
    streamed, whole = messages
    assert [block["type"] for block in whole["content"]] == ["thinking", "text", "tool_use"]
    assert _without_none(streamed) == _without_none(whole)


async def _stream(client: sdks.anthropic.AsyncAnthropic) -> sdks.anthropic.types.Message:
    async with client.messages.stream(**ASK) as stream:
        return await stream.get_final_message()


async def _create(client: sdks.anthropic.AsyncAnthropic) -> sdks.anthropic.types.Message:
    message: sdks.anthropic.types.Message = await client.messages.create(**ASK)
    return message


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_none(each) for name, each in value.items() if each is not None}
    return [_without_none(each) for each in value] if isinstance(value, list) else value


FAILURES: list[tuple[dict[str, Any], str]] = [
    ({"code": "upstream_status", "upstream_status": 400}, "BadRequestError"),
    ({"code": "upstream_status", "upstream_status": 404}, "NotFoundError"),
    ({"code": "upstream_status", "upstream_status": 413}, "ContentTooLargeError"),
    ({"code": "upstream_status", "upstream_status": 429}, "RateLimitError"),
    ({"code": "upstream_status", "upstream_status": 529}, "OverloadedError"),
    ({"code": "upstream_timeout"}, "GatewayTimeoutError"),
    ({"code": "upstream_truncated"}, "InternalServerError"),
]


async def test_failures_are_exceptions(hub: Hub) -> None:
    """Each failure raises the class of its status, with the sentence and the id, and once."""
    async with client_of(hub, max_retries=2) as client:
        for end, error in FAILURES:
            for create in (_stream, _create):
                worker = Worker(hub)
                read = asyncio.create_task(create(client))
                await worker.take()
                await worker.end(Status.FAILED, message="the LLM says no", **end)
                with pytest.raises(
                    getattr(sdks.anthropic, error), match="the LLM says no"
                ) as raised:
                    await read
                assert isinstance(raised.value, sdks.anthropic.APIStatusError)
                assert raised.value.request_id == f"req_{worker.id}"
    assert len(hub.backend.generations.records) == 2 * len(FAILURES)


@pytest.mark.parametrize(
    ("status", "end"),
    [
        (Status.FAILED, {"code": "upstream_truncated", "message": "the LLM stopped halfway"}),
        (Status.STOPPED, {"by": "dev"}),
    ],
)
async def test_half_an_answer_is_an_exception(
    hub: Hub, status: Status, end: dict[str, Any]
) -> None:
    """The SDK raises the error at the end of a stream that has begun."""
    worker = Worker(hub)
    async with client_of(hub) as client:
        read = asyncio.create_task(_stream(client))
        await worker.take()
        await worker.send_text("half")
        await worker.end(status, **end)
        with pytest.raises(sdks.anthropic.APIStatusError, match="stopped"):
            await read


async def test_token_of_the_user() -> None:
    """Both settings of the SDK carry the token, and a wrong one is an AuthenticationError."""
    async with running_hub(AUTHENTICATOR) as hub:
        for options in ({"api_key": token()}, {"api_key": None, "auth_token": token()}):
            async with client_of(hub, **options) as client:
                assert [model.id async for model in client.models.list()] == ["m1", "m2", "support"]
                assert (await client.models.retrieve("m1")).display_name == "m1"
        async with client_of(hub) as client:
            with pytest.raises(sdks.anthropic.AuthenticationError):
                await client.messages.create(**ASK)
            with pytest.raises(sdks.anthropic.AuthenticationError):
                await client.messages.count_tokens(model="m1", messages=ASK["messages"])


async def test_counting_is_refused(hub: Hub) -> None:
    """The SDK raises at once, and says why."""
    async with client_of(hub, max_retries=2) as client:
        with pytest.raises(sdks.anthropic.BadRequestError, match="cannot count tokens"):
            await client.messages.count_tokens(model="m1", messages=ASK["messages"])
