"""OpenAI's wire format against real servers: what arrives, and each way in which it fails."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import aiohttp
import pytest

from hub.core.generation import GenerationRequest, Message
from hub.core.stream_parts import Finished, ReasoningDelta, TextDelta, ToolCallDelta, Usage
from hub.errors import UpstreamError
from hub.http.server import ListenAddress, listen
from hub.upstreams.http_client import UpstreamTimeouts
from hub.upstreams.simulated import SimulatedUpstream, Simulation
from tests.upstreams.kit import (
    HEAD,
    QUESTION,
    Asked,
    Script,
    ask,
    failure,
    one_by_one,
    scripted,
    sends,
    upstream_at,
)


def data(**chunk: Any) -> bytes:
    return b"data: " + json.dumps(chunk, ensure_ascii=False).encode() + b"\n\n"


def delta(finish_reason: str | None = None, **fields: Any) -> bytes:
    return data(choices=[{"index": 0, "delta": fields, "finish_reason": finish_reason}])


@asynccontextmanager
async def simulated(**options: Any) -> AsyncIterator[tuple[str, SimulatedUpstream]]:
    options = {"tokens_per_second": 5000.0, "first_token_seconds": 0.0, **options}
    server = SimulatedUpstream(Simulation(**options))
    place = ListenAddress("127.0.0.1", 0, "x")
    async with listen(
        server.app(), place, cancel_handlers=True, shutdown_timeout_seconds=0.1
    ) as port:
        yield f"http://127.0.0.1:{port}/v1", server


@pytest.mark.parametrize("network_chunk_bytes", [None, 1, 2, 7])
async def test_text_in_any_language(network_chunk_bytes: int | None) -> None:
    """Characters and emoji that are split over network chunks arrive whole; usage, then Finish."""
    async with simulated(network_chunk_bytes=network_chunk_bytes) as (url, _):
        pieces = await ask(url)
    text = "".join(piece.text for piece in pieces if isinstance(piece, TextDelta))
    assert text.startswith("天空是蓝色的，因为空气")
    assert "🌤️\n日落时" in text
    assert text.endswith("（模拟回答）")
    assert isinstance(pieces[-2], Usage)
    assert pieces[-1] == Finished("stop")


async def test_every_field_that_speaks() -> None:
    """Reasoning under both names, tool calls, empty and null fields, unknown ones."""
    call = {"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": ""}}
    chunks = [
        b": keep-alive\r\n\r\n",
        delta(role="assistant", content=""),
        delta(reasoning_content="hm"),
        delta(reasoning="so", content=None),
        data(choices=[], usage=None, obfuscation="xx"),
        delta(content="Hi"),
        data(choices=[{"index": 1, "delta": {"content": "another answer"}}]),
        delta(tool_calls=[call]),
        delta("tool_calls"),
        data(choices=[], usage={"total_tokens": 3}),
        b"data: [DONE]\n\n",
    ]
    async with scripted(sends(HEAD, *chunks)) as url:
        assert await ask(url) == [
            ReasoningDelta("hm"),
            ReasoningDelta("so"),
            TextDelta("Hi"),
            ToolCallDelta([call]),
            Usage({"total_tokens": 3}),
            Finished("tool_calls"),
        ]


async def test_what_is_asked() -> None:
    """Model, messages, stream and usage; params may add and not override; the key is sent."""
    asked = Asked()
    params = {"temperature": 0.2, "stream": False, "messages": [], "stream_options": None}
    question = GenerationRequest([Message("user", "hi")], upstream="u", model="m", params=params)
    async with scripted(sends(HEAD, delta("stop")), asked) as url:
        await ask(url, question, headers={"Authorization": "Bearer sk-1", "X-Team": "t"})
    assert asked.body == {
        "model": "m",
        "messages": [{"role": "user", "content": "hi"}],
        "temperature": 0.2,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    assert b"POST /v1/chat/completions" in asked.head
    assert b"Authorization: Bearer sk-1" in asked.head
    assert b"X-Team: t" in asked.head


def answer(status: str, content_type: str, body: bytes) -> Script:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\n"
    return sends(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)


@pytest.mark.parametrize(
    ("script", "code", "retryable", "says"),
    [
        (
            answer("429 Too Many", "application/json", b'{"error":{"message":"slow\\ndown"}}'),
            "upstream_status",
            True,
            "answered 429: slow down",
        ),
        (answer("401 No", "text/plain", b"bad key"), "upstream_status", False, "401: bad key"),
        (answer("500 Oh", "text/html", b"<html>x"), "upstream_status", True, "answered 500"),
        (answer("302 To", "text/plain", b""), "upstream_status", False, "answered 302"),
        (
            answer("200 OK", "application/json", b'{"error":"no such model"}'),
            "upstream_protocol",
            False,
            "no such model",
        ),
        (answer("200 OK", "text/html", b"<html>"), "upstream_protocol", False, "text/html"),
        (
            sends(b"SSH-2.0-nonsense\r\n\r\n"),
            "upstream_protocol",
            False,
            "did not answer with valid HTTP",
        ),
        (sends(HEAD, b"data: {nonsense\n\n"), "upstream_protocol", False, "not a valid event"),
        (
            sends(HEAD, b'data: "text"\n\n'),
            "upstream_truncated",
            True,
            "before the answer was finished",
        ),
        (
            sends(HEAD, delta(content="a"), data(error={"message": "overloaded"})),
            "upstream_error",
            True,
            "overloaded",
        ),
        (sends(HEAD, data(error="broken")), "upstream_error", True, "broken"),
        (sends(HEAD, data(error={"code": 5})), "upstream_error", True, "the upstream failed"),
        (
            sends(HEAD, b'data: {"usage":{"a":' + b"[" * 9999 + b"\n\n"),
            "upstream_protocol",
            False,
            "not a valid event",
        ),
        (answer("425 Early", "text/plain", b""), "upstream_status", False, "answered 425"),
        (answer("500 Oh", "text/plain", b"x" * 99_999), "upstream_status", True, "500: xxx"),
        (
            sends(b"HTTP/1.1 503 Busy\r\nContent-Type: text/plain\r\nContent-Length: 9\r\n\r\ncut"),
            "upstream_status",
            True,
            "answered 503: cut",
        ),
        (
            sends(HEAD, delta(content="a")),
            "upstream_truncated",
            True,
            "before the answer was finished",
        ),
        (
            sends(HEAD, b"data: [DONE]\n\n"),
            "upstream_truncated",
            True,
            "before the answer was finished",
        ),
        (sends(HEAD), "upstream_truncated", True, "before the answer was finished"),
        (sends(b""), "upstream_truncated", True, "closed the connection"),
        (
            sends(HEAD.replace(b"Connection: close", b"Content-Length: 999"), delta(content="a")),
            "upstream_truncated",
            True,
            "closed the connection",
        ),
    ],
)
async def test_failure(script: Script, code: str, retryable: bool, says: str) -> None:
    """Each has its code, whether a retry may help, and one line for a person."""
    error = await failure(script)
    assert (error.code, error.retryable) == (code, retryable)
    assert says in error.message
    assert error.message.isprintable()
    assert len(error.message) < 400


@pytest.mark.parametrize(
    "said",
    ["no key sk-live-4711abcd here", "no key azure-99887766 here", "no key sk-liv****abcd here"],
)
@pytest.mark.parametrize("in_stream", [False, True])
async def test_keys_are_never_shown(said: str, in_stream: bool) -> None:
    """An upstream that echoes the key, whole or half masked, does not show it to a user."""
    body = json.dumps({"error": {"message": said}}).encode()
    refusal = answer("401 No", "application/json", body)
    script = sends(HEAD, b"data: " + body + b"\n\n") if in_stream else refusal
    headers = {"api-key": "azure-99887766", "Authorization": "Bearer sk-live-4711abcd"}
    error = await failure(script, headers=headers)
    assert error.message.endswith("no key *** here")


async def test_key_at_the_edge_of_the_shown_text() -> None:
    """Keys are taken out before the text is shortened, so that no half of one is left."""
    said = b"x" * 290 + b" azure-99887766"
    error = await failure(answer("401 No", "text/plain", said), headers={"k": "azure-99887766"})
    assert "azure" not in error.message


async def test_status_whose_body_never_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """The status counts, not the wait for what else the upstream would say."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 429 Slow\r\nContent-Length: 999\r\n\r\nwait")
        await reader.read()

    monkeypatch.setattr("hub.upstreams.http_client._ERROR_BODY_TIMEOUT_SECONDS", 0.1)
    error = await failure(script)
    assert (error.code, error.retryable) == ("upstream_status", True)


async def test_character_split_over_two_network_chunks() -> None:
    """The second half is sent only after the client has the first, and the character is whole."""
    first_seen = asyncio.Event()
    head, tail = delta(content="天").split("天".encode()[1:2])

    async def script(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD + delta(content="a") + head)
        await first_seen.wait()
        writer.write("天".encode()[1:2] + tail + delta("stop"))

    pieces = []
    async with scripted(script) as url, aiohttp.ClientSession() as session:
        upstream = upstream_at(
            session,
            url,
        )
        async for piece in one_by_one(upstream.stream(QUESTION)):
            pieces.append(piece)
            first_seen.set()
    assert pieces == [TextDelta("a"), TextDelta("天"), Finished("stop")]


async def test_what_came_before_too_much_is_kept() -> None:
    """A piece in the same network chunk as an endless line is yielded before the error."""
    pieces = []
    stream = HEAD + delta(content="a") + b"x" * 2048
    async with scripted(sends(stream)) as url, aiohttp.ClientSession() as session:
        upstream = upstream_at(
            session,
            url,
            max_event_bytes=1024,
        )
        with pytest.raises(UpstreamError, match="too large"):
            async for piece in one_by_one(upstream.stream(QUESTION)):
                pieces.append(piece)  # noqa: PERF401 - what came before the error is looked at
    assert pieces == [TextDelta("a")]


async def test_cut_after_the_finish_is_whole() -> None:
    """The upstream had said that it is done; what was lost is only [DONE]."""
    head = HEAD.replace(b"Connection: close", b"Content-Length: 999")
    async with scripted(sends(head, delta("stop", content="all"))) as url:
        assert await ask(url) == [TextDelta("all"), Finished("stop")]


async def test_nobody_there() -> None:
    """Refused connections are upstream_unreachable; the message names no address."""
    async with scripted(sends()) as url:
        pass
    with pytest.raises(UpstreamError) as caught:
        await ask(url)
    assert (caught.value.code, caught.value.retryable) == ("upstream_unreachable", True)
    assert caught.value.message == "the upstream is unreachable: Connection refused"


@pytest.mark.parametrize("before", [(), (HEAD,), (HEAD, delta(content="a"))])
async def test_silence(before: tuple[bytes, ...]) -> None:
    """Before the first byte or in the middle: upstream_timeout after the limit."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"".join(before))
        await reader.read()

    patience = UpstreamTimeouts(first_byte_seconds=0.1, idle_seconds=0.1)
    assert (await failure(script, patience=patience)).code == "upstream_timeout"


async def test_endless_answer_meets_the_total_limit() -> None:
    """total_seconds ends what idle_seconds does not."""

    async def script(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD)
        while not writer.transport.is_closing():
            writer.write(delta(content="a"))
            await asyncio.sleep(0.01)

    error = await failure(script, patience=UpstreamTimeouts(total_seconds=0.2, idle_seconds=0.1))
    assert error.code == "upstream_timeout"


async def test_time_of_the_reader_does_not_count() -> None:
    """A reader that is slower than the limits is no fault of the upstream."""
    patience = UpstreamTimeouts(first_byte_seconds=2.0, idle_seconds=0.5)
    async with (
        scripted(sends(HEAD, delta(content="a"), delta("stop"))) as url,
        aiohttp.ClientSession() as session,
    ):
        upstream = upstream_at(
            session,
            url,
            patience=patience,
        )
        pieces = []
        async for piece in one_by_one(upstream.stream(QUESTION)):
            pieces.append(piece)
            await asyncio.sleep(0.7)
    assert pieces == [TextDelta("a"), Finished("stop")]


async def test_endless_line() -> None:
    """10 MB without a line's end are not taken."""
    error = await failure(sends(HEAD, *[b"x" * 2**20] * 10), max_event_bytes=2**20)
    assert error.code == "upstream_too_large"


@pytest.mark.parametrize("begun", [False, True])
async def test_cancelling_closes_the_connection(begun: bool) -> None:
    """The server sees its reader go, before the first byte and in the middle of the answer."""
    ready, left = asyncio.Event(), asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if begun:
            writer.write(HEAD + delta(content="a"))
        else:
            ready.set()
        await reader.read()
        left.set()

    async def read(base_url: str) -> None:
        async with aiohttp.ClientSession() as session:
            upstream = upstream_at(
                session,
                base_url,
            )
            async with aclosing(upstream.stream(QUESTION)) as stream:
                async for _ in stream:
                    ready.set()

    async with scripted(script) as url, asyncio.TaskGroup() as tasks:
        reading = tasks.create_task(read(url))
        await ready.wait()
        reading.cancel()
        async with asyncio.timeout(30):
            await left.wait()


async def test_closing_closes_the_connection() -> None:
    """The server sees its reader go at once, and stops working."""
    async with simulated(tokens_per_second=50.0) as (url, _), aiohttp.ClientSession() as session:
        upstream = upstream_at(
            session,
            url,
        )
        async with aclosing(upstream.stream(QUESTION)) as stream:
            await anext(stream)
        stats = {"cut": 0}
        async with asyncio.timeout(30):
            while stats["cut"] != 1:
                async with session.get(url.removesuffix("/v1") + "/stats") as response:
                    stats = await response.json()
    assert stats == {"started": 1, "running": 0, "cut": 1}


async def test_total_time_of_a_stream_that_never_pauses() -> None:
    """It ends also when there is always something more to read."""
    patience = UpstreamTimeouts(total_seconds=0.3)
    async with simulated(fault="endless") as (url, _), aiohttp.ClientSession() as session:
        upstream = upstream_at(session, url, patience=patience)
        async with asyncio.timeout(30):
            with pytest.raises(UpstreamError, match="took too long") as caught:
                async for _ in upstream.stream(QUESTION):
                    await asyncio.sleep(0.05)  # as a relay does, while more comes
        assert caught.value.code == "upstream_timeout"


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(b"7", 7.0), (b"soon", None), (b"\xb2", None), (b"-1", None), (b"9" * 30, float("9" * 30))],
)
async def test_retry_after_of_any_form(value: bytes, seconds: float | None) -> None:
    """Digits are seconds; what is neither seconds nor a date says nothing."""
    head = b"HTTP/1.1 503 No\r\nRetry-After: " + value + b"\r\nContent-Length: 0\r\n\r\n"
    error = await failure(sends(head))
    assert (error.code, error.retry_after_seconds) == ("upstream_status", seconds)
