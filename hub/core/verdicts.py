"""What a guard sees of an answer, and what it decides about it (hub/guard.py)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

from hub.core.growing_text import GrowingText

CheckedKind = Literal["text", "reasoning"]
"""The texts of an answer that a guard can check."""

_CODE: Final = re.compile(r"[a-z0-9_]{1,64}")


class _Verdict(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="verdict", tag=str.lower
):
    """Base class of the verdicts. `verdict` is the name of one in JSON."""


class Pass(_Verdict, frozen=True):
    """The text of the window may be shown as it is. None means the same."""


class Replace(_Verdict, frozen=True):
    """Another text takes the place of the window's text. text: may be empty."""

    text: str


class Retract(_Verdict, frozen=True):
    """A new text takes the place of the whole answer so far, also of what was shown."""

    text: str = ""


class End(_Verdict, frozen=True):
    """The answer ends as failed, and the text of the window is not shown.

    code: 1 to 64 characters of a to z, 0 to 9 and `_`. message: shown to the client. text: takes
    the place of all text that was shown, as in Retract; None leaves that text as it is.
    Raise ValueError for another code.
    """

    code: str
    message: str
    text: str | None = None

    def __post_init__(self) -> None:
        if not _CODE.fullmatch(self.code):
            raise ValueError("the code of End must have 1 to 64 characters: a to z, 0 to 9 and _")


Verdict = Pass | Replace | Retract | End


class GuardContext(msgspec.Struct, frozen=True, kw_only=True):
    """For whom the answer is that a guard checks. The fields mean the same as in hub.guard.Window.

    It is sent to the process of the guard, and has nothing but JSON.
    """

    user: str
    generation: str
    attempt: int
    chat: str | None = None
    metadata: Mapping[str, Any] = {}


class TextWindow(msgspec.Struct, frozen=True, kw_only=True):
    """The part of a text that is not shown yet, together with the text before it.

    kind: the text or the reasoning of the answer. text: that of the window. before: the text before
    it, up to `start`. number: counts the windows of this kind from 0. unchanged: how many
    characters of the whole text are those of the window before this one. is_closed: whether the
    text ends there or is interrupted; otherwise the next window begins with the last characters of
    this one. is_last: whether nothing of the answer follows.
    """

    kind: CheckedKind
    text: str
    before: GrowingText
    start: int
    number: int
    unchanged: int
    is_closed: bool
    is_last: bool

    @property
    def whole_text(self) -> str:
        """All text so far, as it is or will be shown. It ends with that of the window."""
        return self.read(0)

    def read(self, start: int) -> str:
        """Return the whole text from a position on."""
        if start >= self.start:
            return self.text[start - self.start :]
        return self.before.read(start, self.start) + self.text
