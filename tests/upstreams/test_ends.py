"""What ends the reading of an upstream: the finish, and comments without an answer."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterable

import pytest
from structlog.testing import capture_logs

from hub.core.parts import Finished, Text, Usage
from hub.upstreams.http_upstream import HttpUpstream
from tests.defaults import upstream_timeouts
from tests.upstreams.kit import HEAD, Script, collect, collect_failure, scripted_server

TEXT = b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n'
STOP = b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n'
USAGE = b'data: {"choices":[],"usage":{"total_tokens":3}}\n\n'


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
        assert await collect(url) == [Text("a"), Finished("stop")]


async def test_usage_after_the_finish(set_grace: Callable[[float], None]) -> None:
    """The usage may follow the finish."""
    set_grace(30)
    stream = [HEAD, TEXT, STOP, b": alive\n\n", USAGE, b"data: [DONE]\n\n"]
    async with scripted_server(send_and_hold(stream)) as url:
        assert await collect(url) == [Text("a"), Usage({"total_tokens": 3}), Finished("stop")]


async def test_text_after_a_finish_counts(set_grace: Callable[[float], None]) -> None:
    """Servers that send a finish reason in every chunk lose no text."""
    set_grace(30)
    chunk = TEXT.replace(b"}}]", b'},"finish_reason":"stop"}]')
    stream = [HEAD, *[chunk] * 30, b"data: [DONE]\n\n"]
    async with scripted_server(send_and_hold(stream)) as url:
        parts = await collect(url)
    assert [part for part in parts if isinstance(part, Text)] == [Text("a")] * 30


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
