"""Messages for an upstream that has Anthropic's API itself: the blocks as the client sends them.

What the hub's own encoder has put into the blocks of earlier answers is taken out, because the API
refuses what it does not know: blocks of thinking that another upstream has written, and empty text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from hub.api.null_members import drop_null_members
from hub.compat.anthropic.thinking import to_anthropic
from hub.core.generation import Message

_THINKING: Final = ("thinking", "redacted_thinking")
_OTHER_VENDORS_FIELDS: Final = ("extra_content",)
"""Fields of a tool call that another vendor needs back."""
Content = str | list[dict[str, Any]]


def to_native_messages(messages: Sequence[tuple[str, Content]]) -> list[Message]:
    """Return the messages without the system prompt. messages: their roles and contents."""
    return [Message(role=role, content=_to_content(content)) for role, content in messages]


def _to_content(content: Content) -> Content:
    if isinstance(content, str):
        return content
    return [block for given in content for block in _to_blocks(drop_null_members(given))]


def _to_blocks(block: dict[str, Any]) -> Iterator[dict[str, Any]]:
    kind = block.get("type")
    if kind in _THINKING:
        yield from to_anthropic(block)
    elif kind == "tool_use":
        yield {name: value for name, value in block.items() if name not in _OTHER_VENDORS_FIELDS}
    elif kind != "text" or block.get("text"):
        yield block
