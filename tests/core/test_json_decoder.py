"""JSON values that follow each other in any layout, split anywhere."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.core.json_decoder import JsonDecoder
from hub.core.sse_decoder import StreamTooLarge

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)
DOCUMENTS = st.lists(
    st.dictionaries(st.text(max_size=4), VALUES, max_size=3) | st.lists(VALUES, max_size=3),
    max_size=5,
)


def decode(stream: bytes, cuts: list[int]) -> list[Any]:
    decoder, events, start = JsonDecoder(), [], 0
    for cut in [*sorted(cuts), len(stream)]:
        events += decoder.feed(stream[start:cut])
        start = max(start, cut)
    return [json.loads(event.data) for event in [*events, *decoder.end()]]


@given(
    documents=DOCUMENTS,
    indent=st.sampled_from([None, 0, 2]),
    between=st.sampled_from(["\n", "", " ", "\r\n", "\n\n"]),
    ascii_only=st.booleans(),
    cuts=st.lists(st.integers(0, 200), max_size=8),
)
def test_any_layout_gives_the_same_values(
    documents: list[Any], indent: int | None, between: str, ascii_only: bool, cuts: list[int]
) -> None:
    """One value a line, values over several lines, and values beside each other are the same."""
    texts = [json.dumps(each, indent=indent, ensure_ascii=ascii_only) for each in documents]
    assert decode(between.join(texts).encode(), cuts) == documents


def test_value_without_a_line_end_is_not_held_back() -> None:
    """A complete object is returned although no line end has arrived yet."""
    decoder = JsonDecoder()
    assert [event.data for event in decoder.feed(b'{"a":1}')] == ['{"a":1}']
    assert [event.data for event in decoder.feed(b'\n{"a":')] == []
    assert [event.data for event in decoder.feed(b"2}")] == ['{"a":2}']


@given(documents=DOCUMENTS, cut=st.integers(0, 80), between=st.sampled_from(["", " ", "\n"]))
def test_values_beside_each_other_are_not_held_back(
    documents: list[Any], cut: int, between: str
) -> None:
    """Without line ends, several values in one chunk are returned at once, wherever it is cut."""
    stream = between.join(json.dumps(each) for each in documents).encode()
    decoder = JsonDecoder()
    events = [*decoder.feed(stream[:cut]), *decoder.feed(stream[cut:])]
    assert [json.loads(event.data) for event in events] == documents
    assert decoder.end() == []


def test_lines_that_are_no_json() -> None:
    """They are returned as they are; a value that is cut is returned at the end."""
    decoder = JsonDecoder()
    assert [event.data for event in decoder.feed(b"data: x\n{oops}\n[1,\n")] == [
        "data: x",
        "{oops}",
    ]
    assert [event.data for event in decoder.end()] == ["[1,"]


@pytest.mark.parametrize("stream", [b"x" * 11, b'{"a":\n' + b"1" * 6])
def test_value_that_is_too_large(stream: bytes) -> None:
    """It is refused at the limit; the complete values before it are returned."""
    with pytest.raises(StreamTooLarge) as caught:
        JsonDecoder(max_value_bytes=10).feed(b"{}\n" + stream)
    assert [event.data for event in caught.value.events] == ["{}"]
