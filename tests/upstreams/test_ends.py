"""What ends the reading of an upstream: the finish, and comments without an answer."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterable, Sequence

import pytest
from structlog.testing import capture_logs

from hub.core.parts import Finished, Part, Text, Usage
from hub.upstreams.http.upstream import HttpUpstream
from tests.defaults import upstream_timeouts
from tests.upstreams.kit import (
    HEAD,
    REQUEST,
    Script,
    build_upstream,
    collect,
    collect_failure,
    iterate_parts,
    open_session,
    scripted_server,
    send_chunks,
)

TEXT = b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n'
STOP = b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n'
USAGE = b'data: {"choices":[],"usage":{"total_tokens":3}}\n\n'
TEXT_AND_STOP = TEXT.replace(b"}}]", b'},"finish_reason":"stop"}]')
DONE = b"data: [DONE]\n\n"


def send_and_hold(chunks: Iterable[bytes]) -> Script:
    """Return a script that sends the chunks and keeps the connection open until the client goes."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for chunk in chunks:
            writer.write(chunk)
            await writer.drain()
            await asyncio.sleep(0.005)  # so that each chunk is its own packet
        await reader.read()

    return script


@pytest.fixture
def set_grace(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Set how long the usage may follow the finish."""

    def set_seconds(seconds: float) -> None:
        defaults = HttpUpstream.__init__.__kwdefaults__
        assert defaults is not None
        monkeypatch.setitem(defaults, "finish_grace_seconds", seconds)

    return set_seconds


@pytest.mark.parametrize("beat", [b"", b": alive\n\n", b"data:\n\n"])
async def test_finish_ends_the_answer(beat: bytes, set_grace: Callable[[float], None]) -> None:
    """After the finish the answer ends, although the connection stays open."""
    set_grace(0.1)
    beats = itertools.repeat(beat) if beat else ()
    stream = itertools.chain([HEAD, TEXT, STOP], beats)
    async with scripted_server(send_and_hold(stream)) as url:
        with capture_logs() as logs:
            assert await collect(url) == [Text("a"), Finished("stop")]
    assert [(log["event"], log["upstream"]) for log in logs] == [("upstream.left_open", "u")]


async def test_usage_after_the_finish(set_grace: Callable[[float], None]) -> None:
    """The usage may follow the finish."""
    set_grace(30)
    stream = [HEAD, TEXT, STOP, b": alive\n\n", USAGE, b"data: [DONE]\n\n"]
    async with scripted_server(send_and_hold(stream)) as url:
        assert await collect(url) == [Text("a"), Usage({"total_tokens": 3}), Finished("stop")]


async def test_usage_for_ever_after_the_finish(set_grace: Callable[[float], None]) -> None:
    """An upstream that repeats the usage for ever does not keep the answer open."""
    set_grace(0.1)
    stream = itertools.chain([HEAD, TEXT, STOP + USAGE], itertools.repeat(USAGE))
    async with scripted_server(send_and_hold(stream)) as url:
        parts = await collect(url)
    assert (parts[0], parts[1], parts[-1]) == (
        Text("a"),
        Usage({"total_tokens": 3}),
        Finished("stop"),
    )


async def test_usage_that_never_pauses(set_grace: Callable[[float], None]) -> None:
    """The answer ends although the next chunk is always there when it is read."""
    set_grace(0.1)

    async def script(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD + TEXT + STOP)
        while True:
            writer.write(USAGE * 100)
            await writer.drain()  # waits while the buffers of both sockets are full
            await asyncio.sleep(0)

    async with (
        scripted_server(script) as url,
        open_session() as session,
    ):
        last: Sequence[Part] = ()
        async for parts in build_upstream(session, url).stream(REQUEST):
            last = parts
            await asyncio.sleep(0.01)  # a publish, meanwhile more arrives
    assert last == [Finished("stop")]


def texts_of(parts: Sequence[Part]) -> str:
    return "".join(part.text for part in parts if isinstance(part, Text))


async def stream_with_pauses(base_url: str, pauses: Iterable[asyncio.Event]) -> list[Part]:
    """Return the parts of an answer, and set an event after each text."""
    remaining = iter(pauses)
    parts: list[Part] = []
    async with open_session() as session:
        stream = build_upstream(session, base_url).stream(REQUEST)
        async for part in iterate_parts(stream):
            parts.append(part)
            if isinstance(part, Text):
                next(remaining).set()
    return parts


@pytest.mark.parametrize(
    "first",
    [TEXT_AND_STOP, STOP + TEXT_AND_STOP, TEXT + TEXT_AND_STOP * 2],
    ids=["from the first text on", "from the role on", "not at first"],
)
async def test_finish_in_every_chunk(first: bytes, set_grace: Callable[[float], None]) -> None:
    """Where each chunk says that the answer is finished, a long pause between two loses no text."""
    set_grace(0.0)
    count = first.count(b"content")
    read = [asyncio.Event() for _ in range(count + 2)]

    async def script(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD + first)
        for event in read[count - 1 : -1]:
            await event.wait()
            writer.write(TEXT_AND_STOP)
        await read[-1].wait()
        writer.write(DONE)

    async with scripted_server(script) as url:
        parts = await stream_with_pauses(url, read)
    assert texts_of(parts) == "a" * (count + 2)
    assert parts[-1] == Finished("stop")


@pytest.mark.parametrize("end", [b"", DONE])
async def test_end_of_an_answer_with_text_after_the_finish(end: bytes) -> None:
    """After text that follows a finish, `[DONE]` or the end of the response completes it."""
    async with scripted_server(send_chunks(HEAD + TEXT_AND_STOP * 3 + end)) as url:
        parts = await collect(url)
    assert (texts_of(parts), parts[-1]) == ("aaa", Finished("stop"))


@pytest.mark.parametrize(
    ("rest", "code"),
    [
        (b"", "upstream_truncated"),  # the connection breaks
        (b'data: {"error":{"message":"no memory"}}\n\n', "upstream_error"),
        (b'data: {"choices":[{"delta":"text"}]}\n\n', "upstream_protocol"),
    ],
    ids=["a break", "an error", "text that cannot be read"],
)
async def test_failure_after_a_finish_that_was_none(rest: bytes, code: str) -> None:
    """Text that follows a finish shows that it was none: a failure after it is not hidden."""
    head = HEAD.replace(b"Connection: close", b"Content-Length: 9999")
    error = await collect_failure(send_chunks(head + TEXT + TEXT_AND_STOP * 2 + rest))
    assert error.code == code


async def test_silence_after_a_finish_that_was_none(set_grace: Callable[[float], None]) -> None:
    """An upstream that goes silent after text that followed a finish has not completed it."""
    set_grace(0.0)
    timeouts = upstream_timeouts(idle_seconds=0.2)
    script = send_and_hold([HEAD + TEXT_AND_STOP * 2])
    assert (await collect_failure(script, timeouts=timeouts)).code == "upstream_timeout"


@pytest.mark.parametrize(
    "beat", [b"", b": alive\n\n", USAGE], ids=["silence", "comments", "usage for ever"]
)
async def test_whole_answer_on_an_open_connection(beat: bytes) -> None:
    """A whole answer in its first chunk ends with the time between two pieces, at the latest."""
    timeouts = upstream_timeouts(idle_seconds=0.2)
    stream = itertools.chain([HEAD + TEXT_AND_STOP], itertools.repeat(beat) if beat else ())
    async with scripted_server(send_and_hold(stream)) as url:
        parts = await collect(url, timeouts=timeouts)
    assert (texts_of(parts), parts[-1]) == ("a", Finished("stop"))


@pytest.mark.parametrize(
    "comment", [b": busy\n\n", b"data:\n\n", b"data: : busy\n\n", b'data: {"type": "ping"}\n\n']
)
@pytest.mark.parametrize("first", [b"", TEXT])
async def test_comments_are_no_answer(comment: bytes, first: bytes) -> None:
    """Comments alone keep an answer alive no longer than the time between two pieces."""
    stream = itertools.chain([HEAD + first], itertools.repeat(comment))
    timeouts = upstream_timeouts(idle_seconds=0.2)
    error = await collect_failure(send_and_hold(stream), timeouts=timeouts)
    assert (error.code, error.retryable) == ("upstream_timeout", True)


async def test_odd_fields_are_logged_once() -> None:
    """The log has the paths of an answer's odd fields, and a metric their number."""
    odd = TEXT.replace(b"}}]", b'},"index":"x"}],"usage":""')
    counts: list[int] = []
    async with scripted_server(send_and_hold([HEAD, odd, odd, STOP, b"data: [DONE]\n\n"])) as url:
        with capture_logs() as logs:
            await collect(url, on_odd_fields=counts.append)
    assert counts == [4]
    assert [(log["event"], log["fields"]) for log in logs] == [
        ("upstream.odd_fields", {"choices.0.index": 2, "usage": 2})
    ]


async def test_break_after_the_finish() -> None:
    """A connection that breaks after the finish does no harm."""

    async def script(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD.replace(b"Connection: close", b"Content-Length: 999") + TEXT + STOP)

    async with scripted_server(script) as url:
        assert await collect(url) == [Text("a"), Finished("stop")]
