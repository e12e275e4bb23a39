"""The attempt of an external producer on one node: it turns posted parts into publications.

The record has everything that another node needs to go on (core/external_producer.py). This object
holds the same in memory, so that a node that gets the next post does not read the record again.

Rules:
1. Every publication names the progress before it and after it. The broker refuses it unless the
   record has the former, so an object that is behind the record writes nothing wrong.
2. After a refusal, or a publish without an answer, the object is void: read the record again.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from hub.core.call_ids import CallIds
from hub.core.call_numbers import CallNumbers
from hub.core.durable import AskInput, Save
from hub.core.external_producer import AttemptNotes, ExternalUpdate, Progress
from hub.core.generation import Generation, Status, UpdateKind, build_end_fields
from hub.core.part_events import to_event
from hub.core.parts import Part, Reasoning, Replace, Text, ToolCallDelta, Usage
from hub.core.parts_journal import PartsLimits, PartsTooLarge
from hub.core.posted_parts import MAX_EVENT_CHARS, PostedEnd, PostedPart, split_texts
from hub.core.tool_calls import ToolCallAssembler, UnnamedToolCall
from hub.engine.attempts.attempt import GenerationResult
from hub.engine.attempts.attempt_events import AttemptEvents
from hub.engine.attempts.coalescing import coalesce, is_joined
from hub.ports.clock import Clock
from hub.ports.events import Publication


class ExternalAttempt:
    """Builds the publications of one attempt in the order in which they are published.

    record: as it was read; its `external` is not None. progress: after the newest publication.
    steering, inputs, received: as in the record, which others change meanwhile.
    """

    def __init__(self, record: Generation, limits: PartsLimits, clock: Clock) -> None:
        assert record.external is not None
        self.record = record
        self.progress = record.external.progress
        self.lease_seconds = record.external.lease_seconds
        self.follow(record)
        self._notes = record.external.notes
        self._events = AttemptEvents.resume(record, limits)
        self._calls, self._assembler = _resume_calls(record, self._notes)
        self._call_ids = CallIds(self._events.parts, self._notes.call_ids)
        self._author = new_author()
        self._clock = clock
        self._read_at = clock.now()

    def follow(self, record: Generation) -> None:
        """Take from the record what users have sent."""
        self.steering, self.inputs = record.steering, record.inputs
        self.received = record.received

    @property
    def size_bytes(self) -> int:
        """About how much memory the parts take."""
        return self._events.size_bytes

    @property
    def age_seconds(self) -> float:
        """The time since the request."""
        return max(0.0, self.record.age_seconds) + self._clock.now() - self._read_at

    def build(self, parts: Sequence[PostedPart]) -> tuple[list[Publication], PartsTooLarge | None]:
        """Return what publishes new parts, which follow the progress, and renews the lease.

        With it comes the reason why a part and those after it cannot be published, or None.
        """
        publications: list[Publication] = []
        notes, progress = self._notes, self.progress
        try:
            for run in _runs(parts, progress):
                if isinstance(run.parts, AskInput):
                    (request,) = self._events.command(run.parts, notes.usage)
                    publications.append(self._external(request, run.after, self._with_calls(notes)))
                    notes = self._notes
                    progress = run.after
                    continue
                for part in coalesce(self._number(run.parts), max_runs=None):
                    if isinstance(part, Usage):
                        notes = _add_usage(notes, part.tokens)
                    elif not isinstance(part, ToolCallDelta) or part.calls:
                        publication = self._build(part, run.after, notes)
                        if publication is not None:
                            publications.append(publication)
                            notes = self._notes
                progress = run.after
                if run.checkpoint is not None:
                    self._events.command(run.checkpoint, notes.usage)
                    if _is_at(self.progress, progress) and publications:
                        publications[-1] = self._with_stored(publications[-1])
        except PartsTooLarge as error:
            return publications, error
        notes = self._with_calls(notes)
        if not (publications and _is_at(self.progress, progress) and self._notes == notes):
            publications.append(self._external(self._events.store(), progress, notes))
        return publications, None

    def _build(self, part: Part, after: Progress, notes: AttemptNotes) -> Publication | None:
        """Return the publication of a part; None if it comes with a later one."""
        publication = self._events.part(to_event(part))
        if publication is None:
            return None
        if publication.name and notes.first_delta_seconds is None:
            seconds = round(self.age_seconds, 3)
            notes = msgspec.structs.replace(notes, first_delta_seconds=seconds)
        return self._external(publication, after, self._with_calls(notes))

    def _with_stored(self, publication: Publication) -> Publication:
        """Return the publication with what has no event, so that one step stores both."""
        update, stored = publication.update, self._events.store().update
        assert update is not None
        assert stored is not None
        if stored.kind is UpdateKind.COMPACT:
            kind = UpdateKind.REPLACE if publication.name else UpdateKind.COMPACT
            update = msgspec.structs.replace(update, kind=kind, entries=stored.entries)
        else:
            update = msgspec.structs.replace(update, entries=update.entries + stored.entries)
        return msgspec.structs.replace(publication, update=update)

    def end(self, end: PostedEnd) -> list[Publication]:
        """Return what publishes the end, after all parts."""
        publications = []
        if end.status is Status.DONE and (calls := self._finish_calls()):
            event = to_event(ToolCallDelta(calls))
            publication = self._events.part(event)
            assert publication is not None
            publications.append(self._external(publication, self.progress, self._notes))
        notes = self._notes if end.usage is None else _add_usage(self._notes, end.usage)
        data = build_end_fields(
            end.fields,
            deltas=self._events.deltas,
            usage=notes.usage,
            queued_seconds=notes.queued_seconds,
            first_delta_seconds=notes.first_delta_seconds,
            total_seconds=self.age_seconds,
        )
        published = self._events.end(end.status, data)
        return [*publications, self._external(published, Progress(end.seq), notes)]

    def result(self, end: PostedEnd) -> GenerationResult:
        """Return how the answer ended, after `end`."""
        return GenerationResult(
            generation=msgspec.structs.replace(self.record, inputs=self.inputs),
            status=end.status,
            code=end.fields.get("code", ""),
            usage=self._notes.usage,
            queued_seconds=self._notes.queued_seconds,
            first_delta_seconds=self._notes.first_delta_seconds,
            total_seconds=self.age_seconds,
        )

    def _external(
        self, publication: Publication, after: Progress, notes: AttemptNotes
    ) -> Publication:
        """Return the publication with what the record has of the attempt after it."""
        after = msgspec.structs.replace(after, author=self._author)
        update = ExternalUpdate(
            self.progress, after, self.lease_seconds, None if notes == self._notes else notes
        )
        self.progress, self._notes = after, notes
        return with_external(publication, update)

    def _number(self, run: Sequence[Part]) -> Sequence[Part]:
        """Return the parts with tool calls as readers get them."""
        return self._calls.number(
            [
                self._call_ids.replace(
                    ToolCallDelta(self._assembler.feed(part.calls))
                    if isinstance(part, ToolCallDelta)
                    else part
                )
                for part in run
            ]
        )

    def _finish_calls(self) -> list[dict[str, Any]]:
        try:
            calls = self._assembler.finish()
        except UnnamedToolCall:  # arguments without a name; nothing of it was published
            return []
        (numbered,) = self._calls.number([self._call_ids.replace(ToolCallDelta(calls))])
        return numbered.calls if isinstance(numbered, ToolCallDelta) else []

    def _with_calls(self, notes: AttemptNotes) -> AttemptNotes:
        numbers = [number for _, number in sorted(self._calls.of_response.items())]
        call_ids = self._call_ids.replaced
        if (notes.calls, notes.delta_calls, notes.call_ids) == (
            *(self._calls.count, numbers, call_ids),
        ):
            return notes
        return msgspec.structs.replace(
            notes, calls=self._calls.count, delta_calls=numbers, call_ids=dict(call_ids)
        )


def new_author() -> str:
    """Return a new author of a progress."""
    return secrets.token_hex(4)


def with_external(publication: Publication, external: ExternalUpdate) -> Publication:
    """Return a publication whose update concerns an external producer as well."""
    assert publication.update is not None
    update = msgspec.structs.replace(publication.update, external=external)
    return msgspec.structs.replace(publication, update=update)


class _Run(NamedTuple):
    """Neighbours that become one event, the progress after them, and the checkpoint behind them.

    parts: or a request for an input.
    """

    parts: Sequence[Part] | AskInput
    after: Progress
    checkpoint: Save | None


def _runs(posted: Sequence[PostedPart], progress: Progress) -> Iterator[_Run]:
    parts: list[Part] = []
    chars, after = 0, progress
    for part, following, checkpoint in split_texts(posted, progress):
        if isinstance(part, AskInput):
            if parts:
                yield _Run(parts, after, None)
            yield _Run(part, following, None)
            parts, chars, after = [], 0, following
            continue
        size = len(part.text) if isinstance(part, Text | Reasoning | Replace) else 0
        if parts and not (is_joined(parts[0], part) and chars + size <= MAX_EVENT_CHARS):
            yield _Run(parts, after, None)
            parts, chars = [], 0
        parts.append(part)
        chars, after = chars + size, following
        if checkpoint is not None:
            yield _Run(parts, after, checkpoint)
            parts, chars = [], 0
    if parts:
        yield _Run(parts, after, None)


def _is_at(progress: Progress, other: Progress) -> bool:
    """Return whether both say the same, whoever their author is."""
    return (progress.seq, progress.chars) == (other.seq, other.chars)


def _add_usage(notes: AttemptNotes, tokens: Mapping[str, Any]) -> AttemptNotes:
    return msgspec.structs.replace(notes, usage={**(notes.usage or {}), **tokens})


def _resume_calls(record: Generation, notes: AttemptNotes) -> tuple[CallNumbers, ToolCallAssembler]:
    """Return what numbers the next tool calls, and knows those that came as `tool_call_delta`."""
    numbers = CallNumbers(notes.calls, dict(enumerate(notes.delta_calls)))
    assembler = ToolCallAssembler(has_whole_names=True)
    if notes.delta_calls:
        calls = {part["index"]: part for part in record.all_parts if "index" in part}
        for n, number in enumerate(notes.delta_calls):
            call = calls[number]
            function = {"name": call["name"], "arguments": call["arguments"]}
            assembler.feed([{"index": n, "id": call["id"], "function": function}])
    return numbers, assembler
