"""The messages that a user sends to a run, as its process has them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from hub.core.steering import SteeringMessage


class ReceivedMessages:
    """The messages that the function has not taken. taken: the number of those that it has."""

    def __init__(self, messages: Iterable[SteeringMessage], taken: int) -> None:
        self._new = deque(messages)
        self.taken = taken

    def add(self, messages: Iterable[SteeringMessage]) -> None:
        """Add messages that have come."""
        self._new.extend(messages)

    def take(self) -> list[SteeringMessage]:
        """Return the messages since the last call."""
        messages = [*self._new]
        self._new.clear()
        if messages:
            self.taken = messages[-1].n + 1
        return messages
