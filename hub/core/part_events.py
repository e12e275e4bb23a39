"""Parts as events: the name and the fields of the event that publishes each part.

Text, reasoning and tool calls are `generation.delta`, a rewritten text is `generation.replaced`,
and every other part is `generation.part` with its `type`. The request of an input is
`generation.input_requested`. An event has the fields `generation` and `i` besides; whoever
publishes it adds them. What becomes of an input has no `i` (`is_numbered`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec

from hub.core.inputs import INPUT_EXPIRED, INPUT_RECEIVED, INPUT_REQUESTED
from hub.core.parts import (
    Annotations,
    Part,
    Reasoning,
    ReasoningDetails,
    Replace,
    Text,
    ToolCallDelta,
)

DELTA: Final = "generation.delta"
PART: Final = "generation.part"
REPLACED: Final = "generation.replaced"

PartEvent = tuple[str, dict[str, Any]]
"""The name and the fields of an event."""


def to_event(part: Part) -> PartEvent:
    """Return the event of a part that has one: of any but Usage and Finished.

    A ToolCall that readers see must have become a ToolCallDelta, because only its publisher knows
    its index.
    """
    match part:
        case Text(text):
            return DELTA, {"text": text}
        case Reasoning(text):
            return DELTA, {"reasoning": text}
        case ToolCallDelta(calls):
            return DELTA, {"tool_calls": calls}
        case ReasoningDetails(details):
            return DELTA, {"reasoning_details": details}
        case Annotations(annotations):
            return DELTA, {"annotations": annotations}
        case Replace(text):
            return REPLACED, {"text": text}
        case _:
            return PART, msgspec.to_builtins(part)


def to_events(parts: Iterable[Mapping[str, Any]]) -> Iterator[PartEvent]:
    """Yield events that fold to these folded parts, but for those that the end closes."""
    for part in parts:
        match part["type"]:
            case "text":
                yield DELTA, {"text": part["text"]}
            case "reasoning":
                if part["text"]:
                    yield DELTA, {"reasoning": part["text"]}
                if part.get("details"):
                    yield DELTA, {"reasoning_details": part["details"]}
            case "annotations":
                yield DELTA, {"annotations": part["annotations"]}
            case "tool_call":
                yield from _call_events(part)
            case "step":
                yield PART, {"type": "step_start", "name": part["name"]}
                if part["state"] == "done":
                    yield PART, {"type": "step_end", "name": part["name"]}
            case "input":
                yield from _input_events(part)
            case _:
                yield PART, dict(part)


def is_numbered(name: str) -> bool:
    """Return whether an event is a part, which has an `i`."""
    return name not in (INPUT_RECEIVED, INPUT_EXPIRED)


def _input_events(part: Mapping[str, Any]) -> Iterator[PartEvent]:
    not_requested = ("type", "state", "value", "by")
    yield INPUT_REQUESTED, {name: part[name] for name in part if name not in not_requested}
    key = {"input": part["input"]}
    if part["state"] == "received":
        yield INPUT_RECEIVED, {**key, "value": part["value"], "by": part["by"]}
    elif part["state"] == "expired":
        yield INPUT_EXPIRED, key


def _call_events(part: Mapping[str, Any]) -> Iterator[PartEvent]:
    if "index" not in part:  # a call that readers do not see
        names = ("type", "id", "name", "arguments", "run_by", "visible")
        yield PART, {name: part[name] for name in names}
    else:
        run_by = {} if part["run_by"] == "client" else {"run_by": part["run_by"]}
        function = {"name": part["name"], "arguments": part["arguments"]}
        head = {"index": part["index"], "id": part["id"], "type": "function"}
        call = {**head, **run_by, **part.get("extras", {}), "function": function}
        yield DELTA, {"tool_calls": [call]}
    if "result" in part:
        result = {name: part[name] for name in ("id", "result", "is_error")}
        visible = {} if part.get("visible", True) else {"visible": False}
        yield PART, {"type": "tool_result", **result, **visible}
