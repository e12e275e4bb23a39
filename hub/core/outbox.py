"""What one connection must still be sent while its socket is full, bounded in count and bytes.

Overflow is the caller's decision (the hub closes the connection as slow: it resumes by cursor);
this only says that the bound is reached and keeps what it had.
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
        """Keeps the frame and returns True, or returns False when there is no room for it."""
        if len(self._frames) >= self._max_frames or self._bytes + len(frame) > self._max_bytes:
            return False
        self._frames.append(frame)
        self._bytes += len(frame)
        return True

    def pop(self, min_bytes: int) -> bytes:
        """The oldest frames, as many as come to `least_bytes` together, or all there are."""
        count = size = 0
        while count < len(self._frames) and size < min_bytes:
            size += len(self._frames[count])
            count += 1
        taken = b"".join(self._frames[:count])
        del self._frames[:count]
        self._bytes -= size
        return taken

    def __len__(self) -> int:
        return len(self._frames)
