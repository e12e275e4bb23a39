"""The messages that a user sends while a producer answers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec


class SteeringMessage(msgspec.Struct, frozen=True):
    """A message of the user.

    n: its number; those of an answer count from 0. message: in the form of OpenAI's chat
    completions, with the role `user`. by: the user who sent it.
    """

    n: int
    message: dict[str, Any]
    by: str | None = None

    @property
    def text(self) -> str:
        """The text of the message."""
        content = self.message.get("content")
        if isinstance(content, str):
            return content
        parts = content if isinstance(content, list) else []
        texts = (part.get("text") for part in parts if isinstance(part, dict))
        return "\n".join(text for text in texts if isinstance(text, str))


class SteeringInbox:
    """The messages of an answer in their order. taken: how many the producer has taken.

    Posts and the control stream tell of the same messages.
    """

    def __init__(self, messages: Iterable[SteeringMessage], taken: int) -> None:
        self._messages: list[SteeringMessage] = []
        self.taken = taken
        self.add(messages)

    def add(self, messages: Iterable[SteeringMessage]) -> None:
        """Add those that are not known."""
        for message in messages:
            if message.n == len(self._messages):
                self._messages.append(message)

    def take(self) -> list[SteeringMessage]:
        """Return the messages since the last call."""
        new = self._messages[self.taken :]
        self.taken += len(new)
        return new
