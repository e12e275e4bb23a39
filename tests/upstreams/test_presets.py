"""Each preset against a server that is as strict as its provider's documentation says."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Final, NamedTuple, get_args
from urllib.parse import urlsplit

import aiohttp
import pytest
from aiohttp import web

from hub.core.generation import GenerationRequest, Message
from hub.core.parts import Finished, Text
from hub.engine.tasks import SystemClock
from hub.errors import OperatorError
from hub.http.server import ListenAddress, listen
from hub.settings import Settings, load_settings
from hub.settings.models import Upstream
from hub.settings.presets import EXAMPLES, PRESETS, PresetName
from hub.wiring.upstreams import build_upstreams
from tests.upstreams.kit import iterate_parts

KEY: Final = "key-4711-abcdef"
ROLES: Final = {"system", "user", "assistant", "tool"}
OPENAI_ROLES: Final = ROLES | {"developer"}
CHAT_STREAM: Final = 'data: {"choices":[{"delta":{"content":"ok"},"finish_reason":"stop"}]}\n\n'
STREAMS: Final = {
    "perplexity": 'data: {"type":"response.output_text.delta","output_index":0,"delta":"ok"}\n\n'
    'data: {"type":"response.completed","response":{"output":[]}}\n\n',
    "anthropic": 'data: {"type":"content_block_delta","delta":{"text":"ok"}}\n\n'
    'data: {"type":"message_delta","delta":{"stop_reason":"end_turn"}}\n\n',
    "ollama": '{"message":{"content":"ok"},"done":true,"done_reason":"stop"}\n',
}


class Facts(NamedTuple):
    """What a provider documents.

    path: that of the request. header: the header of the key. refuses: fields that are an error.
    limit: the name of the token limit. roles: the roles it knows. needs: a field it must get.
    """

    path: str
    header: str = f"Authorization: Bearer {KEY}"
    refuses: tuple[str, ...] = ()
    limit: str = "max_completion_tokens"
    roles: set[str] = ROLES
    needs: str = "stream_options"


FACTS: Final[dict[str, Facts]] = {
    "anthropic": Facts(
        "/v1/messages",
        header=f"x-api-key: {KEY}",
        refuses=("stream_options", "seed", "store", "logit_bias", "user"),
        limit="max_tokens",
        roles={"user", "assistant"},
        needs="system",
    ),
    "azure": Facts(
        "/openai/v1/chat/completions",
        header=f"api-key: {KEY}",
        refuses=("max_tokens",),
        roles=OPENAI_ROLES,
    ),
    "bedrock": Facts("/v1/chat/completions"),
    "cloudflare": Facts(
        "/client/v4/accounts/YOUR-ACCOUNT/ai/v1/chat/completions", limit="max_tokens"
    ),
    "dashscope": Facts("/compatible-mode/v1/chat/completions", limit="max_tokens"),
    "deepseek": Facts("/chat/completions", limit="max_tokens"),
    "gemini": Facts(
        "/v1beta/openai/chat/completions",
        refuses=("store", "metadata", "seed", "frequency_penalty", "logit_bias"),
    ),
    "groq": Facts(
        "/openai/v1/chat/completions",
        refuses=("logprobs", "top_logprobs", "logit_bias", "messages.name"),
    ),
    "litellm": Facts("/v1/chat/completions", roles=OPENAI_ROLES),
    "llama-cpp": Facts("/v1/chat/completions"),
    "lm-studio": Facts("/v1/chat/completions", limit="max_tokens"),
    "mistral": Facts(
        "/v1/chat/completions",
        refuses=("stream_options", "store", "max_completion_tokens", "seed", "user", "logit_bias"),
        limit="max_tokens",
        needs="random_seed",
    ),
    "moonshot": Facts("/v1/chat/completions"),
    "nim": Facts("/v1/chat/completions"),
    "ollama": Facts("/api/chat", limit="num_predict", needs="options"),
    "openai": Facts("/v1/chat/completions", refuses=("max_tokens",), roles=OPENAI_ROLES),
    "openrouter": Facts("/api/v1/chat/completions", roles=OPENAI_ROLES),
    "perplexity": Facts(
        "/v1/responses", refuses=("store", "messages"), limit="max_output_tokens", needs="input"
    ),
    "sglang": Facts("/v1/chat/completions"),
    "tgi": Facts("/v1/chat/completions", limit="max_tokens"),
    "together": Facts("/v1/chat/completions", limit="max_tokens"),
    "vllm": Facts("/v1/chat/completions"),
    "xinference": Facts("/v1/chat/completions", limit="max_tokens"),
}
each_preset = pytest.mark.parametrize("name", sorted(FACTS))
REQUEST: Final = GenerationRequest(
    [Message("developer", "be kind"), Message("user", "hi", name="alice")],
    "u",
    "m",
    {"max_completion_tokens": 9, "seed": 1, "store": False, "user": "u1", "metadata": {"a": "b"},
     "frequency_penalty": 0.1, "logit_bias": {"5": 1}, "logprobs": True},
)  # fmt: skip


def find_faults(facts: Facts, request: web.Request, body: dict[str, Any]) -> list[str]:
    """Return what the provider would reject."""
    name, value = facts.header.split(": ")
    messages = body.get("messages") or body.get("input") or []
    given = {*body, *(f"messages.{key}" for message in messages for key in message)}
    return [
        *(["path " + request.path] if request.path != facts.path else []),
        *(["key"] if request.headers.get(name) != value else []),
        *(f"unknown field {field}" for field in facts.refuses if field in given),
        *(f"role {each['role']}" for each in messages if each["role"] not in facts.roles),
        *([f"no {facts.limit}"] if body.get("options", body).get(facts.limit) != 9 else []),
        *([f"no {facts.needs}"] if facts.needs not in body else []),
        *(["no stream"] if body.get("stream") is not True else []),
    ]


def base_url(name: str) -> str:
    return str(PRESETS[name].get("base_url") or EXAMPLES[name])


@each_preset
async def test_preset(name: str) -> None:
    """The first request is accepted, with every parameter that OpenAI's API has."""
    faults: list[list[str]] = []

    async def answer(request: web.Request) -> web.Response:
        body = json.loads(await request.read())
        faults.append(find_faults(FACTS[name], request, body))
        stream = STREAMS.get(name, CHAT_STREAM)
        return web.Response(text=stream, content_type="text/event-stream")

    app = web.Application()
    app.router.add_post("/{path:.*}", answer)
    address = ListenAddress("127.0.0.1", 0, "x")
    async with (
        listen(app, address, cancel_handlers=True, shutdown_timeout_seconds=0.1) as port,
        aiohttp.ClientSession() as session,
    ):
        url = f"http://127.0.0.1:{port}{urlsplit(base_url(name)).path}"
        settings = Settings(upstreams={"u": {"preset": name, "base_url": url, "api_key": KEY}})
        upstreams = build_upstreams(settings, session, SystemClock())
        parts = [part async for part in iterate_parts(upstreams["u"].stream(REQUEST))]
    assert faults == [[]]
    assert parts == [Text("ok"), Finished("stop")]


def test_every_preset_has_facts() -> None:
    """The table, the type of the setting and this test name the same providers."""
    assert set(PRESETS) == set(get_args(PresetName)) == set(FACTS)
    assert len(PRESETS) >= 20
    assert {name for name in PRESETS if "base_url" not in PRESETS[name]} == set(EXAMPLES)


@each_preset
def test_addresses(name: str) -> None:
    """Providers in the cloud have https; a server of one's own is on this machine."""
    parts = urlsplit(base_url(name))
    assert (parts.scheme == "https") is (parts.hostname != "127.0.0.1")


def test_settings_override_a_preset(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What the user writes wins; tables are merged by name; the origin of each value is known."""
    file = tmp_path / "hub.toml"
    file.write_text(
        """
        [upstreams.a]
        preset = "mistral"
        base_url = "http://proxy.internal/v1"
        omit = ["x"]
        rename = { seed = "my_seed" }
        body = { safe_prompt = true }
        [upstreams.b]
        preset = "vllm"
        body = { top_k = 5 }
        """
    )
    monkeypatch.setenv("HUB_UPSTREAMS__A__API_KEY_HEADER", "x-key")
    loaded = load_settings(file)
    a, b = loaded.settings.upstreams["a"], loaded.settings.upstreams["b"]
    assert (a.base_url, a.omit, a.api_key_header) == ("http://proxy.internal/v1", ("x",), "x-key")
    assert a.rename == {"max_completion_tokens": "max_tokens", "seed": "my_seed"}
    assert set(b.body) == {"stream_options", "top_k"}
    origins = loaded.origins
    assert origins["upstreams.a.base_url"] == str(file)
    assert origins["upstreams.a.rename.max_completion_tokens"] == "preset mistral"
    assert origins["upstreams.b.base_url"] == "preset vllm"


@pytest.mark.parametrize(
    ("spelling", "name"),
    [("llama.cpp", "llama-cpp"), ("Llama_CPP", "llama-cpp"), ("LM Studio", "lm-studio")],
)
def test_spelling(spelling: str, name: str) -> None:
    """The name of a preset is found in any spelling."""
    assert Upstream.model_validate({"preset": spelling}).preset == name


@pytest.mark.parametrize(
    ("preset", "expected"),
    [
        ("azure", "needs base_url, such as https://YOUR-RESOURCE.openai.azure.com/openai/v1"),
        ("cloudflare", "needs base_url, such as https://api.cloudflare.com/client/v4/accounts/"),
        (
            "asure",
            "(HUB_UPSTREAMS__A__PRESET) is wrong: Input should be 'anthropic', 'azure'",
        ),
        ("7", "upstreams.a.preset"),
    ],
)
def test_wrong_preset(preset: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error is one sentence that says what to write."""
    monkeypatch.setenv("HUB_UPSTREAMS__A__PRESET", preset)
    with pytest.raises(OperatorError, match=re.escape(expected)):
        load_settings()
