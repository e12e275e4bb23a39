"""Long polling: one response with the stored events, or with the next events within the wait.

While it waits, a poll is a connection like any other and costs as much. Its first events end it:
the events of one event loop iteration go into one response, `{"events":[…],"cursor":"…"}`. The next
poll continues from the cursor, so that events between two polls are not lost.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Final

from hub.core import ndjson
from hub.ports.connections import ConnectionOwner
from hub.transports.socket_writer import SocketWriter

_ID: Final = re.compile(rb'^\{"id":"([^"]*)"')


class PollEventEncoder:
    """Implements ports.EventEncoder: an event is a line, which the writer puts into its response.

    Neither heartbeats nor `hub.open` are sent.
    """

    label = "poll"
    heartbeat = b""

    def encode(self, name: str, data: bytes, channel: str = "") -> bytes:
        return ndjson.encode_line(name, data, channel)

    def frame(self, body: bytes, cursor: bytes | None, /) -> bytes:
        return ndjson.with_id(body, cursor)

    def first_event(self, body: bytes, cursor: bytes, retry_ms: int) -> bytes:
        return b""

    def trailer(self, *, reconnect: bool) -> bytes:
        return b""


class PollWriter:
    """Implements ports.ConnectionWriter over a socket's: collects the events of one event loop
    iteration, sends them as the response, and closes.

    chunked: whether the response uses HTTP/1.1 chunks.
    """

    def __init__(self, socket: SocketWriter, *, chunked: bool) -> None:
        self._socket = socket
        self._chunked = chunked
        self._lines: list[bytes] = []  # the events of the response
        self._responded = False
        self.owner: ConnectionOwner | None = None
        self.cursor_prefix = b""
        # The client's position, for a response without events.
        self.cursor: Callable[[], bytes] = lambda: b""
        # Called when the response has its events: closes the connection.
        self.on_complete: Callable[[], None] = self.close
        self.is_closing = socket.is_closing
        socket.owner = self

    @property
    def is_drained(self) -> bool:
        return True

    @property
    def is_full(self) -> bool:
        return False

    def try_send(self, frames: bytes) -> int:
        self.write(frames)
        return len(frames)

    def write(self, frames: bytes) -> None:
        if not frames or self._responded:
            return
        if not self._lines:
            asyncio.get_running_loop().call_soon(self._complete)
        self._lines += frames.splitlines()

    def sent_bytes(self) -> int | None:
        return self._socket.sent_bytes()

    def close(self) -> None:
        self._respond()

    def abort(self) -> None:
        self._socket.abort()

    def on_writable(self) -> None:
        """Do nothing: the socket is written to only once."""

    def on_disconnect(self) -> None:
        """The socket is closed, before or after the response."""
        if self.owner is not None:
            self.owner.on_disconnect()

    def _complete(self) -> None:
        if self.owner is not None:
            self.on_complete()

    def _respond(self) -> None:
        if self._responded:
            return
        self._responded = True
        ids = [match[1] for line in self._lines if (match := _ID.match(line))]
        cursor = ids[-1] if ids else self.cursor()
        body = b'{"events":[%b],"cursor":"%b"}' % (b",".join(self._lines), cursor)
        if self._chunked:
            body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        self._socket.write(body)
        self._socket.close()
