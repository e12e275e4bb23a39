"""The events of one attempt: their numbers, their updates of the record, and what they add up to.

attempt.py publishes them. Parts that readers do not see have no event; their entries of the journal
come with the next event, or with `flush`, and so do stored values and checkpoints. A resume point
comes with the event before it.

Two ways to begin:

    begin_after   what a lost attempt has stored is kept (core/durable.py). With a checkpoint the
                  event is `generation.continued`: the parts up to it remain
    begin_again   the record has lost a part of this attempt: all of its parts are published anew
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from hub.core.deliveries import Delivery
from hub.core.durable import (
    AskInput,
    Checkpoint,
    Command,
    DurableState,
    Restart,
    ResumePoint,
    Save,
    Store,
)
from hub.core.event import encode_json
from hub.core.folded_parts import visible_parts
from hub.core.generation import (
    ANEW,
    WITHOUT_EVENT,
    Generation,
    GenerationUpdate,
    Status,
    UpdateKind,
)
from hub.core.inputs import (
    INPUT_REQUESTED,
    InputRequest,
    RequestedInput,
    StoredInput,
    fold_inputs,
)
from hub.core.journal_entries import read_durable_state
from hub.core.part_events import DELTA, PartEvent, is_numbered, to_events
from hub.core.parts_journal import PartsJournal, PartsLimits, PartsTooLarge
from hub.core.push_job import end_deliveries, input_deliveries
from hub.ports.events import Publication

STARTED: Final = "generation.started"
RESTARTED: Final = "generation.restarted"
CONTINUED: Final = "generation.continued"


class AttemptEvents:
    """Builds the events in the order in which they are published.

    record: as it was read. number, writer, deltas: those of the previous attempt until the attempt
    begins; deltas is the `i` of the next part. state: what the attempt began with. next_writer: the
    writer of the attempt that begins; None means a random one, with the version of this worker.
    """

    def __init__(
        self,
        record: Generation,
        limits: PartsLimits,
        *,
        next_writer: str | None = None,
        version: str = "",
    ) -> None:
        self.number = record.attempt
        self.writer = record.writer
        self.deltas = record.deltas
        self.state = DurableState()
        self._record = record
        self._channel = record.channel
        self._limits = limits
        self._version = version
        self._journal = PartsJournal(limits)
        self._journal_bytes = 0  # of the record's journal
        self._unpublished = b""  # entries without an event
        self._is_awaited = False  # whether the producer waits until they are stored
        self._restarts = 0
        self._next_writer = next_writer
        self._inputs: dict[str, StoredInput] = dict(record.inputs)

    @property
    def inputs(self) -> Mapping[str, StoredInput]:
        """What this attempt or one before has asked for. Values may have come since."""
        return self._inputs

    @classmethod
    def resume(cls, record: Generation, limits: PartsLimits) -> AttemptEvents:
        """Return the events that follow those of a record, whose attempt goes on."""
        events = cls(record, limits)
        events._journal = PartsJournal.resume(record.journal, limits)
        events._journal_bytes = len(record.journal)
        return events

    @property
    def size_bytes(self) -> int:
        """The size of the journal."""
        return self._journal.size_bytes

    @property
    def parts(self) -> Sequence[Mapping[str, Any]]:
        """The parts so far, folded; also those that readers do not see."""
        return self._journal.folded.parts

    @property
    def next_call(self) -> int:
        """The number of the next tool call that readers see."""
        parts = self._journal.folded.parts
        calls = [part["index"] for part in parts if part["type"] == "tool_call" and "index" in part]
        return max(calls, default=-1) + 1

    @property
    def checkpoint(self) -> Checkpoint | None:
        """The newest checkpoint."""
        return self._journal.state.checkpoint

    def begin_after(self, record: Generation, name: str) -> list[Publication]:
        """Return the events that begin the attempt after that of the record.

        name: that of the event if there is no checkpoint. The broker refuses the events if the
        journal of the record has changed since it was read.
        """
        self.number = record.attempt
        state = read_durable_state(record.journal)
        state = self.state = msgspec.structs.replace(state, inputs=record.inputs)
        self._inputs = dict(record.inputs)
        read_bytes = len(record.journal)
        checkpoint = state.checkpoint
        if checkpoint is None:
            return [self._begin(name, state, read_bytes=read_bytes)]
        if checkpoint.parts is not None:
            return [self._begin(CONTINUED, state, read_bytes=read_bytes)]
        begin = self._begin(RESTARTED, state, read_bytes=read_bytes)
        return [begin, *self._publish_again(checkpoint.folded, checkpoint)]

    def begin_again(self) -> list[Publication]:
        """Return the events that begin the next attempt with everything so far."""
        parts, state = self._journal.folded.parts, self._journal.state
        if state.checkpoint is not None:
            checkpoint = msgspec.structs.replace(state.checkpoint, parts=None)
            state = msgspec.structs.replace(state, checkpoint=checkpoint)
        begin = self._begin(RESTARTED, state)
        return [begin, *self._publish_again(parts)]

    def part(self, event: PartEvent) -> Publication | None:
        """Return the event of the next part. Raise PartsTooLarge; then the part is not there.

        One that readers do not see has none: return None, or an update that compacts the journal.
        """
        name, fields = event
        self._append(self._journal.append(event))
        if fields.get("visible") is False:
            return self.store() if self._journal.is_due else None
        return self._number(name, fields)

    def text(self, text: str) -> Publication:
        """Return the event of more text, as `part` does. Raise PartsTooLarge."""
        self._unpublished += self._journal.append_text(text)
        return self._number(DELTA, {"text": text})

    def _number(self, name: str, fields: Mapping[str, Any]) -> Publication:
        """Return the event of a part that the journal has."""
        kind = UpdateKind.DELTA
        if self._journal.is_due:
            kind, self._unpublished = UpdateKind.REPLACE, self._journal.compact()
        publication = self._build(name, {"i": self.deltas, **fields}, self._update(kind))
        self.deltas += 1
        return publication

    def command(self, command: Command, usage: Mapping[str, Any] | None) -> list[Publication]:
        """Return the events of a command; what it stores comes with the next event.

        usage: the token counts so far. Raise PartsTooLarge; then nothing is stored.
        """
        match command:
            case Store(name, value):
                self._append(self._journal.store(name, bytes(value)))
            case Save(value, steering):
                entry = self._journal.save(
                    bytes(value), self.deltas, usage, steering=steering, attempt=self.number
                )
                self._append(entry)
            case AskInput(request, save):
                return [self._ask(request, save, usage)]
            case Restart():
                return self._restart()
        self._is_awaited = True
        return []

    def resume_point(
        self,
        point: ResumePoint,
        usage: Mapping[str, Any] | None,
        publications: Sequence[Publication],
    ) -> Sequence[Publication]:
        """Return the publications with a resume point behind them.

        publications: those that are published together with it. usage: the token counts so far.
        Raise PartsTooLarge.
        """
        last = publications[-1].update if publications else None
        if last is None or self._unpublished:
            if point.value is None or not self._journal.has_checkpoint:
                self._append(self._save(point, usage))
                self._is_awaited = True
            return publications
        entry = self._save(point, usage)
        self._journal_bytes += len(entry)
        update = msgspec.structs.replace(last, entries=last.entries + entry)
        return [*publications[:-1], msgspec.structs.replace(publications[-1], update=update)]

    def _save(self, point: ResumePoint, usage: Mapping[str, Any] | None) -> bytes:
        """Return the entry of a resume point. Raise PartsTooLarge."""
        if point.value is None:
            return self._journal.discard()
        value = encode_json(point.value)
        return self._journal.save(value, self.deltas, usage, attempt=self.number)

    def flush(self) -> list[Publication]:
        """Return the update that stores what the producer waits for, unless an event did so."""
        if not (self._is_awaited and self._unpublished):
            self._is_awaited = False
            return []
        return [self.store()]

    def store(self) -> Publication:
        """Return the update that stores what has no event, if there is anything."""
        kind = UpdateKind.STORE
        if self._journal.is_due:
            kind, self._unpublished = UpdateKind.COMPACT, self._journal.compact()
        update = self._update(kind)
        return Publication(channel=self._channel, name="", data=b"", update=update)

    def end(self, status: Status, data: Mapping[str, Any]) -> Publication:
        """Return the end event."""
        update = self._update(UpdateKind.END, status)
        deliveries = end_deliveries(self._record, status)
        name = f"generation.{status.value}"
        return self._build(name, data, update, key="end", deliveries=deliveries)

    def _begin(
        self, name: str, state: DurableState, *, read_bytes: int | None = None
    ) -> Publication:
        """Return the event that begins the next attempt with a state.

        read_bytes: the length of the journal that must not have changed; None means any.
        """
        self.number += 1
        random = f"{secrets.token_hex(8)}@{self._version}".removesuffix("@")
        self.writer = self._next_writer or random
        self._journal = PartsJournal(self._limits, state)
        self._unpublished = self._journal.compact()
        checkpoint = state.checkpoint if name == CONTINUED else None
        self.deltas = (checkpoint and checkpoint.parts) or 0
        fields = beginning_fields(self._record, self.number)
        if checkpoint is not None:
            folded = self._journal.folded
            parts = fold_inputs(visible_parts(folded.parts), self._inputs)
            snapshot = {"text": folded.text, "parts": parts}
            fields |= {"parts": self.deltas, "snapshot": snapshot}
        update = self._update(UpdateKind.BEGIN, read_bytes=read_bytes)
        return self._build(name, fields, update, key="begin")

    def _restart(self) -> list[Publication]:
        """Return the event that makes all parts so far void, unless there is nothing to discard."""
        state = self._journal.state
        if state.checkpoint is None and not self.deltas and not self._journal.folded.parts:
            return []
        self._restarts += 1
        self._journal = PartsJournal(self._limits, DurableState(state.values))
        self._unpublished = self._journal.compact()
        update = self._update(UpdateKind.RESTART)
        self.deltas = 0
        fields = beginning_fields(self._record, self.number)
        return [self._build(RESTARTED, fields, update, key=f"restart{self._restarts}")]

    def _ask(
        self,
        request: InputRequest,
        save: Save | None = None,
        usage: Mapping[str, Any] | None = None,
    ) -> Publication:
        """Return the event that asks for an input, or an update if readers see it already.

        A known key keeps its request. save: a checkpoint that is saved with it, and the attempt
        ends. Raise PartsTooLarge; then nothing is stored.
        """
        known = self._inputs.setdefault(request.input, StoredInput(request, self.number))
        request = known.request
        is_new = not self._journal.folded.has_input(request.input)
        before, fields = self._unpublished, request.fields
        if is_new:
            self._append(self._journal.append((INPUT_REQUESTED, fields)))
        if save is not None:
            try:
                saved = self._journal.save(
                    bytes(save.value),
                    self.deltas + is_new,
                    usage,
                    steering=save.steering,
                    attempt=self.number,
                )
            except PartsTooLarge:
                self._unpublished = before
                raise
            self._append(saved)
        kind = UpdateKind.DELTA if is_new else UpdateKind.STORE
        if self._journal.is_due:
            kind = UpdateKind.REPLACE if is_new else UpdateKind.COMPACT
            self._unpublished = self._journal.compact()
        asks = RequestedInput(request, save is not None, self._limits.max_suspended)
        update = msgspec.structs.replace(self._update(kind), input=asks)
        if not is_new:
            return Publication(channel=self._channel, name="", data=b"", update=update)
        deliveries = input_deliveries(self._record, request)
        publication = self._build(
            INPUT_REQUESTED, {"i": self.deltas, **fields}, update, deliveries=deliveries
        )
        self.deltas += 1
        return publication

    def _ask_again(self, part: Mapping[str, Any]) -> Publication:
        """Return the event of an input that was asked for before. part: its fields."""
        known = self._inputs.get(part["input"])
        return self._ask(msgspec.convert(part, InputRequest) if known is None else known.request)

    def _publish_again(
        self, parts: Sequence[Mapping[str, Any]], checkpoint: Checkpoint | None = None
    ) -> list[Publication]:
        """Return the events of parts that the answer had before, and of the checkpoint after them.

        The limit does not apply: the journal of folded parts can be longer than that of the events.
        """
        self._journal.limits = None
        publications = [
            self._ask_again(event[1]) if event[0] == INPUT_REQUESTED else self.part(event)
            for event in to_events(parts)
            if is_numbered(event[0])
        ]
        if checkpoint is not None:
            entry = self._journal.save(
                checkpoint.value,
                self.deltas,
                checkpoint.usage,
                steering=checkpoint.steering,
                attempt=checkpoint.attempt,
            )
            self._append(entry)
            self._is_awaited = True
        self._journal.limits = self._limits
        return [*(each for each in publications if each is not None), *self.flush()]

    def _append(self, entries: bytes) -> None:
        self._unpublished += entries

    def _update(
        self,
        kind: UpdateKind,
        status: Status = Status.RUNNING,
        *,
        read_bytes: int | None = None,
    ) -> GenerationUpdate:
        """Return the update with the entries that have not been published."""
        entries, self._unpublished, self._is_awaited = self._unpublished, b"", False
        if kind in WITHOUT_EVENT:
            read_bytes = self._journal_bytes
        if kind in ANEW:
            self._journal_bytes = 0
        self._journal_bytes += len(entries)
        return GenerationUpdate(
            generation=self._record.id,
            attempt=self.number,
            kind=kind,
            status=status,
            index=self.deltas,
            entries=entries,
            writer=self.writer,
            journal_bytes=read_bytes,
        )

    def _build(
        self,
        name: str,
        fields: Mapping[str, Any],
        update: GenerationUpdate,
        *,
        key: str | None = None,
        deliveries: Sequence[Delivery] = (),
    ) -> Publication:
        return Publication(
            channel=self._channel,
            name=name,
            data=encode_json({"generation": self._record.id, **fields}),
            idempotency_key=f"{self._record.id}/{key}/{self.writer}" if key else None,
            update=update,
            deliveries=deliveries,
        )


def beginning_fields(record: Generation, attempt: int) -> dict[str, Any]:
    """Return the fields of the event that begins an attempt. Only in a topic it says who asked."""
    fields = {"attempt": attempt, "model": record.request.model}
    is_shown = record.request.topic is not None and record.user
    return {**fields, "user": record.user} if is_shown else fields
