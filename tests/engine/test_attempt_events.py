"""The events of an attempt, the record and every reader add up to the same parts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.core import parts_journal
from hub.core.call_numbers import CallNumbers
from hub.core.folded_parts import FoldedParts
from hub.core.generation import Generation, GenerationRequest, Status, apply_update
from hub.core.part_events import to_event, to_events
from hub.core.parts import Data, Part, Reasoning, Replace, Text, ToolCall, ToolResult
from hub.core.parts import Status as StatusPart
from hub.core.parts_journal import PartsJournal, PartsLimits, PartsTooLarge
from hub.engine.attempts.attempt_events import AttemptEvents
from hub.ports.events import Publication
from tests.parts import PARTS

LIMITS = PartsLimits(max_part_bytes=10_000, max_record_bytes=1_000_000)
RECORD = Generation("g00aaaaaaaaaaaaaaaa", "alice", GenerationRequest([], "u", "m"))
ENDS = st.sampled_from([Status.DONE, Status.STOPPED, Status.FAILED])


class Attempt:
    """The events of an attempt, and the record after each of them."""

    def __init__(self, parts: Sequence[Part], end: Status, limits: PartsLimits = LIMITS) -> None:
        self.records = [RECORD]
        self.events: list[tuple[str, dict[str, Any]]] = []
        events, numbers = AttemptEvents(RECORD, limits), CallNumbers()
        for begin in events.begin_after(RECORD, "generation.started"):
            self._publish(begin)
        for part in parts:
            for numbered in numbers.number([part]):
                publication = events.part(to_event(numbered))
                if publication is not None:
                    self._publish(publication)
        self.all_parts = events._journal.folded.parts
        self._publish(events.end(end, {"deltas": events.deltas}))

    def _publish(self, publication: Publication) -> None:
        assert publication.update is not None
        record = apply_update(self.records[-1], publication.update, publication.data)
        assert isinstance(record, Generation)
        self.records.append(record)
        # One that compacts the journal has no event.
        self.events.append((publication.name, json.loads(publication.data or b"{}")))


def fold(
    events: Sequence[tuple[str, dict[str, Any]]], snapshot: Sequence[dict[str, Any]] = ()
) -> list[dict[str, Any]]:
    folded = FoldedParts(snapshot)
    for name, data in events:
        folded.apply(name, data)
    return folded.parts


@pytest.mark.parametrize("max_void_bytes", [0, 20, 64 * 1024])
@given(st.lists(PARTS, max_size=25), st.integers(0, 30), ENDS)
def test_reader_that_joins_has_what_the_others_have(
    max_void_bytes: int, parts: list[Part], moment: int, end: Status
) -> None:
    """A snapshot folded with what follows it is everything folded from the start.

    max_void_bytes: how much is void before a journal is compacted.
    """
    with patch.object(parts_journal, "_MAX_VOID_BYTES", max_void_bytes):
        attempt = Attempt(parts, end)
    moment = min(moment, len(attempt.events))
    everything = fold(attempt.events)
    snapshot = attempt.records[moment].parts
    assert fold(attempt.events[moment:], snapshot) == everything
    assert attempt.records[-1].parts == everything
    assert attempt.records[-1].text == "".join(
        part["text"] for part in everything if part["type"] == "text"
    )
    numbers = [data["i"] for _, data in attempt.events if "i" in data]
    assert numbers == list(range(len(numbers)))
    assert attempt.records[-1].deltas == len(numbers)


@given(st.lists(PARTS, max_size=25))
def test_parts_as_events_fold_to_the_parts(parts: list[Part]) -> None:
    """So an attempt that begins again, and a reader of a trimmed log, get the same parts."""
    attempt = Attempt(parts, Status.DONE)
    assert fold([*to_events(attempt.all_parts)]) == attempt.all_parts


@given(st.lists(PARTS, max_size=25))
def test_record_keeps_what_readers_do_not_see(parts: list[Part]) -> None:
    """The record has all parts, and its visible ones are those of the readers."""
    attempt = Attempt(parts, Status.DONE)
    hidden = [part for part in attempt.records[-1].all_parts if part.get("visible") is False]
    assert all(data.get("visible", True) for _, data in attempt.events)
    calls = [part for part in parts if isinstance(part, ToolCall) and not part.visible]
    assert [part["name"] for part in hidden if part["type"] == "tool_call"] == [
        call.name for call in calls
    ]


def test_text_appends_only_itself() -> None:
    """Text that continues costs the record its own bytes."""
    journal = PartsJournal()
    assert [journal.append(to_event(Text(text))) for text in ("a", "é")] == [b"a", "é".encode()]
    assert journal.append(to_event(Reasoning("x"))) == b"\xffrx"
    assert journal.append(to_event(Reasoning("y"))) == b"y"


@given(st.lists(PARTS, max_size=8), st.text(max_size=20), st.text(max_size=20))
def test_text_costs_less_and_adds_the_same(parts: list[Part], first: str, second: str) -> None:
    """`append_text` does what `append` does for the event of a text, whatever is before it."""
    one, other = PartsJournal(), PartsJournal()
    for part in CallNumbers().number(parts):
        one.append(to_event(part))
        other.append(to_event(part))
    one.save(b"1", 0)
    other.save(b"1", 0)
    for text in (first, second):
        assert one.append_text(text) == other.append(to_event(Text(text)))
    assert one.size_bytes == other.size_bytes
    assert one.folded.parts == other.folded.parts
    one.save(b"2", 2)
    other.save(b"2", 2)
    assert one.state == other.state
    one.append(to_event(Replace("all")))
    other.append(to_event(Replace("all")))
    assert one.is_due == other.is_due
    assert one.compact() == other.compact()


def test_text_that_is_too_large_changes_nothing() -> None:
    """Text beyond the limit is refused, and the journal is as before."""
    journal = PartsJournal(PartsLimits(max_part_bytes=1000, max_record_bytes=10))
    assert journal.append_text("x" * 10) == b"x" * 10
    with pytest.raises(PartsTooLarge, match="max_record_bytes"):
        journal.append_text("y")
    assert (journal.size_bytes, journal.folded.text) == (10, "x" * 10)


def test_progress_does_not_fill_the_record() -> None:
    """What newer statuses, data and texts took the place of does not add up."""
    parts: list[Part] = []
    for n in range(3000):
        parts += [StatusPart(f"{n} %" * 20), Data("progress", n, id="p"), Replace("x" * 50)]
    limits = PartsLimits(max_part_bytes=1000, max_record_bytes=10_000)
    attempt = Attempt(parts, Status.DONE, limits)
    assert max(len(record.journal) for record in attempt.records) < 64 * 1024 + 3 * 10_000
    assert [part["type"] for part in attempt.records[-1].parts] == ["data", "text", "status"]


@pytest.mark.parametrize(
    ("parts", "published"),
    [
        ([Text("x" * 600), Text("x" * 600)], 1),
        ([Reasoning("x" * 600), Text("x" * 600)], 1),
        ([ToolCall("a", "f", "x" * 600), ToolCall("b", "f", "x" * 600)], 1),
        ([Data("d", "x" * 300, id="a")] * 9 + [Data("d", "x" * 501)], 9),
        ([ToolResult("a", "x" * 501, visible=False)], 0),
        ([Data("d", "x" * 501, transient=True)], 0),
        ([Replace("x" * 600), Replace("x" * 990), Replace("x" * 1001)], 2),
    ],
)
def test_limits(parts: list[Part], published: int) -> None:
    """A part that is too large, or that makes the record too large, is refused."""
    limits = PartsLimits(max_part_bytes=500, max_record_bytes=1000)
    attempt = AttemptEvents(RECORD, limits)
    numbers = CallNumbers()
    attempt.begin_after(RECORD, "generation.started")
    events = [to_event(part) for part in numbers.number(parts)]
    for event in events[:published]:
        attempt.part(event)
    with pytest.raises(PartsTooLarge, match="exceeds the limit"):
        attempt.part(events[published])
    assert attempt.deltas == published
