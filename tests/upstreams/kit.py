"""Scripted servers, and upstreams that call them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Any

import aiohttp
import pytest

from hub.core.generation import GenerationRequest, Message
from hub.core.parts import Part
from hub.errors import UpstreamError
from hub.upstreams.dialect import Dialect
from hub.upstreams.http.client import UpstreamTimeouts
from hub.upstreams.http.connector import UpstreamConnector
from hub.upstreams.http.endpoint import EndpointOptions
from hub.upstreams.http.request_rules import RequestRules
from hub.upstreams.http.upstream import HttpUpstream
from hub.upstreams.openai.chat import OpenAiChat
from tests.defaults import upstream_timeouts

REQUEST = GenerationRequest([Message("user", "为什么天空是蓝色的？")], upstream="u", model="m")
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class ReceivedRequest:
    """The request that a scripted server received: the bytes of its head, and its JSON."""

    head = b""
    body: Any = None


@asynccontextmanager
async def scripted_server(
    script: Script, received: ReceivedRequest | None = None
) -> AsyncIterator[str]:
    """Run a server that reads one request and then runs the script; yield its base URL."""
    serving: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving.add(task)
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            body = await reader.readexactly(length)
            if received is not None:
                received.head, received.body = head, json.loads(body)
            await script(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client disconnected
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    finally:
        server.close()
        if serving:
            await asyncio.wait(serving, timeout=5)


def send_chunks(*chunks: bytes) -> Script:
    async def script(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for chunk in chunks:
            writer.write(chunk)
            await writer.drain()
            await asyncio.sleep(0.005)  # so that each chunk is its own packet

    return script


def open_session() -> aiohttp.ClientSession:
    """Return a session with the connector of the workers."""
    return aiohttp.ClientSession(connector=UpstreamConnector())


def build_upstream(
    session: aiohttp.ClientSession,
    base_url: str,
    dialect: Dialect | None = None,
    *,
    headers: Mapping[str, str] | None = None,
    timeouts: UpstreamTimeouts | None = None,
    max_event_bytes: int = 2**20,
    proxy: str | None = None,
    verify_tls: bool = True,
    rules: RequestRules | None = None,
    on_odd_fields: Callable[[int], None] = lambda count: None,
) -> HttpUpstream:
    """Return an upstream; the default dialect is OpenAI's chat completions."""
    options = EndpointOptions(
        base_url=base_url,
        headers=headers or {},
        rules=rules or RequestRules(),
        timeouts=timeouts or upstream_timeouts(),
        proxy=proxy,
        verify_tls=verify_tls,
    )
    return HttpUpstream(
        session,
        dialect or OpenAiChat({}),
        options,
        max_event_bytes=max_event_bytes,
        on_odd_fields=on_odd_fields,
    )


async def iterate_parts(
    stream: AsyncGenerator[Sequence[Part], None],
) -> AsyncIterator[Part]:
    """Yield the parts one at a time."""
    async with aclosing(stream):
        async for parts in stream:
            for part in parts:
                yield part


async def collect(
    base_url: str, request: GenerationRequest = REQUEST, **options: Any
) -> list[Part]:
    """Return all parts of an answer."""
    async with open_session() as session:
        upstream = build_upstream(session, base_url, **options)
        return [part async for part in iterate_parts(upstream.stream(request))]


async def collect_failure(script: Script, **options: Any) -> UpstreamError:
    """Return the error of an answer that fails."""
    async with scripted_server(script) as url:
        with pytest.raises(UpstreamError) as caught:
            await collect(url, **options)
    return caught.value
