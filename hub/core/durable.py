"""What outlives an attempt: the values that a producer stores, and its newest checkpoint.

A function saves checkpoints by a command; an upstream that can continue an answer yields resume
points, which become checkpoints.

The journal of the parts (parts_journal.py) keeps both. An attempt that follows a lost one begins
with what `read_durable_state` finds there: all values, and, if there is a checkpoint, the parts up
to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, cast

import msgspec

from hub.core.inputs import InputRequest, StoredInput
from hub.core.parts import Part


class _Command(msgspec.Struct, frozen=True, tag_field="type", tag=str.lower):
    """Base class of the commands. They come between parts, and are carried out in that order."""


class Store(_Command, frozen=True):
    """Store a value under a name. value: JSON."""

    name: str
    value: msgspec.Raw


class Save(_Command, frozen=True):
    """Save a checkpoint behind the parts so far. value: JSON. steering: as in Checkpoint."""

    value: msgspec.Raw
    steering: int = 0


class Restart(_Command, frozen=True):
    """Make all parts so far void, and discard the checkpoint. The values remain."""


class ResumePoint(msgspec.Struct, frozen=True):
    """Where a later attempt continues the answer of an upstream: behind the parts so far.

    value: JSON of the upstream's own. None discards the checkpoint.

    Nobody waits for it: it is stored in the same step as the part before it. If there is no new
    part before it, it is stored at once when there is no checkpoint yet, and otherwise dropped. So
    an upstream yields one behind the parts of each batch.
    """

    value: Any


class AskInput(_Command, frozen=True):
    """Ask for an input.

    save: a checkpoint that is saved behind the request, and the attempt ends there: the value lets
    the next one begin. None goes on.
    """

    request: InputRequest
    save: Save | None = None


Command = Store | Save | Restart | AskInput
PartOrCommand = Part | Command
"""What a function yields."""
StreamOutput = PartOrCommand | ResumePoint
"""What an attempt takes: the output of a function or of an upstream."""


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A state from which a later attempt continues.

    value: JSON of the producer's own. parts: the number of parts before it, as readers count them;
    None if theirs cannot be cut there, because the parts were published again since then. folded:
    these parts, folded; also those that readers do not see. usage: the token counts of the parts.
    steering: the number of messages that the producer had taken (core/steering.py). attempt: that
    which saved it, 0 if it is not known.
    """

    value: bytes
    folded: Sequence[Mapping[str, Any]]
    parts: int | None = None
    usage: Mapping[str, Any] | None = None
    steering: int = 0
    attempt: int = 0


class DurableState(msgspec.Struct, frozen=True):
    """values: JSON by name. checkpoint: the newest one, None without one. inputs: by key."""

    values: Mapping[str, bytes] = {}
    checkpoint: Checkpoint | None = None
    inputs: Mapping[str, StoredInput] = {}


_COMMANDS: Final = frozenset[type]({Store, Save, Restart, AskInput})
_SPLITS: Final = _COMMANDS | {ResumePoint}


def split_at_commands(
    output: Sequence[StreamOutput],
) -> Iterator[tuple[Sequence[Part], Command | ResumePoint | None]]:
    """Yield the parts before each command with the command; the parts after the last with None.

    A resume point counts as a command.
    """
    if _SPLITS.isdisjoint(map(type, output)):  # nearly always
        if output:
            yield cast(Sequence[Part], output), None
        return
    parts: list[Part] = []
    for each in output:
        if isinstance(each, Store | Save | Restart | AskInput | ResumePoint):
            yield parts, each
            parts = []
        else:
            parts.append(each)
    if parts:
        yield parts, None


def has_commands(output: Iterable[StreamOutput]) -> bool:
    """Return whether any of these is a command, whose producer waits for it."""
    return not _COMMANDS.isdisjoint(map(type, output))
