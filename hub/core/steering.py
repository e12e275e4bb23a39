"""Messages that a user sends to an answer that runs, so that its producer takes them into account.

Rules, which lua/steering.lua implements in Redis:
1. The messages of an answer are numbered from 0. One is stored in the record and published as
   `generation.steered` in the same step, so it survives the attempts of the answer.
2. A message that is repeated with its idempotency key has its first number.
3. An answer that an LLM endpoint gives takes none: nobody could tell the endpoint.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from hub.core.messages import last_prompt

STEERED: Final = "generation.steered"
MAX_STEERING_MESSAGES: Final = 100
MAX_STEERING_BYTES: Final = 256 * 1024
"""The bounds of one answer: the number of its messages, and the bytes of their JSON."""


class SteeringMessage(msgspec.Struct, frozen=True):
    """A message for an answer. n: its number. message: in the form of OpenAI's chat completions,
    with the role `user`. by: the user who sent it.
    """

    n: int
    message: dict[str, Any]
    by: str

    @property
    def text(self) -> str:
        """The text of the message."""
        return last_prompt([self.message])


def last_user_message(messages: Sequence[msgspec.Struct]) -> dict[str, Any] | None:
    """Return the newest message of the user in a conversation, None if there is none."""
    for message in reversed(messages):
        fields: dict[str, Any] = msgspec.to_builtins(message)
        if fields.get("role") == "user":
            return fields
    return None


def common_length(first: Sequence[SteeringMessage], second: Sequence[SteeringMessage]) -> int:
    """Return how many messages both begin with.

    A fail-over can lose the newest messages of a record; others then get their numbers.
    """
    length = 0
    for one, other in zip(first, second, strict=False):
        if one != other:
            break
        length += 1
    return length
