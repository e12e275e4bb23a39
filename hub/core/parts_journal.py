"""The journal of an answer's parts: bytes that grow with each event and fold to the parts so far.

The record of a generation keeps it, because appending costs the same whatever the answer has
already. A journal is a sequence of entries. Each begins with 0xFF, which UTF-8 never contains, and
a kind; only text at the very beginning has neither.

    t, r         text, reasoning
    a<index>:    text of the arguments of a tool call
    d, p         the JSON of a `generation.delta`, of a `generation.part`
    e            the text of a `generation.replaced`
    s            the JSON of all folded parts: what came before it does not count

Text that continues the last entry is appended as it is, so a journal of text only is the text.
What a status, data or a text took the place of stays in the journal until it is compacted: it is
then as long as the folded parts, at most twice as long plus a constant in between.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from hub.core.folded_parts import FoldedParts
from hub.core.part_events import DELTA, PART, REPLACED, PartEvent

_MARK: Final = b"\xff"
_MAX_VOID_BYTES: Final = 64 * 1024
_ONLY_ARGUMENTS: Final = 2  # fields of a delta of a call that only has more arguments
_GROWING: Final = (b"t", b"r", b"a")


class PartsTooLarge(ValueError):
    """A part, or the answer with it, exceeds its limit. The message is for the client."""


class PartsLimits(msgspec.Struct, frozen=True, kw_only=True):
    """max_part_bytes: of a part that is a `generation.part`. max_record_bytes: of all together."""

    max_part_bytes: int
    max_record_bytes: int


class PartsJournal:
    """Writes a journal, and folds it at the same time. limits: None for an answer that is known."""

    def __init__(self, limits: PartsLimits | None = None) -> None:
        self.folded = FoldedParts()
        self._limits = limits
        self._kind = b"t"  # of the last entry
        self._bytes = 0
        self._void_bytes = 0  # of what newer entries took the place of
        self._replaceable: dict[object, int] = {}  # the bytes of what a later entry may replace

    @property
    def is_due(self) -> bool:
        """Whether so much of the journal is void that it should be compacted."""
        return self._void_bytes > max(_MAX_VOID_BYTES, self._bytes - self._void_bytes)

    def append(self, event: PartEvent) -> bytes:
        """Add an event, and return the bytes that follow those so far.

        Raise PartsTooLarge; then nothing has changed.
        """
        name, fields = event
        kind, content = _encode(name, fields)
        is_more = kind == self._kind and kind[:1] in _GROWING
        entry = content if is_more else _MARK + kind + content
        is_transient = bool(fields.get("transient"))
        key = None if is_transient else _replaced_by(name, fields)
        void_bytes = 0 if key is None or name == DELTA else self._replaceable.get(key, 0)
        new_bytes = 0 if is_transient else len(entry)
        self._check(name, len(content), new_bytes - void_bytes)
        self.folded.apply(name, fields)
        if is_transient:
            return b""
        self._kind = kind
        self._bytes += new_bytes
        self._void_bytes += void_bytes
        if key is not None:
            self._replaceable[key] = self._replaceable.get(key, 0) - void_bytes + new_bytes
        return entry

    def compact(self) -> bytes:
        """Return a journal that takes the place of the whole one so far."""
        entry = _MARK + b"s" + msgspec.json.encode(self.folded.parts)
        self._kind, self._bytes, self._void_bytes, self._replaceable = b"s", len(entry), 0, {}
        for part in self.folded.parts:
            key = "text" if part["type"] == "text" else _replaced_by(PART, part)
            if key is not None:
                size = len(msgspec.json.encode(part))
                self._replaceable[key] = self._replaceable.get(key, 0) + size
        return entry

    def _check(self, name: str, part_bytes: int, growth_bytes: int) -> None:
        limits = self._limits
        if limits is None:
            return
        if name == PART and part_bytes > limits.max_part_bytes:
            raise PartsTooLarge(
                f"a part of the answer exceeds the limit of {limits.max_part_bytes} bytes "
                "(generations.max_part_bytes)"
            )
        if self._bytes - self._void_bytes + growth_bytes > limits.max_record_bytes:
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


def fold_journal(journal: bytes) -> FoldedParts:
    """Return the folded parts of a journal."""
    folded = FoldedParts()
    for event in _decode(journal):
        folded.apply(*event)
    return folded


def _encode(name: str, fields: Mapping[str, Any]) -> tuple[bytes, bytes]:
    """Return the kind and the content of the entry of an event."""
    if name == DELTA:
        if len(fields) == 1:
            if "text" in fields:
                return b"t", fields["text"].encode()
            if "reasoning" in fields:
                return b"r", fields["reasoning"].encode()
            calls = fields.get("tool_calls", ())
            if len(calls) == 1 and len(calls[0]) == _ONLY_ARGUMENTS:
                return b"a%d:" % calls[0]["index"], calls[0]["function"]["arguments"].encode()
        return b"d", msgspec.json.encode(fields)
    if name == REPLACED:
        return b"e", fields["text"].encode()
    return b"p", msgspec.json.encode(fields)


def _decode(journal: bytes) -> Iterator[PartEvent]:
    """Yield the events of a journal, those of the same kind in one."""
    text, *entries = journal.split(_MARK)
    if text:
        yield DELTA, {"text": text.decode()}
    for entry in entries:
        kind, content = entry[:1], entry[1:]
        match kind:
            case b"t":
                yield DELTA, {"text": content.decode()}
            case b"r":
                yield DELTA, {"reasoning": content.decode()}
            case b"a":
                index, _, arguments = content.partition(b":")
                function = {"arguments": arguments.decode()}
                yield DELTA, {"tool_calls": [{"index": int(index), "function": function}]}
            case b"d":
                yield DELTA, msgspec.json.decode(content)
            case b"p":
                yield PART, msgspec.json.decode(content)
            case b"e":
                yield REPLACED, {"text": content.decode()}
            case _:
                yield "generation.snapshot", {"parts": msgspec.json.decode(content)}
