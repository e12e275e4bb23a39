"""Repair of characters that an upstream splits between two deltas.

Some upstreams cut their text between the two UTF-16 code units of a character (a surrogate pair)
and escape each half on its own in JSON, which msgspec refuses to decode. `escape_surrogates`
replaces each half by a private character; `SurrogateJoiner` joins the halves again.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from hub.core.parts import Data, Part, Reasoning, Text, ToolCallDelta, ToolResult

_FIRST_SURROGATE: Final = 0xD800
_SURROGATES: Final = 0x800  # the number of surrogate code points
_PLACEHOLDERS: Final = 0xF0000  # private characters that stand for the surrogates
_ESCAPED_HALF: Final = re.compile(r"\\u[dD][89a-fA-F]")


def has_surrogates(json_text: str) -> bool:
    """Whether the JSON may contain halves: characters beyond U+FFFF that are escaped."""
    return _ESCAPED_HALF.search(json_text) is not None


def escape_surrogates(value: Any) -> Any:
    """Return the decoded JSON with a private character in place of each surrogate."""
    if isinstance(value, str):
        return "".join(
            chr(ord(c) - _FIRST_SURROGATE + _PLACEHOLDERS) if "\ud800" <= c <= "\udfff" else c
            for c in value
        )
    if isinstance(value, list):
        return [escape_surrogates(each) for each in value]
    if isinstance(value, dict):
        return {key: escape_surrogates(each) for key, each in value.items()}
    return value


def _replace_halves(value: Any) -> Any:
    """Return the decoded JSON of a whole value with U+FFFD in place of each half."""
    if isinstance(value, str):
        return "".join("\ufffd" if _is_placeholder(char) else char for char in value)
    if isinstance(value, list):
        return [_replace_halves(each) for each in value]
    if isinstance(value, dict):
        return {key: _replace_halves(each) for key, each in value.items()}
    return value


def _is_placeholder(char: str) -> bool:
    return _PLACEHOLDERS <= ord(char) < _PLACEHOLDERS + _SURROGATES


class SurrogateJoiner:
    """Joins the halves of split characters across the parts of one response."""

    def __init__(self) -> None:
        # First halves that wait for their second ones: of the text, of the reasoning, and of the
        # arguments of the tool calls by their index.
        self._held: dict[str | int, str] = {}

    @property
    def is_holding(self) -> bool:
        """Whether a first half waits for its second one."""
        return any(self._held.values())

    def join(self, parts: Sequence[Part]) -> list[Part]:
        """Return the parts with whole characters, and hold a first half at the end of a text."""
        return [self._join_part(part) for part in parts]

    def flush(self) -> str:
        """Return U+FFFD for a half of the text that is still held at the end, else ''."""
        return "\ufffd" if self._held.get("text") else ""

    def _join_part(self, part: Part) -> Part:
        match part:
            case Text(text):
                return Text(self._join_text("text", text))
            case Reasoning(text):
                return Reasoning(self._join_text("reasoning", text))
            case ToolCallDelta(calls):
                return ToolCallDelta([self._join_call(call) for call in calls])
            case ToolResult(result=value):
                return msgspec.structs.replace(part, result=_replace_halves(value))
            case Data(value=value):
                return msgspec.structs.replace(part, value=_replace_halves(value))
        return part

    def _join_call(self, call: dict[str, Any]) -> dict[str, Any]:
        """Return a delta of a tool call in the normal form with whole characters."""
        function = call["function"]
        arguments = self._join_text(call["index"], function["arguments"])
        return {**call, "function": {**function, "arguments": arguments}}

    def _join_text(self, key: str | int, text: str) -> str:
        units = "".join(
            chr(ord(c) - _PLACEHOLDERS + _FIRST_SURROGATE) if _is_placeholder(c) else c
            for c in self._held.pop(key, "") + text
        )
        if units and "\ud800" <= units[-1] <= "\udbff":
            self._held[key] = chr(ord(units[-1]) - _FIRST_SURROGATE + _PLACEHOLDERS)
            units = units[:-1]
        return units.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
