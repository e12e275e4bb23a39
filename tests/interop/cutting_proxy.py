"""A proxy that cuts event streams at chosen bytes, as a bad network does."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Callable, Collection
from typing import Final, Literal

from tests.faults import TcpProxy, reset

CutSpot = Literal["headers", "id", "end", "data", "between"]
BYE_ALONE: Final = "hub.bye alone"
Cut = int | Literal["hub.bye alone"] | None
"""What happens to a connection: see `next_cut` of CuttingProxy."""

_BYE: Final = b"""HTTP/1.1 200 OK\r
Content-Type: text/event-stream\r
Connection: close\r
\r
retry: 100
event: hub.bye
data: {"reason":"draining","reconnect":true,"retry_ms":100}
id: %b

"""
_CURSOR: Final = re.compile(rb"\r\nlast-event-id: *([^\r]+)", re.IGNORECASE)


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


class CuttingProxy(TcpProxy):
    """Cuts the responses of a server. target: its host and port.

    next_cut: returns for each new connection after how many bytes of the response the proxy cuts
    it, or None for a connection that stays whole, or BYE_ALONE for one that the proxy answers as a
    node that drains: with hub.bye and the cursor of the client. Every second cut is a reset; the
    others close the connection. only_reset: the spots where every cut is a reset. spared: the spots
    where the proxy cuts one byte earlier.
    """

    def __init__(
        self,
        target: tuple[str, int],
        next_cut: Callable[[], Cut],
        *,
        only_reset: Collection[CutSpot] = (),
        spared: Collection[CutSpot] = (),
    ) -> None:
        super().__init__()
        self.spots = Counter[CutSpot]()  # the cuts so far
        self._target = target
        self._next_cut = next_cut
        self._only_reset = only_reset
        self._spared = spared

    async def pass_bytes(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        cut = self._next_cut()
        if cut == BYE_ALONE:
            cursor = _CURSOR.search(await reader.readuntil(b"\r\n\r\n"))
            assert cursor is not None
            writer.write(_BYE % cursor[1])
            writer.close()
            return
        replies, to_server = await asyncio.open_connection(*self._target)
        requests = asyncio.ensure_future(_pass_requests(reader, to_server))
        try:
            await self._pass_replies(replies, writer, cut)
        except OSError:
            pass  # the client has closed its connection
        finally:
            requests.cancel()
            to_server.transport.abort()
            writer.close()

    async def _pass_replies(
        self, replies: asyncio.StreamReader, writer: asyncio.StreamWriter, left: int | None
    ) -> None:
        sent = bytearray()
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
            reset(writer)


async def _pass_requests(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(65536):
        writer.write(chunk)
