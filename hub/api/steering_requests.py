"""Messages for answers that run: what a client sends, and its checks."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from hub.core.event import check_idempotency_key
from hub.core.generation import Message
from hub.errors import BadRequest

MAX_STEER_BODY_BYTES: Final = 64 * 1024
_USER: Final = "user"


class SteerBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of POST /generations/{id}/steer.

    `message` is a text, or a message with the role `user` in the form of OpenAI's chat completions.
    `id` is an idempotency key: the same one again changes nothing.
    """

    message: str | Message
    id: str | None = None

    def read_message(self) -> dict[str, Any]:
        """Return the message as an object. Raise BadRequest for what no user says."""
        message = self.message
        if isinstance(message, str):
            message = Message(role=_USER, content=message)
        check_user_message(message, path="message")
        fields: dict[str, Any] = msgspec.to_builtins(message)
        return fields

    def read_key(self, header: str | None) -> str | None:
        """Return the idempotency key of the body or the header. Raise BadRequest."""
        key = self.id or header
        return None if key is None else check_idempotency_key(key)


def check_user_message(message: Message, *, path: str) -> None:
    """Raise BadRequest unless a message is one of the user and says something."""
    if message.role != _USER:
        raise BadRequest(f"the role of {path} is {_USER}", path=path)
    if not message.content:
        raise BadRequest(f"{path} is empty", path=path)
