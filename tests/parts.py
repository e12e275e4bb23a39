"""Random parts of an answer, for the tests of everything that folds or shows them."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from hub.core.parts import (
    Annotations,
    Data,
    File,
    Part,
    Reasoning,
    ReasoningDetails,
    Replace,
    Source,
    Status,
    StepEnd,
    StepStart,
    Text,
    ToolCall,
    ToolCallDelta,
    ToolResult,
)

_TEXT = st.text(alphabet="aé\x00\u2028😀", max_size=3)
_ID = st.sampled_from(["a", "b", "c"])
_JSON: st.SearchStrategy[Any] = st.sampled_from([None, 0, "x", [1], {"a": {"b": 2}}])
_VISIBLE = st.booleans()
_RUN_BY = st.sampled_from(["producer", "client"])
_EXTRAS: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [{}, {"extra_content": {"s": 1}}, {"run_by": "producer"}]
)
_OBJECTS = st.lists(st.fixed_dictionaries({"x": st.integers(0, 9)}), min_size=1, max_size=2)


def _call_delta(index: int, arguments: str, first: Any) -> ToolCallDelta:
    """Return a delta in the normal form; a first one has id, type and name, and may have more."""
    call: dict[str, Any] = {"index": index, "function": {"arguments": arguments}}
    if isinstance(first, str):
        call["run_by"] = first  # it may come with any delta
    elif first is not None:
        id_, extras = first
        call |= {"id": id_, "type": "function", **extras}
        call["function"] = {"name": "f", "arguments": arguments}
    return ToolCallDelta([call])


WHOLE_PARTS: st.SearchStrategy[Part] = st.one_of(
    st.builds(Text, _TEXT),
    st.builds(Text, _TEXT),
    st.builds(Reasoning, _TEXT),
    st.builds(ReasoningDetails, _OBJECTS),
    st.builds(Annotations, _OBJECTS),
    st.builds(ToolCall, _ID, _ID, _TEXT, _RUN_BY, visible=_VISIBLE),
    st.builds(ToolResult, _ID, _JSON, st.booleans(), visible=_VISIBLE),
    st.builds(Source, _ID, st.none() | _ID, st.none() | _ID),
    st.builds(File, url=_ID, media_type=_ID),
    st.builds(Status, _TEXT),
    st.builds(StepStart, _ID),
    st.builds(StepEnd, _ID),
    st.builds(Data, _ID, _JSON, st.none() | _ID, transient=st.booleans(), visible=_VISIBLE),
)
"""Parts that stand for themselves, and only add to the answer."""
REPLACE: st.SearchStrategy[Part] = st.builds(Replace, _TEXT)
PARTS: st.SearchStrategy[Part] = st.one_of(
    WHOLE_PARTS,
    st.builds(
        _call_delta,
        st.integers(0, 1),
        _TEXT,
        st.none()
        | _RUN_BY
        | st.tuples(
            _ID, st.sampled_from([{}, {"extra_content": {"s": 1}}, {"run_by": "producer"}])
        ),
    ),
    REPLACE,
)
"""Any part that has an event or an entry of the record."""
