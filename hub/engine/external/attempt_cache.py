"""The attempts of external producers that post through this node, those that posted last."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from weakref import WeakValueDictionary

from hub.engine.external.external_attempt import ExternalAttempt


class AttemptCache:
    """Keeps attempts up to a number of bytes; what it drops is read from the record again."""

    def __init__(self, *, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._attempts: OrderedDict[str, tuple[ExternalAttempt, int]] = OrderedDict()
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def lock(self, generation: str) -> asyncio.Lock:
        """Return what lets one post at a time publish parts of a generation on this node."""
        lock = self._locks.get(generation)
        if lock is None:
            lock = self._locks[generation] = asyncio.Lock()
        return lock

    def take(self, generation: str) -> ExternalAttempt | None:
        """Remove and return an attempt. Whoever published with it puts it back."""
        attempt, size = self._attempts.pop(generation, (None, 0))
        self._bytes -= size
        return attempt

    def put(self, generation: str, attempt: ExternalAttempt) -> None:
        """Keep an attempt, and drop those that were used longest ago if there are too many."""
        self.take(generation)
        size = attempt.size_bytes + _OBJECT_BYTES
        self._attempts[generation] = (attempt, size)
        self._bytes += size
        while self._bytes > self._max_bytes and self._attempts:
            self.take(next(iter(self._attempts)))


_OBJECT_BYTES = 4096  # of an attempt without parts, roughly
