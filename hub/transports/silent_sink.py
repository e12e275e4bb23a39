"""A sink without a socket, for a client that waits for the end of an answer and gets it whole."""

from __future__ import annotations

from hub.ports import SinkOwner


class SilentSink:
    """Implements ports.Sink: takes everything and keeps nothing."""

    def __init__(self) -> None:
        self.owner: SinkOwner | None = None
        self.own = b""
        self._closed = False

    @property
    def idle(self) -> bool:
        return True

    @property
    def paused(self) -> bool:
        return False

    def gone(self) -> bool:
        return self._closed

    def send(self, frames: bytes, /) -> int:
        return len(frames)

    def write(self, frames: bytes) -> None:
        """Nobody reads it."""

    def sent_bytes(self) -> int | None:
        return 0

    def close(self) -> None:
        self._closed = True

    def abort(self) -> None:
        self._closed = True
