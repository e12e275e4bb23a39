"""TCP proxies: one that makes faults on demand, and one that keeps the connections of its clients
open while it reconnects to the server. tests/interop/cutting_proxy.py has one more.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Final, Self

_RESET_SECONDS: Final = 0.02  # between two resets of what is still open


class TcpProxy(ABC):
    """The base of the proxies. `async with SomeProxy(…) as proxy`: listens on 127.0.0.1, `port`."""

    def __init__(self) -> None:
        self.port = 0
        self._clients: dict[asyncio.StreamWriter, asyncio.Task[None]] = {}
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        """The URL of the proxy for a client of HTTP."""
        return f"http://127.0.0.1:{self.port}"

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
        while self._clients:
            self.reset_all()
            # Not without a limit: a connection that is being made cannot be reset yet.
            await asyncio.wait(self._clients.values(), timeout=_RESET_SECONDS)

    def reset_all(self) -> None:
        """Reset every connection."""
        for client in self._clients:
            reset(client)

    @abstractmethod
    async def pass_bytes(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass the bytes of one client's connection on, until it ends."""

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._clients[writer] = task
        try:
            await self.pass_bytes(reader, writer)
        finally:
            del self._clients[writer]


def reset(writer: asyncio.StreamWriter) -> None:
    """Close a connection at once, with an RST."""
    sock = writer.get_extra_info("socket")
    if sock is not None and not writer.is_closing():
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


class _ConnectionPair:
    """A connection of a client, and the connection to the server that belongs to it."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self.client = client
        self.server = server
        self.is_frozen = False  # all bytes are dropped, and the connections stay open
        self.mute = False  # replies are dropped from now on
        self.is_diverted = False  # the first reply ends the diversion
        self.left: int | None = None  # bytes of replies until the reset

    def reset(self) -> None:
        """Close both connections at once, the one of the client with an RST."""
        reset(self.client)
        self.server.transport.abort()


class FaultProxy(TcpProxy):
    """Makes the faults that its methods name. target: the path of a unix socket, or a host and
    port.
    """

    def __init__(self, target: str | tuple[str, int]) -> None:
        super().__init__()
        self.target = target
        self.latency_seconds = 0.0
        self.refusing = False
        self._swallowing = False
        self._cut_after: int | None = None
        self._cut_next_after: int | None = None
        self._diversion: str | tuple[str, int] | None = None
        self._pairs: set[_ConnectionPair] = set()

    @property
    def connections(self) -> int:
        """Number of open client connections."""
        return len(self._pairs)

    def blackhole(self) -> None:
        """Drop all bytes in both directions; connections stay open, and new ones are accepted."""
        self._swallowing = True

    def heal(self) -> None:
        """End all faults, and reset the connections that lost bytes in a black hole."""
        self.latency_seconds, self.refusing, self._cut_after = 0.0, False, None
        if self._swallowing:
            self._swallowing = False
            self.reset_all()

    def freeze(self) -> None:
        """Drop all bytes of the present connections, as a NAT does that has forgotten them."""
        for pair in self._pairs:
            pair.is_frozen = True

    def reset_all(self) -> None:
        """Reset every connection."""
        for pair in tuple(self._pairs):
            pair.reset()

    def drop_replies(self) -> None:
        """Pass requests on, drop the next reply, and reset the connection."""
        for pair in self._pairs:
            pair.mute = True

    def cut_after(self, replied_bytes: int) -> None:
        """Reset each connection, also new ones, after so many more bytes of replies."""
        self._cut_after = replied_bytes
        for pair in self._pairs:
            pair.left = replied_bytes

    def divert(self, target: str | tuple[str, int]) -> None:
        """Connect new clients to another target, until it has replied to one of them."""
        self._diversion = target

    def cut_next_after(self, replied_bytes: int) -> None:
        """Reset the next new connection after so many bytes of replies."""
        self._cut_next_after = replied_bytes

    async def pass_bytes(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refusing:
            writer.transport.abort()
            return
        try:
            target = self._diversion or self.target
            if isinstance(target, str):
                there, to_there = await asyncio.open_unix_connection(target)
            else:
                there, to_there = await asyncio.open_connection(*target)
        except OSError:
            writer.transport.abort()
            return
        pair = _ConnectionPair(writer, to_there)
        pair.is_diverted = target is self._diversion
        pair.left, self._cut_next_after = self._cut_next_after or self._cut_after, None
        self._pairs.add(pair)
        try:
            await asyncio.gather(
                self._pass(pair, reader, to_there), self._pass(pair, there, writer, replies=True)
            )
            writer.close()
            to_there.close()
        finally:
            self._pairs.discard(pair)

    async def _pass(
        self,
        pair: _ConnectionPair,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        replies: bool = False,
    ) -> None:
        try:
            while chunk := await reader.read(65536):
                if self.latency_seconds:
                    await asyncio.sleep(self.latency_seconds)
                if self._swallowing or pair.is_frozen:
                    continue
                if replies and pair.is_diverted:
                    self._diversion = None
                if replies and pair.mute:
                    pair.reset()
                    break
                if replies and pair.left is not None:
                    chunk = chunk[: pair.left]
                    pair.left -= len(chunk)
                writer.write(chunk)
                await writer.drain()
                if pair.left == 0:
                    pair.reset()
                    break
            if not self._swallowing and not writer.is_closing():
                writer.write_eof()
        except BaseException as error:
            pair.reset()
            if not isinstance(error, OSError):
                raise


class KeepingProxy(TcpProxy):
    """A client never notices that the server has closed its connection.

    The proxy connects again, to the `target` of that moment, as soon as the client sends something.
    """

    def __init__(self, target: tuple[str, int]) -> None:
        super().__init__()
        self.target = target
        self.accepted = 0  # number of client connections so far
        self.connected = 0  # number of connections to the server

    async def pass_bytes(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        replies: asyncio.Task[None] | None = None
        to_server: asyncio.StreamWriter | None = None
        try:
            while chunk := await reader.read(65536):
                if to_server is None or replies is None or replies.done():
                    from_server, to_server = await asyncio.open_connection(*self.target)
                    replies = asyncio.create_task(
                        self._pass_replies(from_server, to_server, writer)
                    )
                to_server.write(chunk)
        except OSError:
            pass
        finally:
            if replies is not None:
                replies.cancel()
                await asyncio.gather(replies, return_exceptions=True)
            writer.transport.abort()

    async def _pass_replies(
        self,
        reader: asyncio.StreamReader,
        to_server: asyncio.StreamWriter,
        writer: asyncio.StreamWriter,
    ) -> None:
        self.connected += 1
        try:
            while chunk := await reader.read(65536):
                writer.write(chunk)
        except OSError:
            pass
        finally:
            self.connected -= 1
            to_server.transport.abort()
