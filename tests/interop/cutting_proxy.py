"""A proxy that cuts event streams at chosen bytes, as a bad network does."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import Counter
from collections.abc import Callable, Collection
from types import TracebackType
from typing import Literal, Self

CutSpot = Literal["headers", "id", "end", "data", "between"]


def spot_of_cut(sent: bytes) -> CutSpot:
    """Return where a response ends that was cut after these bytes.

    `end`: behind the last field of an event, but before the blank line that completes it.
    """
    _headers, end, body = sent.partition(b"\r\n\r\n")
    if not end:
        return "headers"
    lines = [line for line in body.split(b"\r\n") if not _is_chunk_size(line)]
    event = b"".join(lines).rpartition(b"\n\n")[2]
    if not event:
        return "between"
    line = event.rpartition(b"\n")[2]
    if not line:
        return "end" if b"\nid: " in event else "data"
    return "id" if line.startswith(b"id: ") else "data"


def _is_chunk_size(line: bytes) -> bool:
    return 0 < len(line) < 6 and all(byte in b"0123456789abcdef" for byte in line)


class CuttingProxy:
    """`async with CuttingProxy(target, next_cut) as proxy`: listens at `proxy.url`.

    next_cut: returns for each new connection after how many bytes of the response the proxy cuts
    it, or None for a connection that stays whole. Every second cut is a reset; the others close
    the connection. only_reset: the spots where every cut is a reset. spared: the spots where
    the proxy cuts one byte earlier.
    """

    def __init__(
        self,
        target: tuple[str, int],
        next_cut: Callable[[], int | None],
        *,
        only_reset: Collection[CutSpot] = (),
        spared: Collection[CutSpot] = (),
    ) -> None:
        self.url = ""
        self.spots = Counter[CutSpot]()  # the cuts so far
        self._target = target
        self._next_cut = next_cut
        self._only_reset = only_reset
        self._spared = spared
        self._clients: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = "http://{}:{}".format(*self._server.sockets[0].getsockname())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        while self._clients:
            for client in self._clients:
                client.transport.abort()
            await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._clients.add(writer)
        replies, to_server = await asyncio.open_connection(*self._target)
        requests = asyncio.ensure_future(_pass_requests(reader, to_server))
        try:
            await self._pass_replies(replies, writer)
        except OSError:
            pass  # the client has closed its connection
        finally:
            requests.cancel()
            to_server.transport.abort()
            writer.close()
            self._clients.discard(writer)

    async def _pass_replies(
        self, replies: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        left, sent = self._next_cut(), bytearray()
        while chunk := await replies.read(65536):
            if left is not None:
                chunk = chunk[: left - len(sent)]
                sent += chunk
                if len(sent) == left and spot_of_cut(bytes(sent)) in self._spared:
                    left, chunk = left - 1, chunk[:-1]
                    del sent[-1]
            writer.write(chunk)
            await writer.drain()
            if left is not None and len(sent) == left:
                self._cut(writer, bytes(sent))
                return

    def _cut(self, writer: asyncio.StreamWriter, sent: bytes) -> None:
        spot = spot_of_cut(sent)
        self.spots[spot] += 1
        if self.spots.total() % 2 == 0 or spot in self._only_reset:
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()


async def _pass_requests(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(65536):
        writer.write(chunk)
