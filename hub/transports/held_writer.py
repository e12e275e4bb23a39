"""A writer for a stream whose response has not begun: it keeps the bytes for the socket."""

from __future__ import annotations

import asyncio

from hub.ports.connections import ConnectionOwner, ConnectionWriter


class HeldWriter:
    """Implements ports.ConnectionWriter without a socket: everything written waits for one.

    max_bytes: how many bytes it keeps before it counts as full. The rest then waits in the
    connection's outbox, as for a client that does not read.
    """

    def __init__(self, max_bytes: int) -> None:
        self.owner: ConnectionOwner | None = None
        self.cursor_prefix = b""
        self._max_bytes = max_bytes
        self._frames: list[bytes] = []
        self._waiting_bytes = 0
        self._closed = False
        self._aborted = False
        self._changed = asyncio.Event()  # set by each write and by the end

    @property
    def is_drained(self) -> bool:
        return not self._frames

    @property
    def is_full(self) -> bool:
        return self._waiting_bytes > self._max_bytes

    def is_closing(self) -> bool:
        return self._closed

    def try_send(self, frames: bytes, /) -> int:
        self.write(frames)
        return len(frames)

    def write(self, frames: bytes) -> None:
        if frames and not self._closed:
            self._frames.append(frames)
            self._waiting_bytes += len(frames)
            self._changed.set()

    def sent_bytes(self) -> int | None:
        return 0

    def close(self) -> None:
        self._closed = True
        self._changed.set()

    def abort(self) -> None:
        self._aborted = True
        self.close()

    async def wait_change(self) -> None:
        """Wait until something was written since the last call, or the writer was closed."""
        await self._changed.wait()
        if not self._closed:
            self._changed.clear()

    def move_to(self, writer: ConnectionWriter) -> None:
        """Pass on what was written, and the end if there was one."""
        if self._aborted:
            writer.abort()
            return
        writer.write(b"".join(self._frames))
        self._frames, self._waiting_bytes = [], 0
        if self._closed:
            writer.close()
