"""The journal of an answer's parts: bytes that grow with each event and fold to the parts so far.

The record of a generation keeps it, because appending costs the same whatever the answer has
already. A journal is a sequence of entries. Each begins with 0xFF, which UTF-8 never contains, and
a kind; only text at the very beginning has neither.

    t, r         text, reasoning
    a<index>:    text of the arguments of a tool call
    d, p         the JSON of a `generation.delta`, of a `generation.part`
    e            the text of a `generation.replaced`
    i            the JSON of a `generation.input_requested`
    s            the JSON of all folded parts: the parts before it do not count
    v            the JSON of a value that the producer has stored: {name, value}
    c            the JSON of a checkpoint: {value, parts, usage, steering, attempt};
                 null discards the last

Values and checkpoints are for later attempts (durable.py). Who folds the parts skips them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from hub.core.durable import Checkpoint, DurableState
from hub.core.folded_parts import FoldedParts
from hub.core.inputs import INPUT_REQUESTED
from hub.core.part_events import DELTA, PART, REPLACED, PartEvent

MARK: Final = b"\xff"
TEXT: Final = b"t"
GROWING: Final = (TEXT, b"r", b"a")  # kinds whose last entry grows without another mark
_VALUE: Final = b"v"
_CHECKPOINT: Final = b"c"
_ONLY_ARGUMENTS: Final = 2  # fields of a delta of a call that only has more arguments


class _Value(msgspec.Struct, frozen=True):
    name: str
    value: msgspec.Raw


class _Checkpoint(msgspec.Struct, frozen=True, omit_defaults=True):
    value: msgspec.Raw
    parts: int | None = None
    usage: dict[str, Any] | None = None
    steering: int = 0
    attempt: int = 0


_decode_checkpoint: Final = msgspec.json.Decoder(_Checkpoint | None).decode


def encode_event(event: PartEvent) -> tuple[bytes, bytes]:
    """Return the kind and the content of the entry of an event."""
    name, fields = event
    if name == DELTA:
        if len(fields) == 1:
            if "text" in fields:
                return TEXT, fields["text"].encode()
            if "reasoning" in fields:
                return b"r", fields["reasoning"].encode()
            calls = fields.get("tool_calls", ())
            if len(calls) == 1 and len(calls[0]) == _ONLY_ARGUMENTS:
                return b"a%d:" % calls[0]["index"], calls[0]["function"]["arguments"].encode()
        return b"d", msgspec.json.encode(fields)
    if name == REPLACED:
        return b"e", fields["text"].encode()
    if name == INPUT_REQUESTED:
        return b"i", msgspec.json.encode(fields)
    return b"p", msgspec.json.encode(fields)


def encode_parts(parts: Sequence[Mapping[str, Any]]) -> bytes:
    """Return the entry of folded parts."""
    return MARK + b"s" + msgspec.json.encode(parts)


def encode_value(name: str, value: bytes) -> bytes:
    """Return the entry of a stored value."""
    return MARK + _VALUE + msgspec.json.encode(_Value(name, msgspec.Raw(value)))


def encode_checkpoint(checkpoint: Checkpoint | None) -> bytes:
    """Return the entry of a checkpoint without its folded parts; None discards an earlier one."""
    if checkpoint is None:
        return MARK + _CHECKPOINT + b"null"
    usage = None if checkpoint.usage is None else dict(checkpoint.usage)
    value = msgspec.Raw(checkpoint.value)
    entry = _Checkpoint(value, checkpoint.parts, usage, checkpoint.steering, checkpoint.attempt)
    return MARK + _CHECKPOINT + msgspec.json.encode(entry)


def fold_journal(journal: bytes) -> FoldedParts:
    """Return the folded parts of a journal."""
    return _fold(journal.split(MARK))


def read_durable_state(journal: bytes) -> DurableState:
    """Return what outlives the attempt that has written a journal."""
    if MARK + _VALUE not in journal and MARK + _CHECKPOINT not in journal:
        return DurableState()
    entries = journal.split(MARK)
    values: dict[str, bytes] = {}
    newest = 0  # the place of the newest checkpoint; the first entry is always text
    for n, entry in enumerate(entries[1:], 1):
        if entry[:1] == _VALUE:
            stored = msgspec.json.decode(entry[1:], type=_Value)
            values[stored.name] = bytes(stored.value)
        elif entry[:1] == _CHECKPOINT:
            newest = n
    saved = _decode_checkpoint(entries[newest][1:]) if newest else None
    if saved is None:
        return DurableState(values)
    checkpoint = Checkpoint(
        value=bytes(saved.value),
        folded=_fold(entries[:newest]).parts,
        parts=saved.parts,
        usage=saved.usage,
        steering=saved.steering,
        attempt=saved.attempt,
    )
    return DurableState(values, checkpoint)


def _fold(entries: Sequence[bytes]) -> FoldedParts:
    folded = FoldedParts()
    for event in _decode(entries):
        folded.apply(*event)
    return folded


def _decode(entries: Sequence[bytes]) -> Iterator[PartEvent]:
    """Yield the events of the entries of a journal, those of the same kind in one."""
    text, *marked = entries
    if text:
        yield DELTA, {"text": text.decode()}
    for entry in marked:
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
            case b"i":
                yield INPUT_REQUESTED, msgspec.json.decode(content)
            case b"s":
                yield "generation.snapshot", {"parts": msgspec.json.decode(content)}
            case _:
                pass  # a value or a checkpoint
