"""The form of a response is recognised by its bytes, whatever its content type says."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.core.parts import Finished, Text
from hub.upstreams.ag_ui.dialect import AgUi
from hub.upstreams.ai_sdk.dialect import AiSdk
from hub.upstreams.dialect import Dialect
from hub.upstreams.framing import Form, recognize_form
from hub.upstreams.ollama import OllamaChat
from hub.upstreams.openai.chat import OpenAiChat
from hub.upstreams.reading.stream_reader import StreamReader
from tests.upstreams.kit import ReceivedRequest, Script, collect, collect_failure, scripted_server
from tests.upstreams.kit import send_chunks as send

TYPES = st.none() | st.sampled_from(
    ["text/event-stream", "text/plain", "application/octet-stream", "application/x-ndjson",
     "application/json", "application/stream+json", "text/html"]
)  # fmt: skip
TEXTS = st.lists(st.text(min_size=1, max_size=6), max_size=5)


def openai_chunks(texts: list[str]) -> list[dict[str, Any]]:
    deltas = [{"choices": [{"index": 0, "delta": {"content": text}}]} for text in texts]
    return [*deltas, {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}]


def ollama_chunks(texts: list[str]) -> list[dict[str, Any]]:
    deltas = [{"message": {"content": text}, "done": False} for text in texts]
    return [*deltas, {"message": {"content": ""}, "done": True, "done_reason": "stop"}]


def ag_ui_events(texts: list[str]) -> list[dict[str, Any]]:
    deltas = [{"type": "TEXT_MESSAGE_CONTENT", "messageId": "m", "delta": text} for text in texts]
    return [{"type": "RUN_STARTED"}, *deltas, {"type": "RUN_FINISHED"}]


def ai_sdk_chunks(texts: list[str]) -> list[dict[str, Any]]:
    deltas = [{"type": "text-delta", "id": "t", "delta": text} for text in texts]
    return [{"type": "start"}, *deltas, {"type": "finish"}]


DIALECTS: dict[str, tuple[Dialect, Callable[[list[str]], list[dict[str, Any]]]]] = {
    "openai": (OpenAiChat({}), openai_chunks),
    "ollama": (OllamaChat({}), ollama_chunks),
    "ag_ui": (AgUi({}), ag_ui_events),
    "ai_sdk": (AiSdk({}), ai_sdk_chunks),
}
LAYOUTS: dict[str, Callable[[str, str], str]] = {
    "server-sent events": lambda text, end: f"data: {text}{end}{end}",
    "server-sent events with names": lambda text, end: (
        f"event:x{end}id:7{end}data:{text}{end}{end}"
    ),
    "lines of JSON": lambda text, end: text + end,
    "JSON without line ends": lambda text, end: text,
}


def read(dialect: Dialect, given_type: str | None, chunks: list[bytes]) -> str:
    """Return the text of a finished answer; the framing must not refuse any of its starts."""
    head = b""
    for chunk in chunks:
        head += chunk
        assert dialect.framing.accepts(given_type, head) in (None, True)
    reader = StreamReader(dialect, 10_000, ())
    parts = [part for chunk in chunks for part in reader.feed(chunk)]
    parts += [*reader.end(), *reader.finish()]
    assert reader.failure is None
    assert parts[-1] == Finished("stop")
    return "".join(part.text for part in parts if isinstance(part, Text))


@given(
    name=st.sampled_from(sorted(DIALECTS)),
    layout=st.sampled_from(sorted(LAYOUTS)),
    given_type=TYPES,
    texts=TEXTS,
    line_end=st.sampled_from(["\n", "\r\n"]),
    before=st.sampled_from([b"", b"\n\n", b"\xef\xbb\xbf", b" \r\n"]),
    cuts=st.lists(st.integers(0, 400), max_size=9),
    indent=st.sampled_from([None, 1]),
)
def test_any_form_under_any_type(
    name: str,
    layout: str,
    given_type: str | None,
    texts: list[str],
    line_end: str,
    before: bytes,
    cuts: list[int],
    indent: int | None,
) -> None:
    """The same chunks give the same answer in each form, under each content type, however split."""
    dialect, build_chunks = DIALECTS[name]
    if layout.startswith("server-sent"):
        indent = None
    encoded = [json.dumps(chunk, indent=indent) for chunk in build_chunks(texts)]
    stream = before + "".join(LAYOUTS[layout](text, line_end) for text in encoded).encode()
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    chunks = [stream[a:b] for a, b in itertools.pairwise(edges) if a < b]
    assert read(dialect, given_type, chunks) == "".join(texts)


@pytest.mark.parametrize(
    ("head", "form"),
    [
        (b"", None),
        (b"\r\n\xef\xbb\xbf ", None),
        (b"dat", None),
        (b"data", None),
        (b"data\n", Form.SSE),
        (b"data:", Form.SSE),
        (b"retry:5", Form.SSE),
        (b": hello", Form.SSE),
        (b'\n{"a"', Form.JSON),
        (b"[{", Form.JSON),
        (b"<!doctype html>", Form.MARKUP),
        (b"database is down", Form.OTHER),
        (b"events", Form.OTHER),
        (b"upstream connect error", Form.OTHER),
    ],
)
def test_form(head: bytes, form: Form | None) -> None:
    """A field name must be complete; a word that only begins like one is text."""
    assert recognize_form(head) is form


def reply(content_type: str | None, body: bytes, status: str = "200 OK") -> Script:
    type_line = f"Content-Type: {content_type}\r\n" if content_type else ""
    head = f"HTTP/1.1 {status}\r\n{type_line}Content-Length: {len(body)}\r\n\r\n"
    return send(head.encode() + body)


@pytest.mark.parametrize("content_type", [None, "text/plain", "application/octet-stream"])
async def test_stream_under_a_wrong_type(content_type: str | None) -> None:
    """Over HTTP: server-sent events without a content type, or with a guessed one, are read."""
    stream = b"".join(b"data: " + json.dumps(c).encode() + b"\n\n" for c in openai_chunks(["a"]))
    async with scripted_server(reply(content_type, stream)) as url:
        assert await collect(url) == [Text("a"), Finished("stop")]


@pytest.mark.parametrize(
    ("content_type", "body", "message"),
    [
        (None, b"backend is down", "the upstream answered instead of sending a stream"),
        (None, b"backend is down", "backend is down"),
        ("text/html", b"<html><title>Sign in</title>", "with text/html instead"),
        ("text/html", b"<html><title>Sign in</title>", "“<html><title>Sign in</title>”"),
        ("text/plain", b"x" * 500, "x" * 100),
    ],
)
async def test_response_that_is_no_stream(
    content_type: str | None, body: bytes, message: str
) -> None:
    """The error quotes the first characters, and names only a content type that was sent."""
    error = await collect_failure(reply(content_type, body))
    assert (error.code, error.retryable) == ("upstream_protocol", False)
    assert message in error.message
    assert "octet-stream" not in error.message
    assert len(error.message) < 400


async def test_stream_with_another_status_of_success() -> None:
    """A stream is read under each status of success; under another one it is an error."""
    stream = b"".join(b"data: " + json.dumps(c).encode() + b"\n\n" for c in openai_chunks(["a"]))
    async with scripted_server(reply("text/event-stream", stream, "201 Created")) as url:
        assert await collect(url) == [Text("a"), Finished("stop")]
    error = await collect_failure(reply("text/event-stream", stream, "307 Moved"))
    assert (error.code, error.status) == ("upstream_status", 307)
    error = await collect_failure(reply("text/html", b"<html>", "201 Created"))
    assert error.code == "upstream_protocol"


@pytest.mark.parametrize(
    "body", [b'{"code":401,"msg":"token expired"}', b'data: {"code":401,"msg":"token expired"}\n\n']
)
async def test_json_that_is_no_answer(body: bytes) -> None:
    """An event that is no part of an answer, in a stream without an end, is told as the error."""
    error = await collect_failure(reply("application/json", body))
    assert (error.code, error.retryable) == ("upstream_error", False)
    assert error.message == "the upstream reported an error: token expired"


async def test_quoted_data_has_no_secrets() -> None:
    """A key in data that cannot be read is masked before the data is shortened."""
    body = b"data: {oops " + b"y" * 80 + b" key-4711-abcdef\n\n"
    error = await collect_failure(reply(None, body), headers={"X-Key": "key-4711-abcdef"})
    assert error.code == "upstream_protocol"
    assert "“{oops yyy" in error.message
    assert "key-4" not in error.message


async def test_accept_header() -> None:
    """The Accept header prefers the stream and allows JSON, so that Spring can write its errors."""
    received = ReceivedRequest()
    stream = b"".join(b"data: " + json.dumps(c).encode() + b"\n\n" for c in openai_chunks(["a"]))
    async with scripted_server(reply(None, stream), received) as url:
        await collect(url)
    assert b"Accept: text/event-stream, application/json;q=0.9, */*;q=0.1\r\n" in received.head
