"""Which events of a subscription repeat what the whole task before them had."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.upstreams.a2a.objects import TaskPart
from hub.upstreams.a2a.repeats import RepeatedParts


def read(known: str, events: list[str]) -> list[str]:
    """Return what is new with each event. A letter is a part."""
    repeats, new = RepeatedParts([TaskPart(text=letter) for letter in known]), list[str]()
    for event in events:
        parts = [TaskPart(text=letter) for letter in event]
        taken = parts if repeats.is_decided else repeats.take(parts)
        new.append("".join(str(part.text) for part in taken))
    return new


@pytest.mark.parametrize(
    ("known", "events", "new"),
    [
        ("", ["a"], ["a"]),
        ("abc", ["d", "c"], ["d", "c"]),
        ("abc", ["c", "c"], ["", "c"]),
        ("abc", ["b", "c", "d"], ["", "", "d"]),
        ("abc", ["bc", "bc"], ["", "bc"]),
        ("abc", ["a", "d"], ["", "ad"]),  # a new part which equals an early one
        ("abcab", ["a", "b", "c"], ["", "", "c"]),
        ("abc", ["cd"], ["cd"]),
    ],
)
def test_events_behind_a_whole_task(known: str, events: list[str], new: list[str]) -> None:
    """The events that are the last parts, in their order, yield nothing; all others do."""
    assert read(known, events) == new


@given(
    st.lists(st.characters(categories=["Lu", "Ll"]), unique=True), st.integers(0), st.integers(0)
)
def test_different_parts(letters: list[str], known: int, repeated: int) -> None:
    """However many parts are repeated, each part arrives once."""
    known %= len(letters) + 1
    first = known - repeated % (known + 1)
    assert "".join(read("".join(letters[:known]), letters[first:])) == "".join(letters[known:])


def test_what_was_held_is_released() -> None:
    """Another event decides that parts are new."""
    repeats = RepeatedParts([TaskPart(text=letter) for letter in "abc"])
    assert repeats.take([TaskPart(text="a")]) == ()
    assert [part.text for part in repeats.release()] == ["a"]
    assert repeats.is_decided
