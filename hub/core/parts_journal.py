"""Writes the journal of an answer's parts (journal_entries.py), and folds them at the same time.

Text that continues the last entry is appended as it is, so a journal of text only is the text. What
a status, data, a text or a checkpoint took the place of stays in the journal until it is compacted:
it is then as long as the folded parts, the values and the checkpoint, and at most twice as long
plus a constant in between. A compacted journal has the parts up to the checkpoint twice if later
parts have changed or followed them; this copy does not count towards the limit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from hub.core.durable import Checkpoint, DurableState
from hub.core.folded_parts import FoldedParts
from hub.core.inputs import INPUT_REQUESTED
from hub.core.journal_entries import (
    GROWING,
    MARK,
    TEXT,
    encode_checkpoint,
    encode_event,
    encode_parts,
    encode_value,
    fold_journal,
    read_durable_state,
)
from hub.core.part_events import DELTA, PART, PartEvent
from hub.core.saved_parts import SavedParts

_MAX_VOID_BYTES: Final = 64 * 1024
_CHECKPOINT: Final = "checkpoint"


class PartsTooLarge(ValueError):
    """A part, or the answer with it, exceeds its limit. The message is for the client."""


class PartsLimits(msgspec.Struct, frozen=True, kw_only=True):
    """max_part_bytes: of a part that is a `generation.part`. max_record_bytes: of all together,
    with the stored values and the checkpoint. max_suspended: how many answers of a user may be
    suspended; None means any number.
    """

    max_part_bytes: int
    max_record_bytes: int
    max_suspended: int | None = None


class PartsJournal:
    """Writes a journal.

    limits: None for what is known to fit. state: what the journal begins with, also the parts
    up to its checkpoint if readers keep them; `compact` returns the first bytes then.
    """

    def __init__(
        self, limits: PartsLimits | None = None, state: DurableState | None = None
    ) -> None:
        state = state or DurableState()
        checkpoint = state.checkpoint
        continues = checkpoint is not None and checkpoint.parts is not None
        self.folded = FoldedParts(checkpoint.folded if checkpoint and continues else ())
        self.limits = limits
        self._kind = TEXT  # of the last entry
        self._bytes = 0
        self._void_bytes = 0  # of what newer entries took the place of
        self._replaceable: dict[object, int] = {}  # the bytes of what a later entry may replace
        self._values = dict(state.values)
        self._checkpoint = checkpoint  # its folded parts are `_saved`
        self._saved = SavedParts(checkpoint.folded if checkpoint else None)

    @classmethod
    def resume(cls, journal: bytes, limits: PartsLimits | None = None) -> PartsJournal:
        """Return the writer of what follows a journal that another one has written."""
        resumed = cls(limits, read_durable_state(journal))
        resumed.folded = fold_journal(journal)
        size = len(resumed.compact())  # also notes what later entries may replace
        resumed._kind = b"s" if journal else TEXT
        resumed._bytes = max(len(journal), size)
        resumed._void_bytes = resumed._bytes - size
        return resumed

    @property
    def size_bytes(self) -> int:
        """The size of the journal."""
        return self._bytes

    @property
    def is_due(self) -> bool:
        """Whether so much of the journal is void that it should be compacted."""
        return self._void_bytes > max(_MAX_VOID_BYTES, self._bytes - self._void_bytes)

    @property
    def state(self) -> DurableState:
        """What would outlive the attempt now."""
        checkpoint = self._checkpoint
        if checkpoint is not None:
            checkpoint = msgspec.structs.replace(checkpoint, folded=self._saved.parts)
        return DurableState(dict(self._values), checkpoint)

    def append(self, event: PartEvent) -> bytes:
        """Add an event, and return the bytes that follow those so far.

        Raise PartsTooLarge; then nothing has changed.
        """
        name, fields = event
        kind, content = encode_event(event)
        is_more = kind == self._kind and kind[:1] in GROWING
        entry = content if is_more else MARK + kind + content
        is_transient = bool(fields.get("transient"))
        key = None if is_transient else _replaced_by(name, fields)
        void_bytes = 0 if key is None or name == DELTA else self._replaceable.get(key, 0)
        new_bytes = 0 if is_transient else len(entry)
        self._check_part(name, len(content))
        self._check_growth(new_bytes - void_bytes)
        self.folded.apply(name, fields)
        self._saved.append(event)
        if is_transient:
            return b""
        self._add(kind, new_bytes, void_bytes)
        if key is not None:
            self._replaceable[key] = self._replaceable.get(key, 0) - void_bytes + new_bytes
        return entry

    def append_text(self, text: str) -> bytes:
        """Add the event of more text, as `append` does, at a third of its cost.

        Raise PartsTooLarge; then nothing has changed.
        """
        content = text.encode()
        entry = content if self._kind == TEXT else MARK + TEXT + content
        size = len(entry)
        self._check_growth(size)
        self.folded.append_text(text)
        self._saved.append((DELTA, {"text": text}))
        self._kind = TEXT
        self._bytes += size
        self._replaceable["text"] = self._replaceable.get("text", 0) + size
        return entry

    def store(self, name: str, value: bytes) -> bytes:
        """Store a value, and return the bytes that follow. value: JSON. Raise PartsTooLarge."""
        entry = encode_value(name, value)
        self._check_growth(len(entry))
        self._add(b"v", len(entry))
        self._values[name] = value
        return entry

    def save(
        self,
        value: bytes,
        parts: int,
        usage: Mapping[str, Any] | None = None,
        *,
        steering: int = 0,
        attempt: int = 0,
    ) -> bytes:
        """Save a checkpoint, and return the bytes that follow. Raise PartsTooLarge.

        value: JSON. parts, usage, steering, attempt: as in Checkpoint. A checkpoint that soon
        follows another one costs the same however many parts there are.
        """
        checkpoint = Checkpoint(
            value=value, parts=parts, usage=usage, folded=(), steering=steering, attempt=attempt
        )
        entry = encode_checkpoint(checkpoint)
        void_bytes = self._replaceable.get(_CHECKPOINT, 0)
        self._check_growth(len(entry) - void_bytes)
        self._add(b"c", len(entry), void_bytes)
        self._replaceable[_CHECKPOINT] = len(entry)
        self._checkpoint = checkpoint
        self._saved.save(self.folded)
        return entry

    def discard(self) -> bytes:
        """Discard the checkpoint, and return the bytes that follow."""
        if self._checkpoint is None:
            return b""
        entry = encode_checkpoint(None)
        void_bytes = self._replaceable.pop(_CHECKPOINT, 0)
        self._add(b"c", len(entry), void_bytes)
        self._void_bytes += len(entry)
        self._checkpoint = None
        self._saved = SavedParts()
        return entry

    @property
    def has_checkpoint(self) -> bool:
        """Whether there is a checkpoint."""
        return self._checkpoint is not None

    def compact(self) -> bytes:
        """Return a journal that takes the place of the whole one so far."""
        values = b"".join(encode_value(*stored) for stored in self._values.items())
        parts = encode_parts(self.folded.parts) if self.folded.parts else b""
        checkpoint, copy = b"", b""
        if self._checkpoint is not None:
            checkpoint = encode_checkpoint(self._checkpoint)
            parts = parts or encode_parts([])
            saved = encode_parts(self._saved.parts)
            if parts != saved:
                copy = saved
        entries = [values, copy, checkpoint, parts] if copy else [values, parts, checkpoint]
        journal = b"".join(entries)
        self._kind = b"s" if journal else TEXT
        self._bytes, self._void_bytes = len(journal) - len(copy), 0
        self._replaceable = {_CHECKPOINT: len(checkpoint)} if checkpoint else {}
        for part in self.folded.parts:
            key = "text" if part["type"] == "text" else _replaced_by(PART, part)
            if key is not None:
                size = len(msgspec.json.encode(part))
                self._replaceable[key] = self._replaceable.get(key, 0) + size
        return journal

    def _add(self, kind: bytes, new_bytes: int, void_bytes: int = 0) -> None:
        self._kind = kind
        self._bytes += new_bytes
        self._void_bytes += void_bytes

    def _check_part(self, name: str, part_bytes: int) -> None:
        limits = self.limits
        if (
            limits is not None
            and name in (PART, INPUT_REQUESTED)
            and part_bytes > limits.max_part_bytes
        ):
            raise PartsTooLarge(
                f"a part of the answer exceeds the limit of {limits.max_part_bytes} bytes "
                "(generations.max_part_bytes)"
            )

    def _check_growth(self, growth_bytes: int) -> None:
        limits = self.limits
        size = self._bytes - self._void_bytes + growth_bytes
        if limits is not None and size > limits.max_record_bytes:
            raise PartsTooLarge(
                f"the answer exceeds the limit of {limits.max_record_bytes} bytes "
                "(generations.max_record_bytes)"
            )


def _replaced_by(name: str, fields: Mapping[str, Any]) -> object:
    """Return a key that is the same for an event and for what it takes the place of, or None."""
    if name != PART:
        return "text" if "text" in fields else None
    if fields["type"] == "status":
        return "status"
    if fields["type"] == "data" and fields.get("id") is not None:
        return fields["name"], fields["id"], fields.get("visible", True)
    return None
