"""The numbers of an answer's tool calls, which may come from several responses and from own code.

Readers append the deltas of a call by its `index`, which counts the calls of the whole answer from
0. Every response of an upstream counts its own calls from 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from hub.core.parts import Part, ToolCall, ToolCallDelta

_CALLS: Final = frozenset[type]({ToolCall, ToolCallDelta})


class CallNumbers:
    """Numbers the tool calls of one answer that readers see.

    first: the number of the next one; an attempt that continues an answer does not begin at 0.
    of_response: the numbers by the index in the newest response that has it.
    """

    def __init__(self, first: int = 0, of_response: Mapping[int, int] | None = None) -> None:
        self.count = first
        self.of_response = dict(of_response or {})

    def number(self, parts: Sequence[Part]) -> Sequence[Part]:
        """Return the parts with whole tool calls as deltas, and all deltas with their numbers."""
        if _CALLS.isdisjoint(map(type, parts)):
            return parts
        return [self._number(part) for part in parts]

    def _number(self, part: Part) -> Part:
        match part:
            case ToolCallDelta(calls):
                return ToolCallDelta([self._number_delta(call) for call in calls])
            case ToolCall(visible=True):
                return ToolCallDelta([self._to_delta(part)])
            case _:
                return part

    def _number_delta(self, delta: dict[str, Any]) -> dict[str, Any]:
        index = delta["index"]
        if "id" in delta or index not in self.of_response:  # the first delta of a call has the id
            self.of_response[index] = self._next()
        number = self.of_response[index]
        return delta if number == index else {**delta, "index": number}

    def _to_delta(self, call: ToolCall) -> dict[str, Any]:
        run_by = {} if call.run_by == "client" else {"run_by": call.run_by}
        function = {"name": call.name, "arguments": call.arguments}
        head = {"index": self._next(), "id": call.id, "type": "function"}
        return {**head, **run_by, "function": function}

    def _next(self) -> int:
        self.count += 1
        return self.count - 1
