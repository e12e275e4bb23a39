"""Check what docs/clients/go.md says about r3labs/sse, which loses events by itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.languages.log_server import encode
from tests.languages.programs import Program, run_program
from tests.languages.toolchains import build_r3labs

pytestmark = [
    pytest.mark.languages,
    pytest.mark.timeout(1800),
    pytest.mark.asyncio(loop_scope="session"),
]
OPENED = encode("hub.open", {}, "e1", retry=100)
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"


class Responses:
    """A server that answers each connection with the same bytes. cursors: those it was sent.

    connections: how many there were.
    """

    def __init__(self, *responses: bytes) -> None:
        self._responses = list(responses)
        self.cursors: list[str] = []
        self.connections = 0

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Read a request, and send the next response, or the last one again."""
        self.connections += 1
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        lines = [line.partition(": ") for line in head.split("\r\n")]
        self.cursors += [value for name, _, value in lines if name.lower() == "last-event-id"]
        writer.write(self._responses[0])
        if len(self._responses) > 1:
            del self._responses[0]
        await writer.drain()
        writer.close()


@asynccontextmanager
async def run_with(server: Responses) -> AsyncIterator[Program]:
    """Run the program with a server during the block."""
    listening = await asyncio.start_server(server.answer, "127.0.0.1", 0)
    url = "http://{}:{}".format(*listening.sockets[0].getsockname())
    async with listening, run_program(build_r3labs(), url) as program:
        yield program


def cut(body: bytes) -> bytes:
    """Return a response that breaks behind the body."""
    return HEAD + b"Content-Length: 100000000\r\n\r\n" + body


def clean(body: bytes) -> bytes:
    """Return a response that ends cleanly behind the body."""
    return HEAD + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)


async def test_half_events_are_delivered() -> None:
    """An event that breaks inside its data is delivered as if it were whole."""
    note = encode("note", "a long text", "e2")
    server = Responses(cut(OPENED + note[: note.index(b"long")]))
    async with run_with(server) as program:
        await program.until(lambda program: program.named("note"))
    assert program.named("note")[0] == '"a '


async def test_half_cursors_are_adopted() -> None:
    """A cursor that breaks in the middle is sent with the next connection."""
    note = encode("note", 1, "e2-and-the-rest")
    server = Responses(cut(OPENED + note[: note.index(b"-and")]))
    async with run_with(server) as program:
        await program.until(lambda program: len(program.named("hub.open")) == 2)
    assert server.cursors[0] == "e2"


async def test_clean_end_is_final() -> None:
    """After a stream that the hub ends cleanly, Subscribe returns without an error."""
    bye = encode("hub.bye", {"reason": "draining", "reconnect": True, "retry_ms": 1})
    async with run_with(Responses(clean(OPENED + bye))) as program:
        assert await program.wait() == 0
    assert program.named("ended") == ["<nil>"]
    assert len(program.named("hub.open")) == 1


async def test_large_event_blocks_the_stream() -> None:
    """An event above 64 KiB is never delivered: each connection breaks at it again."""
    large = encode("note", "x" * 70_000, "e2") + encode("note", "behind", "e3")
    server = Responses(cut(OPENED + large))
    async with run_with(server) as program:
        await program.until(lambda program: len(program.named("hub.open")) == 4)
    assert not program.named("note")
    assert set(server.cursors) == {"e1"}


async def test_refusal_is_repeated() -> None:
    """A 401 is repeated for ever."""
    server = Responses(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")
    async with run_with(server), asyncio.timeout(60):
        while server.connections < 5:
            await asyncio.sleep(0.05)
