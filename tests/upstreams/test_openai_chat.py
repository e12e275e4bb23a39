"""OpenAI's wire format against real servers: the parts of an answer, and every failure."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import aiohttp
import pytest

from hub.core.generation import GenerationRequest, Message
from hub.core.parts import Finished, Reasoning, Text, ToolCallDelta, Usage
from hub.errors import UpstreamError
from hub.http.server import ListenAddress, listen
from hub.upstreams.openai.chat import OpenAiChat
from hub.upstreams.reading.stream_reader import StreamReader
from hub.upstreams.simulated.server import SimulatedUpstream
from tests.defaults import simulation, upstream_timeouts
from tests.upstreams.kit import (
    HEAD,
    REQUEST,
    ReceivedRequest,
    Script,
    build_upstream,
    collect,
    collect_failure,
    iterate_parts,
    scripted_server,
    send_chunks,
)


def data(**chunk: Any) -> bytes:
    return b"data: " + json.dumps(chunk, ensure_ascii=False).encode() + b"\n\n"


def delta(finish_reason: str | None = None, **fields: Any) -> bytes:
    return data(choices=[{"index": 0, "delta": fields, "finish_reason": finish_reason}])


@asynccontextmanager
async def simulated(**options: Any) -> AsyncIterator[tuple[str, SimulatedUpstream]]:
    options = {"tokens_per_second": 5000.0, "first_token_seconds": 0.0, **options}
    server = SimulatedUpstream(simulation(**options))
    address = ListenAddress("127.0.0.1", 0, "x")
    async with listen(
        server.app(), address, cancel_handlers=True, shutdown_timeout_seconds=0.1
    ) as port:
        yield f"http://127.0.0.1:{port}/v1", server


@pytest.mark.parametrize("network_chunk_bytes", [None, 7])
async def test_text_in_any_language(network_chunk_bytes: int | None) -> None:
    """Characters split over network chunks arrive complete, then usage and the end.

    Chunks of 7 bytes cut characters of 3 and of 4 bytes at each of their bytes.
    """
    async with simulated(network_chunk_bytes=network_chunk_bytes) as (url, _):
        parts = await collect(url)
    text = "".join(part.text for part in parts if isinstance(part, Text))
    assert text.startswith("天空是蓝色的，因为空气")
    assert "🌤️\n日落时" in text
    assert text.endswith("（模拟回答）")
    assert isinstance(parts[-2], Usage)
    assert parts[-1] == Finished("stop")


async def test_fields_of_a_chunk() -> None:
    """Reasoning under both names, tool calls, empty, null and unknown fields are read."""
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
    async with scripted_server(send_chunks(HEAD, *chunks)) as url:
        assert await collect(url) == [
            Reasoning("hm"),
            Reasoning("so"),
            Text("Hi"),
            Usage({"total_tokens": 3}),
            ToolCallDelta([{**call, "function": {"name": "f", "arguments": "{}"}}]),
            Finished("tool_calls"),
        ]


async def test_request() -> None:
    """Parameters add fields but do not override model, messages and stream; headers are sent."""
    received = ReceivedRequest()
    params = {"temperature": 0.2, "stream": False, "messages": [], "stream_options": None}
    request = GenerationRequest([Message("user", "hi")], upstream="u", model="m", params=params)
    async with scripted_server(send_chunks(HEAD, delta("stop")), received) as url:
        await collect(url, request, headers={"Authorization": "Bearer sk-1", "X-Team": "t"})
    assert received.body == {
        "model": "m",
        "messages": [{"role": "user", "content": "hi"}],
        "temperature": 0.2,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    assert b"POST /v1/chat/completions" in received.head
    assert b"Authorization: Bearer sk-1" in received.head
    assert b"X-Team: t" in received.head


def answer(status: str, content_type: str, body: bytes) -> Script:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\n"
    return send_chunks(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)


@pytest.mark.parametrize(
    ("script", "code", "retryable", "message"),
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
            "upstream_error",
            True,
            "no such model",
        ),
        (answer("200 OK", "text/html", b"<html>"), "upstream_protocol", False, "text/html"),
        (
            send_chunks(b"SSH-2.0-nonsense\r\n\r\n"),
            "upstream_protocol",
            False,
            "did not answer with valid HTTP",
        ),
        (
            send_chunks(HEAD, b"data: {nonsense\n\n"),
            "upstream_protocol",
            False,
            "not a valid event",
        ),
        (
            send_chunks(HEAD, b'data: "text"\n\n'),
            "upstream_truncated",
            True,
            "before the answer was finished",
        ),
        (
            send_chunks(HEAD, delta(content="a"), data(error={"message": "overloaded"})),
            "upstream_error",
            True,
            "overloaded",
        ),
        (send_chunks(HEAD, data(error="broken")), "upstream_error", True, "broken"),
        (send_chunks(HEAD, data(error={"code": 5})), "upstream_error", True, "the upstream failed"),
        (
            send_chunks(HEAD, b'data: {"usage":{"a":' + b"[" * 9999 + b"\n\n"),
            "upstream_protocol",
            False,
            "not a valid event",
        ),
        (answer("425 Early", "text/plain", b""), "upstream_status", False, "answered 425"),
        (answer("500 Oh", "text/plain", b"x" * 99_999), "upstream_status", True, "500: xxx"),
        (
            send_chunks(
                b"HTTP/1.1 503 Busy\r\nContent-Type: text/plain\r\nContent-Length: 9\r\n\r\ncut"
            ),
            "upstream_status",
            True,
            "answered 503: cut",
        ),
        (
            send_chunks(HEAD, delta(content="a")),
            "upstream_truncated",
            True,
            "before the answer was finished",
        ),
        (
            send_chunks(HEAD, b"data: [DONE]\n\n"),
            "upstream_truncated",
            True,
            "before the answer was finished",
        ),
        (send_chunks(HEAD), "upstream_truncated", True, "before the answer was finished"),
        (send_chunks(b""), "upstream_truncated", True, "closed the connection"),
        (
            send_chunks(
                HEAD.replace(b"Connection: close", b"Content-Length: 999"), delta(content="a")
            ),
            "upstream_truncated",
            True,
            "closed the connection",
        ),
    ],
)
async def test_failure(script: Script, code: str, retryable: bool, message: str) -> None:
    """Each failure has a code, the retryable flag, and a message of one line."""
    error = await collect_failure(script)
    assert (error.code, error.retryable) == (code, retryable)
    assert message in error.message
    assert error.message.isprintable()
    assert len(error.message) < 400


@pytest.mark.parametrize(
    "text_with_key",
    ["no key sk-live-4711abcd here", "no key azure-99887766 here", "no key sk-liv****abcd here"],
)
@pytest.mark.parametrize("in_stream", [False, True])
async def test_keys_are_never_shown(text_with_key: str, in_stream: bool) -> None:
    """A key that the upstream echoes, complete or half masked, is removed from the message."""
    body = json.dumps({"error": {"message": text_with_key}}).encode()
    refusal = answer("401 No", "application/json", body)
    script = send_chunks(HEAD, b"data: " + body + b"\n\n") if in_stream else refusal
    headers = {"api-key": "azure-99887766", "Authorization": "Bearer sk-live-4711abcd"}
    error = await collect_failure(script, headers=headers)
    assert error.message.endswith("no key *** here")


async def test_key_at_the_edge_of_the_shown_text() -> None:
    """Keys are removed before the text is shortened, so that no part of one remains."""
    text_with_key = b"x" * 290 + b" azure-99887766"
    error = await collect_failure(
        answer("401 No", "text/plain", text_with_key), headers={"k": "azure-99887766"}
    )
    assert "azure" not in error.message


async def test_status_whose_body_never_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """The status is reported although the body of the error never ends."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 429 Slow\r\nContent-Length: 999\r\n\r\nwait")
        await reader.read()

    monkeypatch.setattr("hub.upstreams.http.client._ERROR_BODY_TIMEOUT_SECONDS", 0.1)
    error = await collect_failure(script)
    assert (error.code, error.retryable) == ("upstream_status", True)


async def test_character_split_over_two_network_chunks() -> None:
    """The second half is sent after the client read the first; the character is complete."""
    first_seen = asyncio.Event()
    head, tail = delta(content="天").split("天".encode()[1:2])

    async def script(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD + delta(content="a") + head)
        await first_seen.wait()
        writer.write("天".encode()[1:2] + tail + delta("stop"))

    parts = []
    async with scripted_server(script) as url, aiohttp.ClientSession() as session:
        upstream = build_upstream(session, url)
        async for part in iterate_parts(upstream.stream(REQUEST)):
            parts.append(part)
            first_seen.set()
    assert parts == [Text("a"), Text("天"), Finished("stop")]


async def test_parts_before_an_oversized_line_are_kept() -> None:
    """A part in the same network chunk as an endless line is yielded before the error."""
    parts = []
    stream = HEAD + delta(content="a") + b"x" * 2048
    async with scripted_server(send_chunks(stream)) as url, aiohttp.ClientSession() as session:
        upstream = build_upstream(session, url, max_event_bytes=1024)
        with pytest.raises(UpstreamError, match="too large"):
            async for part in iterate_parts(upstream.stream(REQUEST)):
                parts.append(part)  # noqa: PERF401 - the parts before the error are checked
    assert parts == [Text("a")]


async def test_cut_after_the_finish_is_complete() -> None:
    """The finish reason arrived, so a lost [DONE] does not matter."""
    head = HEAD.replace(b"Connection: close", b"Content-Length: 999")
    async with scripted_server(send_chunks(head, delta("stop", content="all"))) as url:
        assert await collect(url) == [Text("all"), Finished("stop")]


async def test_refused_connection() -> None:
    """A refused connection is upstream_unreachable; the message contains no address."""
    async with scripted_server(send_chunks()) as url:
        pass
    with pytest.raises(UpstreamError) as caught:
        await collect(url)
    assert (caught.value.code, caught.value.retryable) == ("upstream_unreachable", True)
    assert caught.value.message == "the upstream is unreachable: Connection refused"


@pytest.mark.parametrize("before", [(), (HEAD,), (HEAD, delta(content="a"))])
async def test_silence(before: tuple[bytes, ...]) -> None:
    """Silence before the first byte or later is upstream_timeout after the limit."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"".join(before))
        await reader.read()

    timeouts = upstream_timeouts(first_byte_seconds=0.1, idle_seconds=0.1)
    assert (await collect_failure(script, timeouts=timeouts)).code == "upstream_timeout"


async def test_total_timeout_ends_an_endless_answer() -> None:
    """total_seconds ends an answer that idle_seconds does not."""

    async def script(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD)
        while not writer.transport.is_closing():
            writer.write(delta(content="a"))
            await asyncio.sleep(0.01)

    error = await collect_failure(
        script, timeouts=upstream_timeouts(total_seconds=0.2, idle_seconds=0.1)
    )
    assert error.code == "upstream_timeout"


async def test_time_of_the_reader_does_not_count() -> None:
    """The time that the consumer takes does not count for the timeouts."""
    timeouts = upstream_timeouts(first_byte_seconds=60.0, idle_seconds=0.5)
    async with (
        scripted_server(send_chunks(HEAD, delta(content="a"), delta("stop"))) as url,
        aiohttp.ClientSession() as session,
    ):
        upstream = build_upstream(session, url, timeouts=timeouts)
        parts = []
        async for part in iterate_parts(upstream.stream(REQUEST)):
            parts.append(part)
            await asyncio.sleep(0.7)
    assert parts == [Text("a"), Finished("stop")]


async def test_endless_line() -> None:
    """A line of 10 MB without an end is refused."""
    error = await collect_failure(send_chunks(HEAD, *[b"x" * 2**20] * 10), max_event_bytes=2**20)
    assert error.code == "upstream_too_large"


@pytest.mark.parametrize("reason", [None, "stop"])
def test_events_before_an_endless_line(reason: str | None) -> None:
    """All events of a chunk count that stand before a line that is too long."""
    texts = [delta(content=text) for text in "abc"]
    reader = StreamReader(OpenAiChat({}), 1000, ())
    parts = reader.feed(b"".join([*texts, delta(reason), b"data: " + b"x" * 1001]))
    assert parts == [Text("a"), Text("b"), Text("c")]
    assert (reader.failure is None) is (reason is not None)  # a finished answer is complete


@pytest.mark.parametrize("has_started", [False, True])
async def test_cancelling_closes_the_connection(has_started: bool) -> None:
    """Cancelling the reader disconnects from the server, before the first byte and after it."""
    ready, disconnected = asyncio.Event(), asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if has_started:
            writer.write(HEAD + delta(content="a"))
        else:
            ready.set()
        await reader.read()
        disconnected.set()

    async def read(base_url: str) -> None:
        async with aiohttp.ClientSession() as session:
            upstream = build_upstream(session, base_url)
            async with aclosing(upstream.stream(REQUEST)) as stream:
                async for _ in stream:
                    ready.set()

    async with scripted_server(script) as url, asyncio.TaskGroup() as tasks:
        reading = tasks.create_task(read(url))
        await ready.wait()
        reading.cancel()
        async with asyncio.timeout(60):
            await disconnected.wait()


async def test_closing_closes_the_connection() -> None:
    """Closing the stream disconnects from the server at once, which then stops."""
    async with simulated(tokens_per_second=50.0) as (url, _), aiohttp.ClientSession() as session:
        upstream = build_upstream(session, url)
        async with aclosing(upstream.stream(REQUEST)) as stream:
            await anext(stream)
        stats = {"cut": 0}
        async with asyncio.timeout(60):
            while stats["cut"] != 1:
                async with session.get(url.removesuffix("/v1") + "/stats") as response:
                    stats = await response.json()
    assert stats == {"started": 1, "running": 0, "cut": 1, "continued": 0, "cancelled": 0}


async def test_total_time_of_a_stream_that_never_pauses() -> None:
    """The total timeout also ends a stream that always has more data to read."""
    timeouts = upstream_timeouts(total_seconds=0.3)
    async with simulated(fault="endless") as (url, _), aiohttp.ClientSession() as session:
        upstream = build_upstream(session, url, timeouts=timeouts)
        async with asyncio.timeout(60):
            with pytest.raises(UpstreamError, match="took too long") as caught:
                async for _ in upstream.stream(REQUEST):
                    await asyncio.sleep(0.05)  # like a relay, while more data arrives
        assert caught.value.code == "upstream_timeout"


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(b"7", 7.0), (b"soon", None), (b"\xb2", None), (b"-1", None), (b"9" * 30, float("9" * 30))],
)
async def test_retry_after_of_any_form(value: bytes, seconds: float | None) -> None:
    """Digits are seconds; a value that is neither seconds nor a date is ignored."""
    head = b"HTTP/1.1 503 No\r\nRetry-After: " + value + b"\r\nContent-Length: 0\r\n\r\n"
    error = await collect_failure(send_chunks(head))
    assert (error.code, error.retry_after_seconds) == ("upstream_status", seconds)
