"""What an application's own code imports to check answers before they are shown.

    from hub.guard import End, Replace, Window

    async def check(window: Window):
        if "internal" in window.text:
            return Replace(window.text.replace("internal", "…"))

The worker calls such a function with each window of an answer, and does what it returns.
docs/guides/guards.md describes windows and verdicts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from hub.core.verdicts import (
    CheckedKind,
    End,
    GuardContext,
    Pass,
    Replace,
    Retract,
    TextWindow,
    Verdict,
)

__all__ = ["End", "Pass", "Replace", "Retract", "Verdict", "Window"]


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """What a guard checks: text of an answer that is not shown yet.

    user: who asks, empty if no user did. generation: the id of the answer. attempt: counts from 1.
    chat: the id of the user's conversation, None outside of one. metadata: that of the request.
    kind: `text` or `reasoning`. text: the text of the window. whole_text: all text of this kind so
    far, which ends with that of the window. is_closed: whether the text ends there or is
    interrupted, for example by a tool call; otherwise the next window begins with the last
    characters of this one. is_last: whether nothing of the answer follows.
    """

    user: str
    generation: str
    attempt: int
    chat: str | None
    metadata: Mapping[str, Any]
    kind: CheckedKind
    text: str
    whole_text: str
    is_closed: bool
    is_last: bool

    @classmethod
    def build(cls, context: GuardContext, window: TextWindow) -> Window:
        """Return the window of an answer, for whom the context says."""
        return cls(
            user=context.user,
            generation=context.generation,
            attempt=context.attempt,
            chat=context.chat,
            metadata=context.metadata,
            kind=window.kind,
            text=window.text,
            whole_text=window.whole_text,
            is_closed=window.is_closed,
            is_last=window.is_last,
        )
