"""A TCP proxy of our own that misbehaves on demand, between the hub and its broker."""

from __future__ import annotations

import asyncio
import socket
import struct
from types import TracebackType
from typing import Self


class _Link:
    """One client's connection and the one made for it."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self.client = client
        self.server = server
        self.mute = False  # replies are swallowed from now on
        self.left: int | None = None  # bytes of replies until the reset

    def reset(self) -> None:
        """Ends both sides at once, the client's with an RST."""
        sock = self.client.get_extra_info("socket")
        if sock is not None and not self.client.is_closing():
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.client.transport.abort()
        self.server.transport.abort()


class FaultProxy:
    """`async with FaultProxy(target) as proxy`: listens on 127.0.0.1, `proxy.port`.

    target: the path of a unix socket, or a host and port.
    """

    def __init__(self, target: str | tuple[str, int]) -> None:
        self.target = target
        self.port = 0
        self.latency_seconds = 0.0
        self.refusing = False
        self._swallowing = False
        self._cut_after: int | None = None
        self._cut_next_after: int | None = None
        self._links: set[_Link] = set()
        self._server: asyncio.Server | None = None

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._links)

    def blackhole(self) -> None:
        """Bytes vanish, both ways; connections stay open, and new ones are taken."""
        self._swallowing = True

    def heal(self) -> None:
        """No faults any more; connections that lost bytes in a black hole are reset."""
        self.latency_seconds, self.refusing, self._cut_after = 0.0, False, None
        if self._swallowing:
            self._swallowing = False
            self.reset_all()

    def reset_all(self) -> None:
        """An RST on every connection."""
        for link in tuple(self._links):
            link.reset()

    def drop_replies(self) -> None:
        """On each open connection: what is asked still arrives, the answer does not, and then it is
        reset.
        """
        for link in self._links:
            link.mute = True

    def cut_after(self, replied_bytes: int) -> None:
        """Each connection, also the ones made from now on, is reset after so many bytes more."""
        self._cut_after = replied_bytes
        for link in self._links:
            link.left = replied_bytes

    def cut_next_after(self, replied_bytes: int) -> None:
        """The same for the next connection that is made, and no other."""
        self._cut_next_after = replied_bytes

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        while self._links:
            self.reset_all()
            await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refusing:
            writer.transport.abort()
            return
        try:
            if isinstance(self.target, str):
                there, to_there = await asyncio.open_unix_connection(self.target)
            else:
                there, to_there = await asyncio.open_connection(*self.target)
        except OSError:
            writer.transport.abort()
            return
        link = _Link(writer, to_there)
        link.left, self._cut_next_after = self._cut_next_after or self._cut_after, None
        self._links.add(link)
        try:
            await asyncio.gather(
                self._pass(link, reader, to_there), self._pass(link, there, writer, replies=True)
            )
            writer.close()
            to_there.close()
        finally:
            self._links.discard(link)

    async def _pass(
        self,
        link: _Link,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        replies: bool = False,
    ) -> None:
        try:
            while chunk := await reader.read(65536):
                if self.latency_seconds:
                    await asyncio.sleep(self.latency_seconds)
                if self._swallowing:
                    continue
                if replies and link.mute:
                    link.reset()
                    break
                if replies and link.left is not None:
                    chunk = chunk[: link.left]
                    link.left -= len(chunk)
                writer.write(chunk)
                await writer.drain()
                if link.left == 0:
                    link.reset()
                    break
            if not self._swallowing and not writer.is_closing():
                writer.write_eof()
        except BaseException as error:
            link.reset()
            if not isinstance(error, OSError):
                raise
