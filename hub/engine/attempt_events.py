"""The events of one attempt: their numbers, their updates of the record, and what they add up to.

attempt.py publishes them. Parts that readers do not see have no event; their entries of the journal
come with the next event.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from hub.core.channel import user_channel
from hub.core.event import encode_json
from hub.core.generation import Generation, GenerationUpdate, Status, UpdateKind
from hub.core.part_events import PartEvent, to_events
from hub.core.parts_journal import PartsJournal, PartsLimits
from hub.ports.events import Publication


class AttemptEvents:
    """Builds the events in the order in which they are published.

    record: as it was read. number, writer, deltas: those of the previous attempt until `begin`;
    deltas is the `i` of the next part.
    """

    def __init__(self, record: Generation, limits: PartsLimits) -> None:
        self.number = record.attempt
        self.writer = record.writer
        self.deltas = record.deltas
        self._record = record
        self._limits = limits
        self._channel = user_channel(record.user)
        self._journal = PartsJournal(limits)
        self._unpublished = b""  # entries of parts without an event

    def begin(self, name: str) -> Publication:
        """Return the event that begins the next attempt of this worker."""
        self.number, self.deltas = self.number + 1, 0
        self.writer = secrets.token_hex(8)
        self._journal, self._unpublished = PartsJournal(self._limits), b""
        fields = {"attempt": self.number, "model": self._record.request.model}
        return self._build(name, fields, self._update(UpdateKind.BEGIN), key="begin")

    def begin_again(self) -> list[Publication]:
        """Return the events that begin the next attempt with all parts so far."""
        parts = self._journal.folded.parts
        begin = self.begin("generation.restarted")
        built = [self.part(event) for event in to_events(parts)]
        return [begin, *(publication for publication in built if publication is not None)]

    def part(self, event: PartEvent) -> Publication | None:
        """Return the event of the next part, None for one that readers do not see.

        Raise PartsTooLarge; then the part counts as not there.
        """
        name, fields = event
        entries = self._journal.append(event)
        if fields.get("visible") is False:
            self._unpublished += entries
            return None
        kind = UpdateKind.DELTA
        if self._journal.is_due:
            kind, entries, self._unpublished = UpdateKind.REPLACE, self._journal.compact(), b""
        entries, self._unpublished = self._unpublished + entries, b""
        update = self._update(kind, entries=entries)
        publication = self._build(name, {"i": self.deltas, **fields}, update)
        self.deltas += 1
        return publication

    def end(self, status: Status, data: Mapping[str, Any]) -> Publication:
        """Return the end event."""
        update = self._update(UpdateKind.END, status, self._unpublished)
        return self._build(f"generation.{status.value}", data, update, key="end")

    def _update(
        self, kind: UpdateKind, status: Status = Status.RUNNING, entries: bytes = b""
    ) -> GenerationUpdate:
        return GenerationUpdate(
            self._record.id, self.number, kind, status, self.deltas, entries, self.writer
        )

    def _build(
        self,
        name: str,
        fields: Mapping[str, Any],
        update: GenerationUpdate,
        *,
        key: str | None = None,
    ) -> Publication:
        return Publication(
            channel=self._channel,
            name=name,
            data=encode_json({"generation": self._record.id, **fields}),
            idempotency_key=f"{self._record.id}/{key}/{self.writer}" if key else None,
            update=update,
        )
