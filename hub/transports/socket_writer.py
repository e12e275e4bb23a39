"""The bytes' way into a socket, on a connection taken over from aiohttp after a response's headers.

After the headers a stream leaves aiohttp: its protocol, request, response and two tasks are ten
kilobytes that an idle stream has no use for.
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
    """Implements ports.Sink on a connection taken over from aiohttp, after a response's headers.

    While nothing waits in the event loop's transport, bytes go straight into the socket: no queue,
    and no second look at the end of the tick. What the socket does not take is the transport's.
    The client may only leave: what it still says is dropped, and whoever goes on is cut off.
    """

    __slots__ = (
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
        self._unexpected_bytes = 0
        self.owner: ConnectionOwner | None = None
        self.cursor_prefix = b""
        self.is_full = False
        self.is_closing = transport.is_closing
        self.try_send: Callable[[bytes], int] = self._send_encrypted
        if transport.get_extra_info("sslcontext") is None:
            self.try_send = partial(os.write, transport.get_extra_info("socket").fileno())
        transport.set_protocol(self)
        if not transport.is_reading():
            transport.resume_reading()  # else the client's leaving would not be seen
        transport.set_write_buffer_limits(write_buffer_bytes, write_buffer_bytes // 4)

    @property
    def is_drained(self) -> bool:
        return not self._transport.get_write_buffer_size()

    def write(self, frames: bytes) -> None:
        if self.is_closing():
            return
        sent = 0
        if self.is_drained:
            try:
                sent = self.try_send(frames)
            except OSError:
                pass  # full, or lost: the transport finds out which
        if sent < len(frames):
            self._transport.write(frames[sent:])

    def sent_bytes(self) -> int | None:
        """As the kernel counts them (Linux's tcp_info: tcpi_bytes_sent, since 4.19), so that no
        write need count.
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
    """The connection of a request whose response has begun, from aiohttp, which is told that it is
    lost: it forgets the request and cancels the handler. Raises ConnectionResetError.
    """
    return take_over_with(SocketWriter, request, write_buffer_bytes=write_buffer_bytes)


def take_over_with(kind: type[S], request: web.Request, *, write_buffer_bytes: int) -> S:
    """The same as another kind of sink."""
    transport, protocol = request.transport, request.protocol
    if transport is None or transport.is_closing():
        raise ConnectionResetError("the client left before its stream began")
    sink = kind(transport, write_buffer_bytes=write_buffer_bytes)
    protocol.transport = None  # it would close it
    protocol.connection_lost(None)
    return sink
