"""Listening with TLS, on a Unix socket and on both families; requests that are too large."""

from __future__ import annotations

import asyncio
import socket
import ssl
import stat
from collections import Counter
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from hub.core.sse_decoder import SseDecoder
from hub.errors import OperatorError
from hub.http.request_handler import HubRequestHandler
from hub.http.server import ListenAddress, RequestLimits, listen, tls_context
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
    """Two thousand events, some of them large, arrive complete and in order."""
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


async def test_connections_are_accepted_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients that connect at once are accepted in few iterations of the event loop."""
    loop, iteration = asyncio.get_running_loop(), 0
    accepted: Counter[int] = Counter()  # by iteration

    def count_iterations() -> None:
        nonlocal iteration
        iteration += 1
        loop.call_soon(count_iterations)

    connection_made = HubRequestHandler.connection_made

    def count_accepted(handler: HubRequestHandler, transport: asyncio.BaseTransport) -> None:
        accepted[iteration] += 1
        connection_made(handler, transport)

    monkeypatch.setattr(HubRequestHandler, "connection_made", count_accepted)
    with ExitStack() as stack:
        async with listen(
            web.Application(), ListenAddress("127.0.0.1", 0, "x"), cancel_handlers=False
        ) as port:
            for _ in range(40):
                stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            count_iterations()
            async with asyncio.timeout(10):
                while accepted.total() < 40:
                    await asyncio.sleep(0)
    assert len(accepted) <= 20


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

        async def drip() -> None:
            for byte in b"GET / HTTP/1.1\r\nHost: h\r\nX: " + b"x" * 8000:
                slow_writer.write(bytes([byte]))
                await asyncio.sleep(0.02)

        dripping = asyncio.create_task(drip())
        async with asyncio.timeout(60):
            with suppress(ConnectionError):
                assert await slow.read() == b""
            assert await silent.read() == b""
        assert not dripping.done()  # what it sent did not keep the connection open
        dripping.cancel()
        good_writer.write(whole)
        async with asyncio.timeout(60):
            while b"HTTP/1.1 200" not in await good.readline():
                pass
        await asyncio.gather(dripping, return_exceptions=True)
        for writer in (silent_writer, slow_writer, good_writer):
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()


def ipv6_works() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.skipif(not ipv6_works(), reason="this machine has no IPv6")
@pytest.mark.parametrize(("host", "reachable"), [("::", ["127.0.0.1", "::1"]), ("::1", ["::1"])])
async def test_both_families(host: str, reachable: list[str]) -> None:
    """The address `::` accepts IPv4 and IPv6; any other IPv6 address accepts IPv6 only."""
    address = ListenAddress(host, 0, "public.port")
    async with (
        listen(web.Application(), address, cancel_handlers=True) as port,
        aiohttp.ClientSession() as session,
    ):
        for where in ("127.0.0.1", "[::1]"):
            if where.strip("[]") in reachable:
                async with session.get(f"http://{where}:{port}/") as response:
                    assert response.status == 404
            else:
                with pytest.raises(aiohttp.ClientConnectorError):
                    await session.get(f"http://{where}:{port}/")


@pytest.mark.parametrize("limit", [8190, 2000])
async def test_header_that_is_too_large(limit: int, caplog: pytest.LogCaptureFixture) -> None:
    """A header above the limit is a 431 without a byte of it; one at the limit passes."""

    async def greet(request: web.Request) -> web.Response:
        return web.Response(text=str(len(request.headers["Authorization"])))

    app = web.Application()
    app.add_routes([web.get("/", greet)])
    limits = RequestLimits(max_header_bytes=limit, keepalive_seconds=75.0)
    async with (
        listen(
            app, ListenAddress("127.0.0.1", 0, "public.port"), cancel_handlers=True, limits=limits
        ) as port,
        aiohttp.ClientSession() as session,
    ):
        url, bearer = f"http://127.0.0.1:{port}/", "Bearer "
        fits = bearer + "s3cr" * ((limit - len(bearer)) // 4)
        async with session.get(url, headers={"Authorization": fits}) as response:
            assert await response.text() == str(len(fits))
        for headers in ({"Authorization": bearer + "s3cr" * limit}, {"Cookie": "s3cr" * limit}):
            async with session.get(url, headers=headers) as response:
                problem = await response.json(content_type="application/problem+json")
                assert (response.status, problem["code"]) == (431, "header_too_large")
                assert f"larger than {limit} bytes" in problem["detail"]
                assert "s3cr" not in str(problem)
        async with session.get(url + "s3cr" * limit) as response:
            assert response.status == 414
            assert "s3cr" not in await response.text()
    assert "s3cr" not in caplog.text


async def test_keepalive_is_a_setting() -> None:
    """An idle connection is closed after the time of the setting."""
    limits = RequestLimits(max_header_bytes=8190, keepalive_seconds=0.05)
    address = ListenAddress("127.0.0.1", 0, "public.port")
    async with listen(web.Application(), address, cancel_handlers=True, limits=limits) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        async with asyncio.timeout(60):
            assert b"404" in await reader.read()  # until the hub closes the connection
        writer.close()
