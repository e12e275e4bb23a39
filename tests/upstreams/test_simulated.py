"""The simulated LLM: deterministic, labelled as simulated, with faults on demand."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from hub.errors import OperatorError
from hub.http.server import ListenAddress, listen
from hub.upstreams.simulated.answers import choose_answer, split_tokens
from hub.upstreams.simulated.server import SimulatedUpstream
from tests.defaults import simulation

PROMPTS = [
    "why is the sky blue?",
    "为什么天空是蓝色的？",
    "你好",
    "a haiku",
    "count to 30",
    "long?",
    "",
]


@pytest.mark.parametrize("prompt", PROMPTS)
def test_tokens_join_to_the_answer(prompt: str) -> None:
    """The answer is always the same, its tokens join to it, and it is labelled as simulated."""
    answer = choose_answer(prompt)
    assert answer == choose_answer(prompt)
    assert "".join(split_tokens(answer)) == answer
    assert max(map(len, split_tokens(answer))) <= 20
    assert answer.splitlines()[-1] in ("(simulated answer)", "（模拟回答）")


def test_answers_have_lines_and_emoji_in_two_languages() -> None:
    """An English prompt gets an English answer, and a Chinese prompt a Chinese one."""
    assert "🌅" in choose_answer("why is the sky blue?")
    assert choose_answer("为什么天空是蓝色的？").count("\n") > 4
    assert "模拟模型" in choose_answer("你好")


@asynccontextmanager
async def server(fault: str | None = None) -> AsyncIterator[tuple[aiohttp.ClientSession, str]]:
    quick = simulation(tokens_per_second=5000.0, first_token_seconds=0.0, fault=fault)
    app = SimulatedUpstream(quick).app()
    address = ListenAddress("127.0.0.1", 0, "x")
    async with (
        listen(app, address, cancel_handlers=True, shutdown_timeout_seconds=0.1) as port,
        aiohttp.ClientSession() as session,
    ):
        yield session, f"http://127.0.0.1:{port}/v1"


async def complete(session: aiohttp.ClientSession, url: str, **fields: Any) -> tuple[int, bytes]:
    body = {"model": "simulated-1", "messages": [{"role": "user", "content": "你好"}], **fields}
    async with session.post(f"{url}/chat/completions", json=body) as response:
        assert response.headers["X-Simulated"] == "true"
        return response.status, await response.read()


async def test_completion_and_models() -> None:
    """Without `stream` the answer is one JSON object; /models lists the model."""
    async with server() as (session, url):
        status, body = await complete(session, url)
        async with session.get(f"{url}/models") as response:
            models = await response.json()
    assert status == 200
    assert '"object":"chat.completion"' in body.decode()
    assert models["data"][0]["id"] == "simulated-1"


async def test_usage_only_when_asked_for() -> None:
    """Usage is sent only on request, and [DONE] is last, as with OpenAI."""
    async with server() as (session, url):
        _, without = await complete(session, url, stream=True)
        options = {"include_usage": True}
        _, with_usage = await complete(session, url, stream=True, stream_options=options)
    assert b'"usage"' not in without
    assert with_usage.count(b'"usage"') == 1
    assert with_usage.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("body", [b"{", b"{}", b'{"messages":[]}', b"\xff"])
async def test_bad_body(body: bytes) -> None:
    """An invalid body gets a 400 in the form of OpenAI."""
    async with (
        server() as (session, url),
        session.post(f"{url}/chat/completions", data=body) as response,
    ):
        assert response.status == 400
        assert "message" in (await response.json())["error"]


@pytest.mark.parametrize(
    ("path", "status"), [("/healthz", 200), ("/stats", 200), ("/v1/models", 200), ("/no", 404)]
)
async def test_every_response_is_labelled(path: str, status: int) -> None:
    """Every response is labelled, also those that aiohttp sends itself."""
    async with (
        server() as (session, url),
        session.get(url.removesuffix("/v1") + path) as response,
    ):
        assert (response.status, response.headers["X-Simulated"]) == (status, "true")


async def test_faults() -> None:
    """Each fault has the described effect."""
    async with server("refuse") as (session, url):
        assert (await complete(session, url, stream=True))[0] == 503
    async with server("status:418") as (session, url):
        assert (await complete(session, url, stream=True))[0] == 418
    async with server("truncate:3") as (session, url):
        _, body = await complete(session, url, stream=True)
        assert (body.count(b'"content"'), b"[DONE]" in body) == (4, False)
    async with server("error:3") as (session, url):
        _, body = await complete(session, url, stream=True)
        assert b'"error"' in body
    async with server("cut:3") as (session, url):
        with pytest.raises(aiohttp.ClientPayloadError):
            await complete(session, url, stream=True)


@pytest.mark.parametrize("fault", ["nonsense", "cut", "cut:x", "refuse:1", "status:"])
def test_unknown_fault(fault: str) -> None:
    """An unknown fault is refused with a list of the known ones."""
    with pytest.raises(OperatorError, match="use one of refuse, hang"):
        SimulatedUpstream(simulation(fault=fault))
