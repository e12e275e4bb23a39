"""Connections to upstreams are resumed only if they were paused."""

from __future__ import annotations

import asyncio
from typing import Final

import pytest
from aiohttp.client_proto import ResponseHandler

from tests.upstreams.kit import HEAD, open_session, scripted_server

CHUNK: Final = b"x" * 1000
MANY: Final = 4000  # more than the sockets and aiohttp hold


class Resumptions:
    """Counts what aiohttp does to resume connections."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        resume = ResponseHandler.resume_reading

        def counted(protocol: ResponseHandler, resume_parser: bool = True) -> None:
            self.count += 1
            resume(protocol, resume_parser)

        monkeypatch.setattr(ResponseHandler, "resume_reading", counted)


async def test_read_chunk_resumes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading a chunk of a connection that is not paused calls nothing else."""
    resumptions, may_send = Resumptions(monkeypatch), asyncio.Event()

    async def script(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD)
        for _n in range(20):
            await may_send.wait()
            may_send.clear()
            writer.write(CHUNK)
            await writer.drain()

    async with (
        scripted_server(script) as url,
        open_session() as session,
        session.post(url, json={}) as response,
    ):
        for _n in range(20):
            may_send.set()
            assert await response.content.readexactly(len(CHUNK)) == CHUNK
        assert resumptions.count == 0
        assert await response.content.read() == b""


async def test_paused_connection_is_resumed(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that is read late is paused meanwhile, and no byte of it is missing."""
    resumptions, paused = Resumptions(monkeypatch), asyncio.Event()
    pause = ResponseHandler.pause_reading

    def on_pause(protocol: ResponseHandler) -> None:
        paused.set()
        pause(protocol)

    monkeypatch.setattr(ResponseHandler, "pause_reading", on_pause)

    async def script(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD)
        for _n in range(MANY):
            writer.write(CHUNK)
            await writer.drain()

    async with (
        scripted_server(script) as url,
        open_session() as session,
        session.post(url, json={}) as response,
    ):
        await asyncio.wait_for(paused.wait(), 60)
        received = 0
        while chunk := await response.content.readany():
            received += len(chunk)
        assert received == MANY * len(CHUNK)
        assert resumptions.count > 0
