"""Write to a socket that was taken over from aiohttp after a response's headers.

aiohttp's protocol, request, response and two tasks need ten kilobytes, which an idle stream does
not use. So the hub takes the socket over as soon as the headers are sent.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Callable
from functools import partial
from typing import Final, TypeVar

from aiohttp import web

from hub.ports.connections import ConnectionOwner

_MAX_UNEXPECTED_BYTES: Final = 64 * 1024
_TCP_INFO: Final = getattr(socket, "TCP_INFO", 11)
_BYTES_SENT_AT: Final = 200  # in struct tcp_info, linux/tcp.h


class SocketWriter(asyncio.Protocol):
    """Implements ports.ConnectionWriter on a connection that was taken over from aiohttp.

    While the event loop's transport buffers nothing, bytes go directly into the socket, without a
    queue and without another loop iteration. The transport gets what the socket does not take. The
    client should not send anything: its bytes are dropped, and after _MAX_UNEXPECTED_BYTES the
    connection is aborted.

    write_buffer_bytes: how much the transport may buffer before the writer counts as full.
    """

    __slots__ = (
        "_held",
        "_transport",
        "_unexpected_bytes",
        "cursor_prefix",
        "is_closing",
        "is_full",
        "owner",
        "try_send",
    )

    def __init__(self, transport: asyncio.Transport, *, write_buffer_bytes: int) -> None:
        self._transport = transport
        self._held = b""  # sent with the next write
        self._unexpected_bytes = 0  # received from the client
        self.owner: ConnectionOwner | None = None
        self.cursor_prefix = b""
        self.is_full = False
        self.is_closing = transport.is_closing
        self.try_send: Callable[[bytes], int] = self._send_encrypted
        if transport.get_extra_info("sslcontext") is None:
            self.try_send = partial(os.write, transport.get_extra_info("socket").fileno())
        transport.set_protocol(self)
        if not transport.is_reading():
            transport.resume_reading()  # otherwise a disconnect of the client goes unnoticed
        transport.set_write_buffer_limits(write_buffer_bytes, write_buffer_bytes // 4)

    @property
    def is_drained(self) -> bool:
        return not self._transport.get_write_buffer_size()

    def write(self, frames: bytes) -> None:
        if self.is_closing():
            return
        if self._held:
            frames, self._held = self._held + frames, b""
        if not frames:
            return
        sent = 0
        if self.is_drained:
            try:
                sent = self.try_send(frames)
            except OSError:
                pass  # the socket is full or lost; the transport finds out which
        if sent < len(frames):
            self._transport.write(frames[sent:])

    def hold(self, head: bytes) -> None:
        """Send these bytes together with the first ones that are written."""
        self._held = head

    def send_held(self) -> None:
        """Send the held bytes now, if nothing was written yet."""
        if self._held:
            self.write(b"")

    def sent_bytes(self) -> int | None:
        """Return the kernel's count (Linux 4.19, tcp_info: tcpi_bytes_sent), so that no write has
        to count.
        """
        try:
            socket_ = self._transport.get_extra_info("socket")
            info = socket_.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, _BYTES_SENT_AT + 8)
        except (OSError, AttributeError):
            return None
        if len(info) < _BYTES_SENT_AT + 8:
            return None
        return int.from_bytes(info[_BYTES_SENT_AT:], sys.byteorder)

    def close(self) -> None:
        self.send_held()
        self._transport.close()

    def abort(self) -> None:
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._unexpected_bytes += len(data)
        if self._unexpected_bytes > _MAX_UNEXPECTED_BYTES:
            self.abort()

    def pause_writing(self) -> None:
        self.is_full = True

    def resume_writing(self) -> None:
        self.is_full = False
        if self.owner is not None:
            self.owner.on_writable()

    def connection_lost(self, error: Exception | None) -> None:
        if self.owner is not None:
            self.owner.on_disconnect()

    def _send_encrypted(self, frames: bytes) -> int:
        if not self.is_drained:
            raise BlockingIOError
        self._transport.write(frames)
        return len(frames)


S = TypeVar("S", bound=SocketWriter)


def take_over(request: web.Request, *, write_buffer_bytes: int) -> SocketWriter:
    """Take over the connection of a request whose headers have been sent, or will be by the writer.

    aiohttp is told that the connection is lost: it forgets the request and cancels the handler.
    Raise ConnectionResetError if the client has disconnected.
    """
    return take_over_with(SocketWriter, request, write_buffer_bytes=write_buffer_bytes)


def take_over_with(
    new_writer: Callable[..., S], request: web.Request, *, write_buffer_bytes: int
) -> S:
    """Do the same with another class of writer.

    new_writer: is called with the transport and `write_buffer_bytes`.
    """
    transport, protocol = request.transport, request.protocol
    if transport is None or transport.is_closing():
        raise ConnectionResetError("the client disconnected before its stream began")
    writer = new_writer(transport, write_buffer_bytes=write_buffer_bytes)
    protocol.transport = None  # otherwise aiohttp closes it
    protocol.connection_lost(None)
    return writer
