"""The parts of one flush become few events."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from hub.core.parts import (
    Annotations,
    Finished,
    Part,
    Reasoning,
    ReasoningDetails,
    Replace,
    Text,
    ToolCallDelta,
    Usage,
)
from hub.engine.attempts.coalescing import coalesce


def call_delta(index: int, arguments: str, **head: Any) -> dict[str, Any]:
    """Return a delta of a tool call in the normal form."""
    name = {"name": head.pop("name")} if "name" in head else {}
    return {"index": index, **head, "function": {**name, "arguments": arguments}}


def test_pieces_of_tool_calls() -> None:
    """The pieces of each call become one delta, with everything that its first one has."""
    parts = [
        ToolCallDelta([call_delta(0, "{", id="a", type="function", name="f")]),
        ToolCallDelta(
            [call_delta(1, "[", id="b", type="function", name="g"), call_delta(0, '"x"')]
        ),
        ToolCallDelta([call_delta(1, "]", late=1)]),
        ToolCallDelta([call_delta(0, ":1}")]),
    ]
    assert [*coalesce(parts)] == [
        ToolCallDelta(
            [
                call_delta(0, '{"x":1}', id="a", type="function", name="f"),
                call_delta(1, "[]", id="b", type="function", late=1, name="g"),
            ]
        )
    ]


def test_no_parts() -> None:
    """Without a part there is no delta, as when an attempt begins again before the first text."""
    assert [*coalesce([])] == []


def test_usage_separates_nothing() -> None:
    """An upstream that sends its usage in every chunk still gets one delta per flush."""
    parts: list[Part] = [Text("a"), Usage({"n": 1}), Text("b"), Usage({"n": 2})]
    assert [*coalesce([*parts, Finished("stop")])] == [
        Text("ab"),
        *[Usage({"n": 1}), Usage({"n": 2}), Finished("stop")],
    ]


def test_lists_are_joined() -> None:
    """Details of the reasoning and annotations become one part each."""
    details: list[Part] = [ReasoningDetails([{"a": 1}]), ReasoningDetails([{"b": 2}])]
    sources: list[Part] = [Annotations([{"a": 1}]), Annotations([{"b": 2}])]
    both = [{"a": 1}, {"b": 2}]
    assert [*coalesce([*details, *sources])] == [ReasoningDetails(both), Annotations(both)]


def test_replaced_text_drops_what_came_before() -> None:
    """Text before a new version of the whole text is not sent."""
    parts: list[Part] = [
        Text("a"),
        Replace("x"),
        Text("y"),
        Replace("z"),
        Text("!"),
    ]
    assert [*coalesce(parts)] == [Replace("z!")]


_PARTS = st.one_of(
    st.builds(Text, st.text(max_size=2)),
    st.builds(Reasoning, st.text(max_size=2)),
    st.builds(
        lambda n, text: ToolCallDelta([call_delta(n, text)]), st.integers(0, 2), st.text(max_size=2)
    ),
    st.builds(lambda n: Usage({"n": n}), st.integers()),
)


def _content(parts: list[Part]) -> tuple[str, str, dict[int, str], dict[str, Any]]:
    """Return all text, all reasoning, the arguments of each call, and the last usage."""
    calls: dict[int, str] = {}
    usage: dict[str, Any] = {}
    for part in parts:
        if isinstance(part, ToolCallDelta):
            for call in part.calls:
                before = calls.get(call["index"], "")
                calls[call["index"]] = before + call["function"]["arguments"]
        if isinstance(part, Usage):
            usage |= part.tokens
    text = "".join(part.text for part in parts if isinstance(part, Text))
    reasoning = "".join(part.text for part in parts if isinstance(part, Reasoning))
    return text, reasoning, calls, usage


@given(st.lists(_PARTS, max_size=100), st.sampled_from([None, 3]))
def test_nothing_is_lost(parts: list[Part], max_runs: int | None) -> None:
    """All text, reasoning, arguments and the last usage stay, in few parts."""
    joined = [*coalesce(parts, max_runs=max_runs)]
    assert _content(joined) == _content(parts)
    events = [part for part in joined if not isinstance(part, Usage)]
    if max_runs is not None:
        assert len(events) <= max(max_runs, 3)


def test_alternating_kinds() -> None:
    """An upstream that alternates between text and reasoning does not flood its readers."""
    parts: list[Part] = [kind("a") for _ in range(1000) for kind in (Text, Reasoning)]
    assert [*coalesce(parts)] == [Reasoning("a" * 1000), Text("a" * 1000)]
