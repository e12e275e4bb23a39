"""Servers that say what a test wants, and upstreams that ask them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Any

import aiohttp
import pytest

from hub.core.generation import GenerationRequest, Message
from hub.core.stream_parts import StreamPart
from hub.errors import UpstreamError
from hub.upstreams.dialect import Dialect
from hub.upstreams.http_client import UpstreamTimeouts
from hub.upstreams.http_upstream import HttpUpstream
from hub.upstreams.openai_chat import OpenAiChat

QUESTION = GenerationRequest([Message("user", "为什么天空是蓝色的？")], upstream="u", model="m")
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Asked:
    """What a scripted server was asked."""

    head = b""
    body: Any = None


@asynccontextmanager
async def scripted(script: Script, asked: Asked | None = None) -> AsyncIterator[str]:
    """A server that reads one request and then does what the script says; its base URL."""
    serving: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving.add(task)
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            body = await reader.readexactly(length)
            if asked is not None:
                asked.head, asked.body = head, json.loads(body)
            await script(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client left
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


def sends(*chunks: bytes) -> Script:
    async def script(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for chunk in chunks:
            writer.write(chunk)
            await writer.drain()
            await asyncio.sleep(0.005)  # so that each is a packet of its own

    return script


def upstream_at(
    session: aiohttp.ClientSession,
    base_url: str,
    dialect: Dialect | None = None,
    *,
    headers: Mapping[str, str] | None = None,
    patience: UpstreamTimeouts | None = None,
    max_event_bytes: int = 2**20,
    **more: Any,
) -> HttpUpstream:
    """An upstream, of OpenAI's chat unless told otherwise."""
    return HttpUpstream(
        session,
        dialect or OpenAiChat({}),
        base_url=base_url,
        headers=headers or {},
        timeouts=patience or UpstreamTimeouts(),
        max_event_bytes=max_event_bytes,
        **more,
    )


async def one_by_one(
    stream: AsyncGenerator[Sequence[StreamPart], None],
) -> AsyncIterator[StreamPart]:
    """The pieces as if each came alone."""
    async with aclosing(stream):
        async for pieces in stream:
            for piece in pieces:
                yield piece


async def ask(
    base_url: str, question: GenerationRequest = QUESTION, **more: Any
) -> list[StreamPart]:
    """All pieces."""
    async with aiohttp.ClientSession() as session:
        upstream = upstream_at(session, base_url, **more)
        return [piece async for piece in one_by_one(upstream.stream(question))]


async def failure(script: Script, **more: Any) -> UpstreamError:
    """How it failed."""
    async with scripted(script) as url:
        with pytest.raises(UpstreamError) as caught:
            await ask(url, **more)
    return caught.value
