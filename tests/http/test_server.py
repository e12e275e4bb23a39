"""Listening with TLS and on a Unix socket."""

from __future__ import annotations

import asyncio
import ssl
import stat
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from hub.core.sse_decoder import SseDecoder
from hub.errors import OperatorError
from hub.http.server import ListenAddress, listen, tls_context
from tests.certificates import write_certificate
from tests.http.kit import running_hub


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Return the paths of a certificate for localhost and its key."""
    return write_certificate(tmp_path_factory.mktemp("tls"))


async def events(response: aiohttp.ClientResponse, count: int) -> list[tuple[str, str]]:
    decoder, events = SseDecoder(), list[tuple[str, str]]()
    async with asyncio.timeout(120):
        while len(events) < count:
            for event in decoder.feed(await response.content.readany()):
                events.append((event.name, event.data))
    return events


async def test_stream_over_tls(certificate: tuple[str, str]) -> None:
    """Ten thousand events, some of them large, arrive complete and in order."""
    context = tls_context(certificate[0], certificate[1], "public.tls_cert")
    trust = ssl.create_default_context(cafile=certificate[0])
    async with (
        running_hub() as hub,
        listen(
            hub.public, ListenAddress("127.0.0.1", 0, "x", tls=context), cancel_handlers=True
        ) as port,
        aiohttp.ClientSession() as session,
        session.get(f"https://localhost:{port}/sse/connect/alice", ssl=trust) as response,
    ):
        assert (await events(response, 1))[0][0] == "hub.open"
        texts = [f"{n}" + "x" * (9000 if n % 100 == 0 else 10) for n in range(2000)]
        reading = asyncio.create_task(events(response, len(texts)))
        for text in texts:
            await hub.publish(to={"user": "alice"}, data=text)
        assert [data for _, data in await reading] == texts
        await hub.node.connections.drain(0.0, asyncio.Event())
        assert (await events(response, 1))[0][0] == "hub.bye"
        assert await response.content.read() == b""


async def test_unix_socket(short_path: Path) -> None:
    """Only owner and group may connect; the socket of a dead process is replaced, a live one is
    not.
    """
    path = short_path / "hub.sock"

    async def hello(request: web.Request) -> web.Response:
        return web.Response(text="hello")

    def app() -> web.Application:
        made = web.Application()
        made.add_routes([web.get("/", hello)])
        return made

    address = ListenAddress("", 0, "internal.socket", path=str(path))
    for _ in range(2):
        async with listen(app(), address, cancel_handlers=False):
            assert stat.S_IMODE(path.stat().st_mode) == 0o660
            connector = aiohttp.UnixConnector(str(path))
            async with (
                aiohttp.ClientSession(connector=connector) as session,
                session.get("http://hub/") as response,
            ):
                assert await response.text() == "hello"
            with pytest.raises(OperatorError, match=r"cannot listen on .*hub\.sock"):
                async with listen(app(), address, cancel_handlers=False):
                    pass
    path.unlink(missing_ok=True)
    path.write_text("a file")
    with pytest.raises(OperatorError):
        async with listen(app(), address, cancel_handlers=False):
            pass
    assert path.read_text() == "a file"


@pytest.mark.parametrize("broken", ["missing", "swapped", "empty"])
def test_bad_certificate(certificate: tuple[str, str], tmp_path: Path, broken: str) -> None:
    """An invalid certificate is an error of one sentence that names the setting."""
    empty = tmp_path / "empty.pem"
    empty.write_text("")
    pairs: dict[str, Any] = {
        "missing": ("/nowhere.pem", certificate[1]),
        "swapped": (certificate[1], certificate[0]),
        "empty": (str(empty), str(empty)),
    }
    with pytest.raises(OperatorError, match=r"public\.tls_cert: the certificate"):
        tls_context(pairs[broken][0], pairs[broken][1], "public.tls_cert")


async def test_slow_headers() -> None:
    """A connection without a complete first request is closed; one that was served is not."""
    app = web.Application()

    async def hello(request: web.Request) -> web.Response:
        return web.Response(text="hello")

    app.add_routes([web.get("/", hello)])
    address = ListenAddress("127.0.0.1", 0, "x")
    async with listen(app, address, cancel_handlers=False, head_timeout_seconds=0.4) as port:
        silent, silent_writer = await asyncio.open_connection("127.0.0.1", port)
        slow, slow_writer = await asyncio.open_connection("127.0.0.1", port)
        good, good_writer = await asyncio.open_connection("127.0.0.1", port)
        whole = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
        good_writer.write(whole)
        assert (await good.readline()).startswith(b"HTTP/1.1 200")
        started_at = asyncio.get_running_loop().time()

        async def drip() -> None:
            for byte in b"GET / HTTP/1.1\r\nHost: h\r\nX: " + b"x" * 100:
                slow_writer.write(bytes([byte]))
                await asyncio.sleep(0.02)

        dripping = asyncio.create_task(drip())
        async with asyncio.timeout(30):
            with suppress(ConnectionError):
                assert await slow.read() == b""
            assert await silent.read() == b""
        assert 0.3 < asyncio.get_running_loop().time() - started_at < 1.5
        dripping.cancel()
        good_writer.write(whole)
        async with asyncio.timeout(30):
            while b"HTTP/1.1 200" not in await good.readline():
                pass
        await asyncio.gather(dripping, return_exceptions=True)
        for writer in (silent_writer, slow_writer, good_writer):
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()
