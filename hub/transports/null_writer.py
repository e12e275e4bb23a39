"""A writer without a socket, for a client that gets the whole answer in one response."""

from __future__ import annotations

from hub.ports.connections import ConnectionOwner


class NullWriter:
    """Implements ports.ConnectionWriter: discards everything."""

    def __init__(self) -> None:
        self.owner: ConnectionOwner | None = None
        self.cursor_prefix = b""
        self._closed = False

    @property
    def is_drained(self) -> bool:
        return True

    @property
    def is_full(self) -> bool:
        return False

    def is_closing(self) -> bool:
        return self._closed

    def try_send(self, frames: bytes, /) -> int:
        return len(frames)

    def write(self, frames: bytes) -> None:
        """Discard the frames."""

    def sent_bytes(self) -> int | None:
        return 0

    def close(self) -> None:
        self._closed = True

    def abort(self) -> None:
        self._closed = True
