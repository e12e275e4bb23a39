"""The cost of folding an event. tests/pages/test_fold.py shows what events fold to."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

import pytest

from hub.core.folded_parts import FoldedParts


def part(kind: str, **fields: Any) -> tuple[str, dict[str, Any]]:
    return "generation.part", {"type": kind, **fields}


def lines_of(folded: FoldedParts, events: list[tuple[str, dict[str, Any]]]) -> int:
    """Return how many lines of Python run while the events are folded."""
    lines = 0

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal lines
        lines += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        for name, fields in events:
            folded.apply(name, fields)
    finally:
        sys.settrace(before)
    return lines


@pytest.mark.parametrize(
    "event",
    [
        part("status", text="searching"),
        part("data", name="state", id="new", value=1),
        part("tool_result", id="unknown", result=1),
        part("step_end", name="unknown"),
        ("generation.delta", {"text": "more"}),
    ],
    ids=lambda event: str(event[1].get("type", "text")),
)
def test_cost_does_not_depend_on_the_number_of_parts(event: tuple[str, dict[str, Any]]) -> None:
    """A producer with many parts keeps nobody waiting whose events the same process handles."""
    many = [part("step_start", name="s"), part("data", name="d", value=1), part("file", url="u")]
    few_parts, many_parts = FoldedParts(), FoldedParts()
    for name, fields in many * 1000:
        many_parts.apply(name, fields)
    for name, fields in many:
        few_parts.apply(name, fields)
    assert lines_of(many_parts, [event]) == lines_of(few_parts, [event])


def test_each_status_is_removed_at_the_cost_of_the_parts_after_it() -> None:
    """The parts between two statuses are looked at once."""
    folded = FoldedParts()
    events = [part("status", text="s"), ("generation.delta", {"text": "t"})] * 100
    first, second = lines_of(folded, events), lines_of(folded, events)
    assert second <= first * 1.1
    assert folded.text == "t" * 200
    assert [each["type"] for each in folded.parts] == ["text", "status", "text"]
