"""The load generators count what a server accepts and delivers: a broken one is not fast."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from bench import machine
from bench.load import check_delivery, publish
from bench.machine import run_load
from bench.servers import Target
from tests.conftest import missing

_Respond = Callable[[str, bytes], Awaitable[bytes]]
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"


@pytest.fixture(autouse=True)
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compile the load generators into a folder of the test."""
    if shutil.which("cc") is None:
        missing("cc")
    monkeypatch.setattr(machine, "OUTPUT", tmp_path)


@asynccontextmanager
async def serve(respond: _Respond, requests_per_connection: int = 1_000_000) -> AsyncIterator[int]:
    """Serve requests of HTTP/1.1; yield the port. The server closes a connection after so many."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            for _ in range(requests_per_connection):
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = re.search(r"Content-Length: (\d+)", head)
                body = await reader.readexactly(int(length[1])) if length else b""
                writer.write(await respond(head, body))
                await writer.drain()
        writer.close()

    async with await asyncio.start_server(handle, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


def answer(body: bytes) -> bytes:
    """Return a response with this body."""
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


async def test_batches_are_for_one_user_after_the_other() -> None:
    """A post with several events has the next users, each with its own numbers."""
    bodies: list[dict[str, list[list[int]]]] = []
    heads: list[str] = []

    async def respond(head: str, body: bytes) -> bytes:
        heads.append(head)
        bodies.append(json.loads(body))
        return answer(b'{"error":"full"}' if len(bodies) == 3 else b"{}")

    async with serve(respond) as port:
        target = Target(
            "test", 0, port, "/", port, "/one", "", batch_path="/many", batch_item="[%U,%N]",
            batch_around='{"all":[|]}', publish_options=("-V", '"error"', "-H", "Key: secret"),
        )  # fmt: skip
        options = ("-U", "2", "-n", "3", "-d", "60")
        result = await asyncio.to_thread(publish, target, *options, batch=3)
    assert [body["all"] for body in bodies] == [
        [[0, 0], [1, 0], [0, 1]],
        [[1, 1], [0, 2], [1, 2]],
        [[0, 3], [1, 3], [0, 4]],
    ]
    assert (result["posts"], result["ok"], result["bad"]) == (3, 2, 1)
    assert all("POST /many " in head and "\r\nKey: secret\r\n" in head for head in heads)


async def test_several_numbers_in_one_event() -> None:
    """A stream has enough when it has the numbers, however few events carry them."""

    async def respond(head: str, body: bytes) -> bytes:
        return STREAM + b"data: N=0;\n\ndata: {}\n\ndata: N=1;N=2;\n\n"

    async with serve(respond) as port:
        options = ("-p", str(port), "-n", "2", "-u", "/u%d", "-E", "3", "-d", "60", "-q")
        result = await asyncio.to_thread(run_load, "sse_load", *options)
    assert (result["min_numbered"], result["max_numbered"], result["max_ev"]) == (3, 3, 3)
    assert result["all_s"] >= 0


async def test_return_after_a_break() -> None:
    """With -A a stream that ends before its first number begins again; the others stay closed."""
    streams: list[bytes] = [b"", b"data: {}\n\n", b"data: N=0;\n\ndata: N=1;\n\n"]
    requests: list[str] = []

    async def respond(head: str, body: bytes) -> bytes:
        requests.append(head)
        return STREAM + streams[len(requests) - 1]

    async with serve(respond, requests_per_connection=1) as port:
        options = ("-p", str(port), "-n", "1", "-u", "/u%d", "-E", "2", "-A", "-d", "60", "-q")
        result = await asyncio.to_thread(run_load, "sse_load", *options)
    assert (result["again"], result["dead"], result["min_numbered"]) == (2, 0, 2)
    assert len(requests) == 3


@pytest.mark.parametrize("numbers", [(), (0,), (1, 0)])
async def test_server_that_loses_events(
    numbers: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that accepts events and delivers none, too few or out of order is refused."""
    stream = b"".join(b"data: T=1;N=%d;\n\n" % n for n in numbers)
    monkeypatch.setattr("bench.load._CHECK_SECONDS", 2)
    monkeypatch.setattr("bench.load.count_open_files", lambda pid: 1)

    async def respond(head: str, body: bytes) -> bytes:
        return STREAM + stream if head.startswith("GET") else answer(b"{}")

    async with serve(respond) as port:
        target = Target("broken", 0, port, "/u%d", port, "/", "T=%T;N=%N;")
        with pytest.raises(RuntimeError, match="broken is not set up"):
            await asyncio.to_thread(check_delivery, target, users=1, each=2)
