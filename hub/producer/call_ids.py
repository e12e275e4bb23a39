"""The ids of the tool calls that a run yields."""

from __future__ import annotations

import secrets
from typing import Any

import msgspec

from hub.core.parts import Part, ToolCall, ToolCallDelta, ToolResult


class CallIds:
    """Gives each tool call of a run an id that no other one has.

    Some model servers count the calls of each response from 0, so an agent repeats their ids.
    Clients of OpenAI's and of the AI SDK's protocols refuse such an answer or mix the calls up. A
    repeated id is replaced, and a result belongs to the newest call that was yielded with its id.
    """

    def __init__(self) -> None:
        self._newest: dict[str, str] = {}  # the id of the newest call, by the id that was yielded
        self._taken: set[str] = set()

    def replace(self, part: Part) -> Part:
        """Return the part with the ids of the answer."""
        match part:
            case ToolCall(id=original):
                return _with_id(part, self._choose(original))
            case ToolResult(id=original):
                return _with_id(part, self._newest.get(original, original))
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
        self._newest[original] = chosen
        return chosen


def _with_id(part: ToolCall | ToolResult, chosen: str) -> Part:
    return part if part.id == chosen else msgspec.structs.replace(part, id=chosen)
