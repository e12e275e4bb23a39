"""Messages as OpenAI's clients send them: what more they say than the hub knows is left out."""

from __future__ import annotations

from typing import Any

import msgspec

from hub.core.generation import Message
from hub.errors import BadRequest


class ChatMessage(msgspec.Struct, frozen=True):
    """A turn of chat completions. Clients send answers back with fields that are not asked for."""

    role: str
    content: str | list[dict[str, Any]] | None = None
    name: str | None = None
    tool_calls: list[dict[str, Any]] | None = None
    tool_call_id: str | None = None

    def to_message(self) -> Message:
        """As the hub keeps it."""
        return Message(
            role=self.role,
            content=self.content,
            name=self.name,
            tool_calls=self.tool_calls or None,
            tool_call_id=self.tool_call_id,
        )


def unknown_fields(body: dict[str, Any], known: frozenset[str]) -> dict[str, Any]:
    """What goes to the upstream as it is: all that is not known here, and said."""
    return {name: value for name, value in body.items() if name not in known and value is not None}


def reject_fields(body: dict[str, Any], *names: str) -> None:
    """Raises BadRequest for what would be lost without a word."""
    for name in names:
        if body.get(name):
            raise BadRequest(f"{name} is not carried here; leave it out", path=name)
