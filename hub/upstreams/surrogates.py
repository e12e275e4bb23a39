"""Repair of characters that an upstream splits between two deltas.

Some upstreams cut their text between the two UTF-16 code units of a character (a surrogate pair)
and escape each half on its own in JSON, which msgspec refuses to decode. `decode_surrogates` reads
such JSON and replaces each half by a private character; `SurrogateJoiner` joins the halves again.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from hub.core.stream_parts import ReasoningDelta, StreamPart, TextDelta

_FIRST_SURROGATE: Final = 0xD800
_SURROGATES: Final = 0x800  # the number of surrogate code points
_PLACEHOLDERS: Final = 0xF0000  # private characters that stand for the surrogates


def decode_surrogates(text: str) -> str:
    """Return the JSON with a private character in place of each surrogate.

    Raise ValueError or RecursionError when the text is not JSON.
    """
    return json.dumps(_escape_surrogates(json.loads(text)), ensure_ascii=False)


def _escape_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return "".join(
            chr(ord(c) - _FIRST_SURROGATE + _PLACEHOLDERS) if "\ud800" <= c <= "\udfff" else c
            for c in value
        )
    if isinstance(value, list):
        return [_escape_surrogates(each) for each in value]
    if isinstance(value, dict):
        return {key: _escape_surrogates(each) for key, each in value.items()}
    return value


class SurrogateJoiner:
    """Joins the halves of split characters across the parts of one response."""

    def __init__(self) -> None:
        self._held = ""  # a first half that waits for its second one

    def join(self, parts: Sequence[StreamPart]) -> list[StreamPart]:
        """Return the parts with whole characters, and hold a first half at the end of a text."""
        return [
            type(part)(self._join_text(part.text))
            if isinstance(part, TextDelta | ReasoningDelta)
            else part
            for part in parts
        ]

    def flush(self) -> str:
        """Return U+FFFD for a half that is still held at the end of the response, else ''."""
        return "\ufffd" if self._held else ""

    def _join_text(self, text: str) -> str:
        units = "".join(
            chr(ord(c) - _PLACEHOLDERS + _FIRST_SURROGATE)
            if _PLACEHOLDERS <= ord(c) < _PLACEHOLDERS + _SURROGATES
            else c
            for c in self._held + text
        )
        self._held = ""
        if units and "\ud800" <= units[-1] <= "\udbff":
            self._held = chr(ord(units[-1]) - _FIRST_SURROGATE + _PLACEHOLDERS)
            units = units[:-1]
        return units.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
