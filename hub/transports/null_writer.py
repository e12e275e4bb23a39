"""A sink without a socket, for a client that waits for the end of an answer and gets it whole."""

from __future__ import annotations

from hub.ports.connections import ConnectionOwner


class NullWriter:
    """Implements ports.Sink: takes everything and keeps nothing."""

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
        """Nobody reads it."""

    def sent_bytes(self) -> int | None:
        return 0

    def close(self) -> None:
        self._closed = True

    def abort(self) -> None:
        self._closed = True
