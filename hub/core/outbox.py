"""What one connection must still be sent while its socket is full, bounded in count and bytes.

Overflow is the caller's decision (the hub closes the connection as slow: it resumes by cursor);
this only says that the bound is reached and keeps what it had.
"""

from __future__ import annotations

from collections import deque


class Outbox:
    """A queue of frames (bytes) with two bounds. `frames` is for looking at, not for changing."""

    __slots__ = ("_bytes", "_max_bytes", "_max_frames", "frames")

    def __init__(self, *, max_frames: int, max_bytes: int) -> None:
        self.frames: deque[bytes] = deque()
        self._bytes = 0
        self._max_frames = max_frames
        self._max_bytes = max_bytes

    def push(self, frame: bytes) -> bool:
        """Keeps the frame and returns True, or returns False when there is no room for it."""
        if len(self.frames) >= self._max_frames or self._bytes + len(frame) > self._max_bytes:
            return False
        self.frames.append(frame)
        self._bytes += len(frame)
        return True

    def take(self) -> bytes:
        """The oldest frame. Raises IndexError when there is none."""
        frame = self.frames.popleft()
        self._bytes -= len(frame)
        return frame

    def __len__(self) -> int:
        return len(self.frames)
