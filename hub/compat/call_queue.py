"""The order in which the tool calls of an answer are streamed.

An LLM may send the arguments of parallel calls alternately. The servers of OpenAI and Anthropic end
each item before
the next one begins, and some clients rely on it: they add the arguments to the newest call, or
order the items by their ends. So one call is streamed at a time. The others wait until it has its
arguments, which is certain when these are a JSON object, or until the answer ends.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import msgspec

from hub.compat.answer_state import ToolCall


class CallQueue:
    """The calls by their numbers, in the order in which they began."""

    def __init__(self) -> None:
        self._queue = deque[int]()
        self._known: set[int] = set()

    def add(self, number: int) -> None:
        """Add a call, unless it was added before."""
        if number not in self._known:
            self._known.add(number)
            self._queue.append(number)

    @property
    def current(self) -> int | None:
        """The number of the call that is streamed now."""
        return self._queue[0] if self._queue else None

    def __contains__(self, number: int) -> bool:
        """Whether a call has been added and has not ended."""
        return number in self._queue

    @property
    def has_waiting(self) -> bool:
        """Whether another call waits for the current one."""
        return len(self._queue) > 1

    def has_arguments(self, calls: Sequence[ToolCall]) -> bool:
        """Return whether the current call has all its arguments. calls: those of the answer."""
        return bool(self._queue) and _is_object(calls[self._queue[0]].arguments)

    def finish(self) -> None:
        """End the current call; the next one becomes current."""
        self._queue.popleft()


def _is_object(arguments: str) -> bool:
    if not arguments.rstrip().endswith("}"):
        return False
    try:
        return isinstance(msgspec.json.decode(arguments), dict)
    except (msgspec.DecodeError, RecursionError):
        return False
