"""The ids of the tool calls that a function or an external producer yields."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from hub.core.parts import Part, ToolCall, ToolCallDelta, ToolResult


class CallIds:
    """Gives each tool call of an answer an id that no other one has.

    Some model servers count the calls of each response from 0, so an agent repeats their ids.
    Clients of OpenAI's and of the AI SDK's protocols refuse such an answer or mix the calls up. A
    repeated id is replaced, and a result belongs to the newest call that was yielded with its id.

    parts: those of the answer so far, folded. replaced: see the attribute; what it was after them.
    """

    def __init__(
        self,
        parts: Iterable[Mapping[str, Any]] = (),
        replaced: Mapping[str, str] | None = None,
    ) -> None:
        # The id of the newest call, by the id that was yielded, where they differ.
        self.replaced: dict[str, str] = dict(replaced or {})
        self._taken = {part["id"] for part in parts if part["type"] == "tool_call"}

    def replace(self, part: Part) -> Part:
        """Return the part with the ids of the answer."""
        match part:
            case ToolCall(id=original):
                return _with_id(part, self._choose(original))
            case ToolResult(id=original):
                return _with_id(part, self.replaced.get(original, original))
            case ToolCallDelta(calls):
                return ToolCallDelta([self._replace_in_delta(call) for call in calls])
            case _:
                return part

    def _replace_in_delta(self, call: dict[str, Any]) -> dict[str, Any]:
        # Only the first delta of a call has an id.
        return {**call, "id": self._choose(call["id"])} if "id" in call else call

    def _choose(self, original: str) -> str:
        chosen = original
        while chosen in self._taken:
            chosen = f"call_{secrets.token_hex(12)}"
        self._taken.add(chosen)
        if chosen != original:
            self.replaced[original] = chosen
        return chosen


def _with_id(part: ToolCall | ToolResult, chosen: str) -> Part:
    return part if part.id == chosen else msgspec.structs.replace(part, id=chosen)
