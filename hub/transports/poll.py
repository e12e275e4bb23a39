"""Long polling: one answer with the events that are there, or that come within the wait.

While it waits a poll is a connection like any other, and costs as much. The first events end it:
those of one tick go together, as `{"events":[…],"cursor":"…"}`; the next poll goes on from the
cursor, so what comes between two polls is not lost.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any, Final

from hub.core import ndjson
from hub.core.close_reason import CloseReason
from hub.engine.connection import Connection
from hub.transports.socket_writer import SocketWriter

_ID: Final = re.compile(rb'^\{"id":"([^"]*)"')


class PollEventEncoder:
    """Implements ports.Transport: an event is a line, which the sink puts into its answer."""

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
    """Implements ports.Sink over the socket's: gathers the lines of one tick, answers, and ends.

    cursor: where the client stands when none of the lines says it.
    """

    def __init__(self, socket: SocketWriter, *, chunked: bool) -> None:
        self._socket = socket
        self._chunked = chunked
        self._lines: list[bytes] = []
        self._answered = False
        self.owner: Any = None
        self.cursor_prefix = b""
        self.cursor: Callable[[], bytes] = lambda: b""
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
        if not frames or self._answered:
            return
        if not self._lines:
            asyncio.get_running_loop().call_soon(self._finish)
        self._lines += frames.splitlines()

    def sent_bytes(self) -> int | None:
        return self._socket.sent_bytes()

    def close(self) -> None:
        self._answer()

    def abort(self) -> None:
        self._socket.abort()

    def on_writable(self) -> None:
        """The socket is only written to once."""

    def on_disconnect(self) -> None:
        """The client has left, or has its answer."""
        if self.owner is not None:
            self.owner.on_disconnect()

    def _finish(self) -> None:
        if self.owner is not None:
            self.owner.close(CloseReason.POLLED)

    def _answer(self) -> None:
        if self._answered:
            return
        self._answered = True
        ids = [found[1] for line in self._lines if (found := _ID.match(line))]
        cursor = ids[-1] if ids else self.cursor()
        body = b'{"events":[%b],"cursor":"%b"}' % (b",".join(self._lines), cursor)
        if self._chunked:
            body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        self._socket.write(body)
        self._socket.close()


class PollConnection(Connection):
    """A connection that ends with its first events, or when its wait is over.

    asked: the cursor that the client came with. at_once: it does not wait at all.
    """

    __slots__ = ("_asked", "_at_once")

    def __init__(
        self, name: str, *, writer: PollWriter, asked: bytes, at_once: bool, **parts: Any
    ) -> None:
        super().__init__(name, writer=writer, **parts)
        self._asked = asked
        self._at_once = at_once
        writer.cursor = self._where

    def send_open(self, **said: Any) -> None:
        """A poll begins with nothing to say."""

    def close(self, reason: CloseReason, *, later_ms: int = 0) -> None:
        """A wait that is over says nothing but where the client stands."""
        if reason is not CloseReason.POLLED:
            super().close(reason, later_ms=later_ms)
        elif self.close_reason is None:
            self.writer.close()
            self.leave_sync()
            self._finish(reason)

    def enter_sync(self) -> None:
        """It has all there was."""
        super().enter_sync()
        if self._at_once and self.is_synced:
            self.close(CloseReason.POLLED)

    def _where(self) -> bytes:
        """Where the client stands: before the log was read, where it came from."""
        return self._cursor() or self._asked
