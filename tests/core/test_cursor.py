"""Positions and cursors: short, exact, and never guessed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.core.channel import ALL, Channel, topic_channel, user_channel
from hub.core.cursor import UNKNOWN, Position, format_cursor, new_epoch, parse_cursor
from hub.errors import BadRequest

ALICE = user_channel("alice")
_EPOCHS = st.text("0123456789ABCxyz", min_size=5, max_size=5)
_POSITIONS = st.builds(Position, _EPOCHS, st.integers(0, 2**53))
_CHANNELS = st.sampled_from([ALICE, ALL, *(topic_channel(f"t{n}") for n in range(20))])
_CURSORS = st.dictionaries(_CHANNELS, _POSITIONS, min_size=1)


@given(_CURSORS)
def test_text_gives_the_positions_back(positions: dict[Channel, Position]) -> None:
    """Whatever channels the cursor contains."""
    assert parse_cursor(format_cursor(positions), positions) == positions


@given(_CURSORS)
def test_text_does_not_depend_on_the_order(positions: dict[Channel, Position]) -> None:
    """Equal positions, equal text."""
    reversed_positions = dict(reversed(positions.items()))
    assert format_cursor(reversed_positions) == format_cursor(positions)


@given(_CURSORS, st.sets(_CHANNELS))
def test_other_channels_are_left_out(
    positions: dict[Channel, Position], channels: set[Channel]
) -> None:
    """A cursor for other channels gives the positions of the common ones."""
    positions_found = parse_cursor(format_cursor(positions), channels)
    assert positions_found == {c: p for c, p in positions.items() if c in channels}


@given(st.integers(0, 62**4 - 1), st.integers(0, 62**3 - 1))
def test_users_own_cursor_is_short(own: int, shared: int) -> None:
    """A user and `all`: at most 21 bytes, up to 14 million and 238,000 events."""
    positions = {ALICE: Position(new_epoch(), own), ALL: Position(new_epoch(), shared)}
    assert len(format_cursor(positions)) <= 21


def test_cursor_of_one_channel() -> None:
    """The cursor that a publisher gets resumes that channel."""
    for channel in (ALICE, ALL, topic_channel("a")):
        positions = {channel: Position("abcde", 62)}
        cursor = format_cursor(positions)
        assert parse_cursor(cursor, [ALICE, ALL, topic_channel("a")]) == positions
    assert format_cursor({ALICE: Position("abcde", 62)}) == "abcde-10."


@given(_CURSORS, st.data())
def test_beginning_of_a_cursor_is_no_cursor(
    positions: dict[Channel, Position], data: st.DataObject
) -> None:
    """A client that adopted half an id gets no older position."""
    cursor = format_cursor(positions)
    length = data.draw(st.integers(0, len(cursor) - 1))
    with pytest.raises(BadRequest):
        parse_cursor(cursor[:length], positions)


def test_cursor_of_many_topics_is_accepted() -> None:
    """The hub parses every cursor that it makes, also with 1,000 topics."""
    topics = [topic_channel(f"topic {n}") for n in range(1000)]
    positions: dict[Channel, Position] = {c: Position("zzzzz", 2**53) for c in [ALICE, *topics]}
    assert parse_cursor(format_cursor(positions), positions) == positions


def test_no_epoch_is_the_unknown_one() -> None:
    """The position `UNKNOWN` is parsed like any other, and no log continues it."""
    assert parse_cursor(format_cursor({ALICE: UNKNOWN}), [ALICE]) == {ALICE: UNKNOWN}
    assert UNKNOWN.epoch not in {new_epoch() for _ in range(1000)}


@pytest.mark.parametrize(
    "text",
    [
        "", ".", "..", " ", "live ", "abcde.", "abcde-.", "abcd-1.", "abcdef-1.", "abcde-1. ",
        "abcde-1.\n", "abcde-1..", "abcde-1.abcde-1.", "abcde-1abcde-1.", "*.", "abcde-1*abcde.",
        "~abc:abcde-1.", "~abcdef:abcde-1x!.", "äbcde-1.", "abcde-1*abcde-1*abcde-1.",
        "abcde--1.", "abcde-1234567890.", "x" * 5000, "\0", "abcde-1" + "~abcdef:abcde-1" * 5000,
    ],
)  # fmt: skip
def test_anything_else_is_refused(text: str) -> None:
    """Garbage is a 400 and never starts from the beginning."""
    with pytest.raises(BadRequest, match="not a cursor"):
        parse_cursor(text, [ALICE])


@given(st.text())
def test_parsing_never_fails_otherwise(text: str) -> None:
    """Any text is a cursor or a BadRequest."""
    try:
        parse_cursor(text, [ALICE, ALL])
    except BadRequest:
        pass


def test_epochs_differ() -> None:
    """Two new epochs are different."""
    assert len({new_epoch() for _ in range(1000)}) == 1000
