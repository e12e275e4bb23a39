"""The requests of command line clients that are built on Anthropic's SDK, as they were recorded.

Sources: code.claude.com, "LLM gateway configuration", and published recordings of the requests of
Claude Code 2.0 and 2.1. A session asks which models there are, counts the tokens of its tools, and
sends requests with the headers of the SDK and fields of several betas.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from hub.core.generation import GenerationRequest
from hub.core.sse_decoder import SseDecoder
from hub.settings import Settings
from hub.upstreams.anthropic.dialect import AnthropicMessages
from hub.upstreams.openai.chat import OpenAiChat
from tests.api.test_authentication import AUTHENTICATOR, token
from tests.compat.test_routes import Worker
from tests.http.kit import SETTINGS, Hub, running_hub

_SDK = {
    "accept": "application/json",
    "anthropic-dangerous-direct-browser-access": "true",
    "anthropic-version": "2023-06-01",
    "content-type": "application/json",
    "x-app": "cli",
    "x-stainless-arch": "x64",
    "x-stainless-lang": "js",
    "x-stainless-os": "Linux",
    "x-stainless-retry-count": "0",
    "x-stainless-runtime": "node",
    "x-stainless-timeout": "600",
}
CLIENTS: dict[str, dict[str, str]] = {
    "2.0": {
        **_SDK,
        "accept-encoding": "gzip, deflate, br, zstd",
        "anthropic-beta": "claude-code-20250219,interleaved-thinking-2025-05-14,"
        "fine-grained-tool-streaming-2025-05-14",
        "user-agent": "claude-cli/2.0.36 (external, cli)",
        "x-stainless-helper-method": "stream",
        "x-stainless-package-version": "0.68.0",
        "x-stainless-runtime-version": "v24.3.0",
    },
    "2.1": {
        **_SDK,
        "accept-encoding": "identity",
        "accept-language": "*",
        "anthropic-beta": "claude-code-20250219,interleaved-thinking-2025-05-14,"
        "context-management-2025-06-27,prompt-caching-scope-2026-01-05,"
        "mid-conversation-system-2026-04-07,effort-2025-11-24",
        "sec-fetch-mode": "cors",
        "user-agent": "claude-cli/2.1.216 (external, cli)",
        "x-claude-code-session-id": "b4e5aaaa-9a3e-47c4-84ad-3a70f38c676e",
        "x-stainless-package-version": "0.74.0",
        "x-stainless-runtime-version": "v22.16.0",
    },
}
_CACHE = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
_SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "properties": {"command": {"type": "string"}},
    "required": ["command"],
    "additionalProperties": False,
}
_BASH = {"name": "Bash", "description": "Runs a command.", "input_schema": _SCHEMA}
_USER = "user_" + "0784b260bff170af" * 4 + "_account__session_b4e5aaaa-9a3e-47c4-84ad-3a70f38c676e"
_SYSTEM: list[dict[str, Any]] = [
    {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1.216; cch=00000;"},
    {"type": "text", "text": "You are a command line client.", **_CACHE},
]
_THINKING = {"type": "thinking", "thinking": "I list the files.", "signature": "EqQBCkgIBxAB"}
_CALL = {"type": "tool_use", "id": "toolu_01", "name": "Bash", "input": {"command": "ls"}}
_RESULT = {"type": "tool_result", "tool_use_id": "toolu_01", "content": "exit 1", "is_error": True}
BODY: dict[str, Any] = {
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "<system-reminder>Today is Monday.</system-reminder>"},
                {"type": "text", "text": "list the files", **_CACHE},
            ],
        },
        {"role": "assistant", "content": [_THINKING, {"type": "text", "text": "Yes."}, _CALL]},
        {"role": "user", "content": [{**_RESULT, **_CACHE}]},
        {"role": "system", "content": "The user has switched the mode."},
        {"role": "user", "content": "again"},
    ],
    "system": _SYSTEM,
    "tools": [_BASH, {"type": "web_search_20250305", "name": "web_search", "max_uses": 8}],
    "metadata": {"user_id": _USER},
    "max_tokens": 32000,
    "temperature": 1,
    "thinking": {"type": "adaptive"},
    "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
    "output_config": {"effort": "medium"},
    "stream": True,
}


@pytest.fixture
async def hub(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Hub]:
    """Run a node that requires tokens, with an upstream of Anthropic's API and another one."""
    address = {"base_url": "http://127.0.0.1:1"}
    upstreams = {
        "claude": {**address, "kind": "anthropic", "models": ["claude-opus-4-6"]},
        "local": {**address, "models": ["qwen3"]},
    }
    values = SETTINGS.model_dump(exclude_unset=True)
    settings = {**values, "upstreams": upstreams, "default_upstream": "claude"}
    monkeypatch.setattr("tests.http.kit.SETTINGS", Settings.model_validate(settings))
    async with running_hub(AUTHENTICATOR) as hub:
        yield hub


async def ask(hub: Hub, model: str, headers: dict[str, str]) -> tuple[GenerationRequest, list[str]]:
    """Send the request; return what the worker gets, and the names of the events."""
    worker = Worker(hub)
    path = "/v1/messages?beta=true"
    call = hub.ask("POST", path, json={"model": model, **BODY}, headers=headers)
    waiting = asyncio.create_task(call.__aenter__())
    request = await worker.take()
    await worker.send_text("Done.")
    await worker.end()
    response = await waiting
    assert (response.status, response.content_type) == (200, "text/event-stream")
    events = SseDecoder().feed(await response.read())
    return request, [event.name for event in events]


@pytest.mark.parametrize("version", CLIENTS)
async def test_session(hub: Hub, version: str) -> None:
    """It gets its models, an error that it knows for the count of tokens, and its answer."""
    key = {"x-api-key": token()} if version == "2.0" else {"authorization": f"Bearer {token()}"}
    headers = {**CLIENTS[version], **key}
    status, page = await hub.call("GET", "/v1/models?limit=1000", headers=headers)
    assert (status, [model["id"] for model in page["data"]]) == (200, ["claude-opus-4-6", "qwen3"])
    count = {name: BODY[name] for name in ("messages", "tools", "system")}
    path = "/v1/messages/count_tokens?beta=true"
    status, error = await hub.call("POST", path, json=count, headers=headers)
    assert (status, error["type"]) == (400, "error")
    for model in ("claude-opus-4-6", "qwen3"):
        _, names = await ask(hub, model, headers)
        assert (names[0], names[-1]) == ("message_start", "message_stop")


async def test_anthropic_gets_everything(hub: Hub) -> None:
    """Anthropic's API gets the body and the betas as the client has sent them."""
    headers = {**CLIENTS["2.1"], "x-api-key": token()}
    request, _ = await ask(hub, "claude-opus-4-6", headers)
    sent = AnthropicMessages({}).build_request(request)
    assert sent.headers["anthropic-beta"] == headers["anthropic-beta"]
    assert dict(sent.body) == {"model": "claude-opus-4-6", **BODY}


async def test_other_llms_get_what_they_know(hub: Hub) -> None:
    """A server of chat completions gets no field that it would refuse."""
    request, _ = await ask(hub, "qwen3", {**CLIENTS["2.1"], "x-api-key": token()})
    body = dict(OpenAiChat({}).build_request(request).body)
    messages = body.pop("messages")
    function = {"name": "Bash", "description": "Runs a command.", "parameters": _SCHEMA}
    assert len(body.pop("user")) == 64
    assert body == {
        "model": "qwen3",
        "max_tokens": 32000,
        "temperature": 1,
        "reasoning_effort": "medium",
        "tools": [{"type": "function", "function": function}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    assert [(message["role"], message["content"]) for message in messages] == [
        ("system", "\n\n".join(block["text"] for block in _SYSTEM)),
        ("user", "<system-reminder>Today is Monday.</system-reminder>\n\nlist the files"),
        ("assistant", "Yes."),
        ("tool", "Error: exit 1"),
        ("system", "The user has switched the mode."),
        ("user", "again"),
    ]
    assert messages[2]["reasoning_content"] == "I list the files."
