"""Lines of text, and upstreams that repeat the whole text as it grows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.core.cumulative_text import CumulativeText
from hub.core.line_decoder import LineDecoder
from hub.core.parts import Replace, Text
from hub.core.sse_decoder import StreamTooLarge


@given(st.lists(st.text(), max_size=8), st.lists(st.integers(0, 60), max_size=8))
def test_any_split_gives_the_same_lines(lines: list[str], cuts: list[int]) -> None:
    """Characters are never split, and empty lines are skipped."""
    stream = "".join(f"{line}\n" for line in lines).encode()
    expected = [
        text for line in stream.split(b"\n")[:-1] if (text := line.strip(b"\r\t ").decode())
    ]
    decoder, seen, start = LineDecoder(), [], 0
    for cut in [*sorted(cuts), len(stream)]:
        seen += decoder.feed(stream[start:cut])
        start = max(start, cut)
    assert [event.data for event in seen] == expected


def test_line_without_an_end() -> None:
    """It is refused at the limit; the complete lines before it are returned."""
    decoder = LineDecoder(max_line_bytes=10)
    with pytest.raises(StreamTooLarge) as caught:
        decoder.feed(b"{}\n" + b"x" * 11)
    assert [event.data for event in caught.value.events] == ["{}"]


@given(st.lists(st.text(max_size=6), max_size=10))
def test_what_grew_adds_up(versions: list[str]) -> None:
    """The parts add up to the newest version, except for shorter repeats."""
    cumulative, shown, newest = CumulativeText(), "", ""
    for version in versions:
        if not newest.startswith(version):
            newest = version
        match cumulative.update(version):
            case Text(more):
                assert more
                shown += more
            case Replace(text):
                shown = text
        assert shown == newest
