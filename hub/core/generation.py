"""Generations: one LLM answer being streamed. Its states, its record, its request.

    queued ──> running ──> done | stopped | failed
       │          └─> stopping ──> stopped | done | failed
       └────────────────┘└───────> stopped | failed

Rules:
1. A generation ends once; nothing is written after its end.
2. `attempt` counts the workers that began it; only the newest attempt may write.
3. The id tells the partition of its user's channel, so that any node finds its record.
"""

from __future__ import annotations

import enum
import re
import secrets
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from hub.core.channel import PARTITIONS
from hub.core.cursor import Position

ID_CHARS: Final = 19
_ID = re.compile(r"g[0-9a-f]{2}[0-9a-z]{16}")
_ALPHABET: Final = "0123456789abcdefghijklmnopqrstuvwxyz"


class Status(enum.Enum):
    """Where a generation stands; the value is the word on the wire and in Redis."""

    QUEUED = "queued"
    RUNNING = "running"
    STOPPING = "stopping"
    DONE = "done"
    STOPPED = "stopped"
    FAILED = "failed"

    @property
    def ended(self) -> bool:
        """Whether nothing more will come."""
        return self in (Status.DONE, Status.STOPPED, Status.FAILED)


class Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One turn of a conversation, as OpenAI's chat completions takes it."""

    role: str
    content: Any = None
    name: str | None = None
    tool_calls: list[Any] | None = None
    tool_call_id: str | None = None


class GenerationRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a worker needs to ask an upstream; it is kept so that the answer can be had again.

    `params` are in the words of OpenAI's chat completions. `chat` names the conversation of the
    user that it belongs to, where there is one. `trace` is the `traceparent` (W3C Trace Context)
    of who asks, for no client to see.
    """

    messages: list[Message]
    upstream: str
    model: str
    params: dict[str, Any] = {}
    metadata: dict[str, Any] = {}
    chat: str | None = None
    trace: str = ""


class Generation(msgspec.Struct, frozen=True):
    """A generation's record: what the broker knows of it now.

    `deltas` counts the `generation.delta` events so far; `text` is what they add up to.
    `requested_at` is the time of the request in Unix seconds; `after` the position in the user's
    channel just before its first event. `end` is the data of the end event, once there is one.
    """

    id: str
    user: str
    request: GenerationRequest
    status: Status = Status.QUEUED
    attempt: int = 0
    deltas: int = 0
    text: str = ""
    stop_requested_by: str | None = None
    requested_at: float = 0.0
    after: Position | None = None
    end: dict[str, Any] = {}


class UpdateKind(enum.Enum):
    """What an event does to its generation's record."""

    BEGIN = "begin"
    DELTA = "delta"
    REPLACE = "replace"
    STOP = "stop"
    END = "end"


_ENDS: Final = frozenset({Status.DONE, Status.STOPPED, Status.FAILED})

TRANSITIONS: Final[Mapping[Status, Mapping[UpdateKind, frozenset[Status]]]] = {
    Status.QUEUED: {
        UpdateKind.BEGIN: frozenset({Status.RUNNING}),
        UpdateKind.STOP: frozenset({Status.STOPPING}),
        UpdateKind.END: frozenset({Status.STOPPED, Status.FAILED}),
    },
    Status.RUNNING: {
        UpdateKind.BEGIN: frozenset({Status.RUNNING}),
        UpdateKind.DELTA: frozenset({Status.RUNNING}),
        UpdateKind.REPLACE: frozenset({Status.RUNNING}),
        UpdateKind.STOP: frozenset({Status.STOPPING}),
        UpdateKind.END: _ENDS,
    },
    Status.STOPPING: {
        UpdateKind.BEGIN: frozenset({Status.STOPPING}),
        UpdateKind.DELTA: frozenset({Status.STOPPING}),
        UpdateKind.REPLACE: frozenset({Status.STOPPING}),
        UpdateKind.STOP: frozenset({Status.STOPPING}),
        UpdateKind.END: _ENDS,
    },
    Status.DONE: {},
    Status.STOPPED: {},
    Status.FAILED: {},
}
"""Where each change leads from each status: what lua/publish.lua and lua/stop.lua do in Redis. A
stop that comes while the answer ends by itself does not undo the end: the first one stands.
"""


class GenerationUpdate(msgspec.Struct, frozen=True):
    """The change that an event makes to a generation's record, in the same script as the event.

    The broker refuses a step whose `attempt` is not the record's, one that comes after the end,
    and a delta that is already there (`index` is its `i`, so that a repeated call is harmless).
    BEGIN raises the record's attempt to `attempt`. `text` is appended (DELTA) or put in place of
    what there was (REPLACE); `status` is set by BEGIN and END.
    """

    generation: str
    attempt: int
    kind: UpdateKind
    status: Status = Status.RUNNING
    index: int = 0
    text: str = ""


class Refusal(enum.Enum):
    """Why a step changes nothing."""

    ENDED = "ended"
    STALE = "stale"
    DUPLICATE = "duplicate"


def apply_update(record: Generation, update: GenerationUpdate, data: bytes) -> Generation | Refusal:
    """The record after the step, whose event's data is `data` (JSON). Raises ValueError for a
    status that the change cannot lead to.
    """
    ways = TRANSITIONS[record.status]
    if not ways:
        return Refusal.ENDED
    expected = update.attempt - 1 if update.kind is UpdateKind.BEGIN else update.attempt
    if record.attempt != expected or update.kind not in ways:
        return Refusal.STALE
    leads_to = ways[update.kind]
    status = update.status if update.status in leads_to else next(iter(leads_to))
    replace = msgspec.structs.replace
    match update.kind:
        case UpdateKind.END:
            if update.status not in leads_to:
                raise ValueError(f"{record.status.value} cannot end as {update.status.value}")
            return replace(record, status=status, end=msgspec.json.decode(data))
        case UpdateKind.BEGIN:
            return replace(record, status=status, attempt=update.attempt, deltas=0, text="")
        case UpdateKind.STOP:
            return replace(record, status=status)
        case _ if update.index < record.deltas:
            return Refusal.DUPLICATE
        case UpdateKind.REPLACE:
            return replace(record, deltas=update.index + 1, text=update.text)
        case _:
            return replace(record, deltas=update.index + 1, text=record.text + update.text)


class StopResult(enum.Enum):
    """What became of a wish to stop."""

    STOPPING = "stopping"
    ENDED = "already ended"


def end_fields(
    fields: Mapping[str, Any],
    *,
    deltas: int,
    queued_seconds: float,
    first_delta_seconds: float | None,
    total_seconds: float,
    usage: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The data of an end event: what this kind of end says, and what every end says. Times in
    seconds, from the question.
    """
    first = None if first_delta_seconds is None else round(first_delta_seconds, 3)
    return {
        **fields,
        "usage": usage,
        "deltas": deltas,
        "seconds": {
            "queued": round(queued_seconds, 3),
            "first_delta": first,
            "total": round(total_seconds, 3),
        },
    }


def new_generation_id(partition: int) -> str:
    """A fresh id: `g`, the partition in two hexadecimal digits, 16 random characters."""
    return f"g{partition:02x}" + "".join(secrets.choice(_ALPHABET) for _ in range(ID_CHARS - 3))


def partition_of_generation(generation: str) -> int | None:
    """The partition that holds the record; None when this is not a generation's id."""
    if not _ID.fullmatch(generation):
        return None
    partition = int(generation[1:3], 16)
    return partition if partition < PARTITIONS else None
