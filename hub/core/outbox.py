"""The frames that wait while one connection's socket is full, bounded in number and bytes.

One frame always fits into an empty outbox, however large it is: a client that reads as fast as it
can would otherwise be too slow for the last events of a long answer, which repeat the whole text.

The outbox only reports that it is full and keeps what it has. What then happens is the caller's
decision: the hub closes the connection as slow, and the client resumes with its cursor.
"""

from __future__ import annotations


class Outbox:
    """A queue of frames (bytes) with two bounds."""

    __slots__ = ("_bytes", "_frames", "_max_bytes", "_max_frames")

    def __init__(self, *, max_frames: int, max_bytes: int) -> None:
        self._frames: list[bytes] = []
        self._bytes = 0
        self._max_frames = max_frames
        self._max_bytes = max_bytes

    def push(self, frame: bytes) -> bool:
        """Add a frame and return True, or return False when there is no room for it."""
        is_full = len(self._frames) >= self._max_frames
        if self._frames and (is_full or self._bytes + len(frame) > self._max_bytes):
            return False
        self._frames.append(frame)
        self._bytes += len(frame)
        return True

    def pop(self, min_bytes: int) -> bytes:
        """Remove and return the oldest frames: at least `min_bytes` together, or all of them."""
        count = size = 0
        while count < len(self._frames) and size < min_bytes:
            size += len(self._frames[count])
            count += 1
        frames = b"".join(self._frames[:count])
        del self._frames[:count]
        self._bytes -= size
        return frames

    def __len__(self) -> int:
        return len(self._frames)
