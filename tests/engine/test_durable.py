"""What a producer stores outlives its attempt, and readers never have more than the record."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from unittest.mock import patch

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.core import parts_journal
from hub.core.call_numbers import CallNumbers
from hub.core.durable import AskInput, Restart, ResumePoint, Save, Store
from hub.core.folded_parts import FoldedParts, visible_parts
from hub.core.generation import (
    Generation,
    GenerationRequest,
    GenerationUpdate,
    Refusal,
    Status,
    UpdateKind,
    apply_update,
)
from hub.core.inputs import (
    INPUT_EXPIRED,
    INPUT_RECEIVED,
    AnsweredInput,
    InputRequest,
    RequestedInput,
    fold_inputs,
)
from hub.core.journal_entries import read_durable_state
from hub.core.part_events import to_event
from hub.core.parts import Data, Part, Text, ToolCall, ToolCallDelta
from hub.core.parts_journal import PartsLimits, PartsTooLarge
from hub.engine.attempts.attempt_events import RESTARTED, STARTED, AttemptEvents
from hub.engine.generations.input_events import expired, received
from hub.ports.events import Publication
from tests.parts import PARTS

LIMITS = PartsLimits(max_part_bytes=10_000, max_record_bytes=1_000_000)
RECORD = Generation("g00aaaaaaaaaaaaaaaa", "alice", GenerationRequest([], "u", "m"))
VALUES = st.sampled_from([b"null", b"0", '"\u00e9\u2028"'.encode(), b'{"a":[1,{"b":2}]}'])
CRASH, LOSS = "crash", "loss"
KEYS = st.sampled_from(["a", "b", "c"])


def ask(key: str, checkpoint: msgspec.Raw | None = None) -> AskInput:
    save = None if checkpoint is None else Save(checkpoint)
    return AskInput(InputRequest(input=key, prompt="?", expires_at=1.0), save)


STEPS: st.SearchStrategy[Any] = st.one_of(
    *[PARTS] * 8,
    st.builds(Store, st.sampled_from(["a", "b"]), VALUES.map(msgspec.Raw)),
    st.builds(Save, VALUES.map(msgspec.Raw)),
    st.just(Restart()),
    st.tuples(PARTS, st.sampled_from([None, 0, {"n": [1]}]).map(ResumePoint)),
    st.sampled_from([None, 0]).map(ResumePoint),
    st.builds(ask, KEYS, VALUES.map(msgspec.Raw) | st.none()),
    st.tuples(st.sampled_from([INPUT_RECEIVED, INPUT_EXPIRED]), KEYS),
    st.just(CRASH),
    st.just(LOSS),
)


class Answer:
    """An answer of several attempts: the record, what readers get, and what should be stored."""

    def __init__(self, limits: PartsLimits = LIMITS) -> None:
        self.records = [RECORD]
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.values: dict[str, bytes] = {}
        self.checkpoint: tuple[bytes, list[dict[str, Any]]] | None = None
        self.limits = limits
        self.attempt = AttemptEvents(RECORD, limits)
        self.numbers = CallNumbers()
        self.publish(self.attempt.begin_after(RECORD, STARTED))

    @property
    def record(self) -> Generation:
        return self.records[-1]

    @property
    def parts(self) -> list[dict[str, Any]]:
        return self.attempt._journal.folded.parts

    def publish(self, publications: Sequence[Publication]) -> None:
        for publication in publications:
            assert publication.update is not None
            record = apply_update(self.record, publication.update, publication.data)
            assert isinstance(record, Generation)
            self.records.append(record)
            event = (
                (publication.name, json.loads(publication.data)) if publication.name else ("", {})
            )
            self.events.append(event)
            requested = publication.update.input
            if publication.name and isinstance(requested, RequestedInput):
                known = record.inputs[requested.request.input].answer
                if known is not None:  # the store publishes it again
                    self.records.append(record)
                    self.events.append((known.event, known.fields))

    def answer(self, event: str, key: str) -> None:
        """Do what a node does that has a value for an input, or finds that it has expired."""
        request = InputRequest(input=key, prompt="?", expires_at=1.0)
        answer = expired(RECORD.id, key)
        if event == INPUT_RECEIVED:
            answer = received(RECORD.id, request, {"b": [1]}, "bob")
        update = GenerationUpdate(RECORD.id, 0, UpdateKind.INPUT, input=AnsweredInput(key, answer))
        publication = Publication(
            channel=self.record.channel, name=answer.event, data=answer.data, update=update
        )
        stored = self.record.inputs.get(key)
        if stored is None or stored.answer is not None:
            assert isinstance(apply_update(self.record, update, answer.data), Refusal)
        else:
            self.publish([publication])

    def take(self, step: Any) -> None:
        """Do what one step of the producer does, or lose its worker or the newest writes."""
        if step == CRASH:
            self.crash()
        elif step == LOSS:
            self.publish(self.attempt.begin_again())
        elif isinstance(step, tuple) and isinstance(step[1], ResumePoint):
            part, point = step
            self.take_with_point([*self.numbers.number([part])], point)
        elif isinstance(step, tuple):
            self.answer(*step)
        elif isinstance(step, ResumePoint):
            self.take_with_point([], step)
        elif isinstance(step, Store | Save | Restart | AskInput):
            self.carry_out(step)
        else:
            for numbered in self.numbers.number([step]):
                publication = self.attempt.part(to_event(numbered))
                self.publish([publication] if publication else [])

    def carry_out(self, command: Store | Save | Restart | AskInput) -> None:
        self.publish(self.attempt.command(command, None))
        self.publish(self.attempt.flush())
        match command:
            case Store(name, value):
                self.values[name] = bytes(value)
            case Save(value):
                self.checkpoint = bytes(value), self.parts
            case Restart():
                self.checkpoint, self.numbers = None, CallNumbers()
            case AskInput(save=Save(value)):
                self.checkpoint = bytes(value), self.parts
                self.crash()

    def take_with_point(self, parts: list[Part], point: ResumePoint) -> None:
        """Publish parts with a resume point behind them. One without an event is not stored."""
        has_checkpoint = self.checkpoint is not None
        built = [each for part in parts if (each := self.attempt.part(to_event(part)))]
        self.publish(self.attempt.resume_point(point, None, built))
        self.publish(self.attempt.flush())
        if point.value is None:
            self.checkpoint = None
        elif built or not has_checkpoint:
            self.checkpoint = (json.dumps(point.value).replace(" ", "").encode(), self.parts)

    def crash(self) -> None:
        """Lose the worker; another one begins the next attempt."""
        self.attempt = AttemptEvents(self.record, self.limits)
        self.publish(self.attempt.begin_after(self.record, RESTARTED))
        self.numbers = CallNumbers(self.attempt.next_call)


def build_answer(steps: Sequence[Any], end: Status) -> Answer:
    """Return an answer with these steps and this end."""
    answer = Answer()
    for step in steps:
        answer.take(step)
    answer.publish([answer.attempt.end(end, {"deltas": answer.attempt.deltas})])
    return answer


def fold(
    events: Sequence[tuple[str, dict[str, Any]]], snapshot: Sequence[dict[str, Any]] = ()
) -> list[dict[str, Any]]:
    folded = FoldedParts(snapshot)
    for name, data in events:
        folded.apply(name, data)
    return folded.parts


def cut(events: Sequence[tuple[str, dict[str, Any]]]) -> list[tuple[str, dict[str, Any]]]:
    """Return the parts of a reader that keeps each, and uses only their numbers."""
    kept: list[tuple[str, dict[str, Any]]] = []
    for name, data in events:
        if name == "generation.restarted":
            kept = []
        elif name == "generation.continued":
            kept = [each for each in kept if each[1].get("i", -1) < data["parts"]]
        elif "i" in data:
            assert data["i"] == len(numbered(kept))
            kept.append((name, data))
        elif name in (INPUT_RECEIVED, INPUT_EXPIRED):
            kept.append((name, data))
    return kept


def numbered(events: Sequence[tuple[str, dict[str, Any]]]) -> list[tuple[str, dict[str, Any]]]:
    return [(name, data) for name, data in events if "i" in data]


@pytest.mark.parametrize("max_void_bytes", [0, 20, 64 * 1024])
@given(st.lists(STEPS, max_size=25), st.integers(0, 40))
def test_record_and_all_readers_agree_at_every_moment(
    max_void_bytes: int, steps: list[Any], moment: int
) -> None:
    """So does a reader that joins at any moment, and one that keeps parts by their numbers.

    max_void_bytes: how much is void before a journal is compacted.
    """
    with patch.object(parts_journal, "_MAX_VOID_BYTES", max_void_bytes):
        answer = Answer()
        for step in steps:
            answer.take(step)
            assert fold(answer.events) == answer.record.parts
            assert fold(cut(answer.events)) == answer.record.parts
            assert answer.record.deltas == len(numbered(cut(answer.events)))
            state = read_durable_state(answer.record.journal)
            assert state.values == answer.values
            saved = state.checkpoint and (state.checkpoint.value, state.checkpoint.folded)
            assert saved == answer.checkpoint
    moment = min(moment, len(answer.events))
    snapshot = answer.records[moment].parts
    assert fold(answer.events[moment:], snapshot) == answer.record.parts


@given(st.lists(STEPS, max_size=25), st.lists(PARTS, max_size=5))
def test_attempt_continues_at_the_checkpoint(before: list[Any], parts: list[Part]) -> None:
    """After a crash the answer is what it was at the checkpoint, and parts follow that."""
    answer = Answer()
    for step in before:
        answer.take(step)
    answer.crash()
    remaining = answer.checkpoint[1] if answer.checkpoint else []
    inputs = answer.record.inputs
    assert answer.record.parts == fold_inputs(visible_parts(remaining), inputs)
    assert answer.record.all_parts == fold_inputs(remaining, inputs)
    assert answer.attempt.state.values == answer.values
    for part in parts:
        answer.take(part)
    assert answer.record.parts == fold(answer.events)


def test_calls_of_a_continued_answer_have_numbers_of_their_own() -> None:
    """A new call does not grow the arguments of one before the checkpoint."""
    answer = Answer()
    for step in (
        ToolCall("a", "f", "{}"),
        Save(msgspec.Raw(b"1")),
        ToolCall("b", "f", "{}"),
        CRASH,
    ):
        answer.take(step)
    answer.take(ToolCall("c", "g", "[]"))
    calls = [(part["id"], part["arguments"]) for part in answer.record.parts]
    assert calls == [("a", "{}"), ("c", "[]")]
    assert answer.record.parts == fold(answer.events)


def test_reader_sees_nothing_of_what_is_stored() -> None:
    """Neither values nor checkpoints are in events and snapshots."""
    answer = Answer()
    secret = msgspec.Raw(b'"secret"')
    for step in (Text("a"), Store("secret", secret), Text("b"), Save(secret), CRASH, Text("c")):
        answer.take(step)
    assert b"secret" in answer.record.journal
    assert "secret" not in str((answer.events, answer.record.all_parts))
    assert answer.record.text == "abc"
    ended = answer.attempt.end(Status.DONE, {})
    answer.publish([ended])
    assert answer.record.text == "abc"


def test_value_stored_after_the_record_was_read_is_not_lost() -> None:
    """The begin of an attempt is refused if the one before it has stored something meanwhile."""
    answer = Answer()
    read = answer.record
    answer.take(Store("a", msgspec.Raw(b"1")))
    begin, *_ = AttemptEvents(read, LIMITS).begin_after(read, RESTARTED)
    assert begin.update is not None
    assert apply_update(answer.record, begin.update, begin.data) is Refusal.STALE


def test_repeated_store_is_recognised() -> None:
    """A call whose reply was lost is repeated without harm, and a lost write is noticed."""
    answer = Answer()
    answer.take(Text("a"))
    before = answer.record
    answer.attempt.command(Store("a", msgspec.Raw(b"1")), None)
    (store,) = answer.attempt.flush()
    assert store.update is not None
    answer.publish([store])
    assert apply_update(answer.record, store.update, store.data) is Refusal.DUPLICATE
    answer.attempt.command(Store("b", msgspec.Raw(b"1")), None)
    (following,) = answer.attempt.flush()
    assert following.update is not None
    assert apply_update(before, following.update, following.data) is Refusal.GAP


@pytest.mark.parametrize("size", [1001, 500])
def test_stored_values_count_towards_the_record(size: int) -> None:
    """What is too large is refused, and newer checkpoints take the place of older ones."""
    limits = PartsLimits(max_part_bytes=500, max_record_bytes=1000)
    value = msgspec.Raw(b'"%b"' % (b"x" * (size - 2)))
    attempt = Answer(limits).attempt
    for _ in range(3) if size < 1000 else ():
        attempt.command(Save(value), None)
    if size < 1000:
        attempt.command(Store("a", msgspec.Raw(b"1")), None)
    with pytest.raises(PartsTooLarge, match="max_record_bytes"):
        attempt.command(Store("b", value), None)
    attempt.part(to_event(Data("d", 1)))


@pytest.mark.parametrize("size", [10, 50_000])
def test_checkpoints_without_parts_do_not_fill_the_record(size: int) -> None:
    """The journal is compacted without an event, and a repeated call does no harm."""
    answer = Answer()
    answer.take(Text("x" * 1000))
    compacted = 0
    for n in range(200_000 // size):
        answer.attempt.command(Save(msgspec.Raw(b'"%b"' % (b"%d" % n).rjust(size, b"y"))), None)
        (stored,) = answer.attempt.flush()
        answer.publish([stored])
        assert stored.update is not None
        assert (stored.name, stored.update.index) == ("", 1)
        compacted += stored.update.kind is UpdateKind.COMPACT
        repeated = apply_update(answer.record, stored.update, b"")
        assert repeated is Refusal.DUPLICATE or repeated == answer.record
    assert compacted
    assert max(len(record.journal) for record in answer.records) < 300_000
    assert answer.record.text == "x" * 1000


def test_lost_write_is_noticed_when_the_journal_is_compacted() -> None:
    """A journal that lacks the newest write is not replaced."""
    answer = Answer()
    stored: Publication | None = None
    for n in range(2_000):
        answer.attempt.command(Save(msgspec.Raw(b"%d" % (10**100 + n))), None)
        (stored,) = answer.attempt.flush()
        assert stored.update is not None
        if stored.update.kind is UpdateKind.COMPACT:
            break
        answer.publish([stored])
    assert stored is not None
    assert stored.update is not None
    assert stored.update.kind is UpdateKind.COMPACT
    assert apply_update(answer.records[-2], stored.update, b"") is Refusal.GAP


def test_hidden_parts_do_not_fill_the_record() -> None:
    """Those that took the place of older ones are not kept until the next event."""
    answer = Answer()
    for n in range(300):
        answer.take(Data("d", f"{n}".rjust(1000), id="d", visible=False))
    answer.publish([answer.attempt.end(Status.DONE, {})])
    assert max(len(record.journal) for record in answer.records) < 200_000
    (part,) = answer.record.all_parts
    assert part["value"] == "299".rjust(1000)


@pytest.mark.parametrize("is_lost", [True, False])
def test_answer_near_its_limit_begins_again(is_lost: bool) -> None:
    """Parts that are published again may take more of the journal; what follows is refused."""
    limits = PartsLimits(max_part_bytes=500, max_record_bytes=2000)
    answer = Answer(limits)
    function = {"name": "f", "arguments": ""}
    answer.take(ToolCallDelta([{"index": 0, "id": "a", "type": "function", "function": function}]))
    for _ in range(17):
        answer.take(ToolCallDelta([{"index": 0, "function": {"arguments": '"' * 100}}]))
    answer.take(Save(msgspec.Raw(b"1")))
    before = answer.record.all_parts
    answer.take(LOSS)
    if is_lost:
        answer.crash()
    assert len(answer.record.journal) > limits.max_record_bytes
    assert answer.record.all_parts == before
    assert answer.attempt.state.checkpoint is not None or not is_lost
    answer.attempt.end(Status.FAILED, {})
    with pytest.raises(PartsTooLarge):
        answer.take(Text("x"))


def test_many_checkpoints_do_not_fill_the_record() -> None:
    """The journal is compacted when older checkpoints have filled it."""
    answer = Answer()
    answer.take(Text("x" * 1000))
    for n in range(600):
        answer.take(Save(msgspec.Raw(b'"%b"' % (b"y" * 1000))))
        answer.take(Data("n", n, id="n"))
    assert max(len(record.journal) for record in answer.records) < 200_000
    assert answer.checkpoint is not None
    answer.crash()
    assert answer.record.all_parts == answer.checkpoint[1]
