"""Generations: the states, the record and the request of one LLM answer.

    queued ──> running ──> done | stopped | failed
       │        │    └─> stopping ──> stopped | done | failed
       │        │            └─────> stopped | failed
       │        ├─> waiting ──> running      for an input, while the producer goes on
       │        └─> suspended ──> queued     for an input, and no producer runs
       └──> stopped | failed; each of them ──> stopping

Rules:
1. A generation ends once; nothing is written after its end.
2. `attempt` counts the workers that started it; only the newest attempt may write.
3. An update names the number of deltas before it. An update that names more than the record has is
   refused: after a fail-over the record may lack deltas, and a text with a hole is never continued
   or ended.
4. The id contains the partition of its channel, so that every node can find the record. The channel
   is that of its user, or of the topic for which the user asked.
"""

from __future__ import annotations

import enum
import re
import secrets
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import msgspec

from hub.core.channel import PARTITIONS, Channel, channel_for
from hub.core.cursor import Position
from hub.core.external_producer import ExternalState, ExternalUpdate
from hub.core.folded_parts import FoldedParts, visible_parts
from hub.core.inputs import AnsweredInput, RequestedInput, StoredInput, lay_over
from hub.core.journal_entries import fold_journal
from hub.core.steering import SteeringMessage

ID_CHARS: Final = 19
_ID = re.compile(r"g[0-9a-f]{2}[0-9a-z]{16}")
_ALPHABET: Final = "0123456789abcdefghijklmnopqrstuvwxyz"


class Status(enum.Enum):
    """The state of a generation. The values are sent to clients and stored in Redis."""

    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    SUSPENDED = "suspended"
    STOPPING = "stopping"
    DONE = "done"
    STOPPED = "stopped"
    FAILED = "failed"

    @property
    def ended(self) -> bool:
        """Whether the generation has ended: no event follows."""
        return self in (Status.DONE, Status.STOPPED, Status.FAILED)


class OnBusy(enum.Enum):
    """What a request does when its chat has an answer that has not ended.

    ALLOW: it is answered beside it. REJECT: it is refused. ENQUEUE: its answer begins when those
    before it have ended. INTERRUPT: it stops those before it, and its answer begins when they have
    ended. STEER: its message goes to the oldest one that is not about to stop, and it gets no
    answer of its own; without one, its answer begins when all have ended.
    """

    ALLOW = "allow"
    REJECT = "reject"
    ENQUEUE = "enqueue"
    INTERRUPT = "interrupt"
    STEER = "steer"


class Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One message of a conversation, in the form of OpenAI's chat completions.

    reasoning_content, reasoning_details: the reasoning of an earlier answer, for the upstreams that
    need it back.
    """

    role: str
    content: Any = None
    name: str | None = None
    tool_calls: list[Any] | None = None
    tool_call_id: str | None = None
    reasoning_content: str | None = None
    reasoning_details: list[Any] | None = None


class GenerationRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """The request for an answer. It is stored so that the generation can be restarted.

    messages: the conversation. upstream, model: which LLM answers. params: parameters with the
    names of OpenAI's chat completions. metadata: JSON of the client's own. chat: the id of a
    conversation in the channel, None outside of one. topic: the topic whose channel gets the
    answer, None for the channel of the user. producer: `external` if a process of the application
    posts the parts, empty if an upstream answers. trace: the `traceparent` of the caller (W3C Trace
    Context); clients never see it. notify_seconds: how long after its end or the request of an
    input the user gets a push notification; None for none.
    """

    messages: list[Message]
    upstream: str
    model: str
    params: dict[str, Any] = {}
    metadata: dict[str, Any] = {}
    chat: str | None = None
    topic: str | None = None
    producer: str = ""
    trace: str = ""
    notify_seconds: float | None = None


class Moment(msgspec.Struct, frozen=True):
    """When something happened to a generation, in Unix seconds by the store's clock.

    kind: an attempt began, an attempt had its first delta, or the generation ended.
    """

    kind: Literal["begin", "delta", "end"]
    attempt: int
    at: float


class Generation(msgspec.Struct, frozen=True):
    """The record of a generation as the broker stores it.

    attempt: the number of workers that started it. deltas: the number of `generation.delta` and
    `generation.part` events so far; journal: their parts, and what the producer stores
    (journal_entries.py). stop_requested_by: the user who requested a stop. requested_at: the time
    of the request in Unix seconds, by the store's clock. age_seconds: the time since then when the
    record was read, by the same clock; 0 where that clock is not known any more. after: the
    position in its channel just before the first event. end: the data of the end event,
    empty until then. writer: the writer of the newest attempt, empty before the first one. waits:
    whether it may not begin before others of its chat have ended (OnBusy). external: the newest
    attempt of an external producer, None if there has been none. steerable: whether its producer
    takes messages while it runs; steering: those so far. inputs: by key. suspended: the key of the
    input for which no attempt runs: the newest one has ended, and the next one has not begun.
    suspensions: how many attempts have ended so; returns: how many were returned with their job.
    received: how much users have sent to its
    producer: messages, and what has become of inputs. moments: the first ones, and the end.
    """

    id: str
    user: str
    request: GenerationRequest
    status: Status = Status.QUEUED
    attempt: int = 0
    deltas: int = 0
    journal: bytes = b""
    stop_requested_by: str | None = None
    requested_at: float = 0.0
    age_seconds: float = 0.0
    after: Position | None = None
    end: dict[str, Any] = {}
    writer: str = ""
    waits: bool = False
    external: ExternalState | None = None
    steerable: bool = False
    steering: Sequence[SteeringMessage] = ()
    inputs: Mapping[str, StoredInput] = {}
    suspended: str | None = None
    suspensions: int = 0
    returns: int = 0
    received: int = 0
    moments: Sequence[Moment] = ()

    @property
    def losses(self) -> int:
        """The number of attempts that were lost, if the newest one does not run any more."""
        return self.attempt - self.suspensions - self.returns

    @property
    def version(self) -> str:
        """The version of the worker that began the newest attempt, empty without one."""
        return self.writer.partition("@")[2]

    @property
    def channel(self) -> Channel:
        """The channel that has its events."""
        return channel_for(self.user, self.request.topic)

    @property
    def text(self) -> str:
        """The text so far."""
        return self.fold().text

    @property
    def parts(self) -> list[dict[str, Any]]:
        """The parts so far that readers see, folded (hub_client/parts.py)."""
        return visible_parts(self.all_parts)

    @property
    def all_parts(self) -> list[dict[str, Any]]:
        """The parts so far, folded, and those that only producers and the internal API see."""
        return self.fold().parts

    def fold(self) -> FoldedParts:
        """Return the text and all parts so far. Each call reads the whole journal."""
        folded = lay_over(fold_journal(self.journal), self.inputs.values())
        folded.apply(f"generation.{self.status.value}", {})
        return folded


class UpdateKind(enum.Enum):
    """How an event changes the record of its generation."""

    BEGIN = "begin"
    DELTA = "delta"
    REPLACE = "replace"
    STORE = "store"
    COMPACT = "compact"
    RESTART = "restart"
    STOP = "stop"
    INPUT = "input"
    END = "end"


_ENDS: Final = frozenset({Status.DONE, Status.STOPPED, Status.FAILED})


def _while_producing(status: Status) -> Mapping[UpdateKind, frozenset[Status]]:
    """Return the transitions of a status in which an attempt may run."""
    same = frozenset({status})
    kinds = (UpdateKind.DELTA, UpdateKind.REPLACE, UpdateKind.STORE, UpdateKind.COMPACT)
    is_stopping = status is Status.STOPPING
    started = same if is_stopping else frozenset({Status.RUNNING})
    return {
        **dict.fromkeys([*kinds, UpdateKind.RESTART, UpdateKind.INPUT], same),
        UpdateKind.BEGIN: started,
        UpdateKind.STOP: frozenset({Status.STOPPING}),
        UpdateKind.END: _ENDS,
    }


TRANSITIONS: Final[Mapping[Status, Mapping[UpdateKind, frozenset[Status]]]] = {
    Status.QUEUED: {
        UpdateKind.BEGIN: frozenset({Status.RUNNING}),
        UpdateKind.INPUT: frozenset({Status.QUEUED}),
        UpdateKind.STOP: frozenset({Status.STOPPING}),
        UpdateKind.END: frozenset({Status.STOPPED, Status.FAILED}),
    },
    Status.RUNNING: _while_producing(Status.RUNNING),
    Status.WAITING: _while_producing(Status.WAITING),
    Status.SUSPENDED: _while_producing(Status.SUSPENDED),
    Status.STOPPING: _while_producing(Status.STOPPING),
    Status.DONE: {},
    Status.STOPPED: {},
    Status.FAILED: {},
}
"""The statuses to which each update leads, by current status.

An input that is asked for or answered changes it further (`_after_input`). lua/publish.lua,
lua/inputs.lua and lua/request_stop.lua implement this in Redis. A stop request cannot undo an end:
the first end remains.
"""


class GenerationUpdate(msgspec.Struct, frozen=True):
    """The change that an event makes to a record. One script writes both.

    The broker refuses an update of another attempt or writer than the record's, an update after the
    end, and a delta that the record already contains (`index` is its `i`, so a repeated call is
    harmless). It also refuses any but a BEGIN whose `index` exceeds the record's number of deltas:
    the record has a hole. BEGIN sets the record's attempt, writer and number of deltas (`index`).
    DELTA, STORE and END append `entries` to the journal; BEGIN, REPLACE, RESTART and COMPACT make
    them the whole of it. RESTART sets the number of deltas to 0. BEGIN and END set `status`.

    STORE and COMPACT have no event: nothing is published. INPUT comes from a node and answers an
    input: any attempt and writer may be the newest, and nothing is appended to the journal.

    journal_bytes: the length of the journal before the update; None means any. A BEGIN is refused
    if it differs, because the journal has changed since it was read. A STORE is a duplicate if the
    journal is longer, and has a hole before it if it is shorter. A COMPACT is a duplicate if more
    deltas or its own entries are there, otherwise it has a hole before it.

    writer: a random name. Two workers can begin an attempt of the same number when a fail-over has
    lost the first of these two steps. external: see external_producer.py; None for a worker. input:
    what is asked for with the update, or answered by it (inputs.py).
    """

    generation: str
    attempt: int
    kind: UpdateKind
    status: Status = Status.RUNNING
    index: int = 0
    entries: bytes = b""
    writer: str = ""
    journal_bytes: int | None = None
    external: ExternalUpdate | None = None
    input: RequestedInput | AnsweredInput | None = None


class Refusal(enum.Enum):
    """Why the broker refuses an update."""

    ENDED = "ended"
    STALE = "stale"
    DUPLICATE = "duplicate"
    GAP = "gap"
    EXPIRED = "expired"


def apply_update(record: Generation, update: GenerationUpdate, data: bytes) -> Generation | Refusal:
    """Return the record after an update, or why the update is refused.

    data: the JSON of the update's event. Raise ValueError for an END with a status that the table
    does not allow.
    """
    refusal = _check(record, update)
    if refusal is not None:
        return refusal
    allowed = _transitions(record)[update.kind]
    changes: dict[str, Any] = {}
    match update.kind:
        case UpdateKind.BEGIN:
            changes = {"attempt": update.attempt, "writer": update.writer, "deltas": update.index}
            record = msgspec.structs.replace(record, external=None, suspended=None)
        case UpdateKind.DELTA | UpdateKind.REPLACE:
            changes = {"deltas": update.index + 1}
        case UpdateKind.RESTART:
            changes = {"deltas": 0}
        case UpdateKind.END if update.status not in allowed:
            raise ValueError(
                f"a {record.status.value} generation cannot end as {update.status.value}"
            )
        case UpdateKind.END:
            changes = {"end": msgspec.json.decode(data)}
        case _:
            pass
    updated = msgspec.structs.replace(
        record,
        status=update.status if update.status in allowed else next(iter(allowed)),
        journal=update.entries if update.kind in ANEW else record.journal + update.entries,
        external=record.external
        if update.external is None
        else update.external.apply(record.external),
        **changes,
    )
    return _after_input(updated, update.input)


def _after_input(record: Generation, update: RequestedInput | AnsweredInput | None) -> Generation:
    """Return the record after an input was asked for or answered."""
    inputs, status = dict(record.inputs), record.status
    more: dict[str, Any] = {}
    match update:
        case RequestedInput(request, suspends, _):
            known = inputs.get(request.input)
            requested = StoredInput(request, record.attempt) if known is None else known
            inputs[request.input] = msgspec.structs.replace(requested, attempt=record.attempt)
            if suspends:
                if record.external is not None:  # its lease is released
                    external = msgspec.structs.replace(record.external, lease_seconds=0.0)
                    more = {"external": external}
                more |= {"suspended": request.input, "suspensions": record.suspensions + 1}
                status = Status.SUSPENDED if requested.answer is None else Status.QUEUED
            elif requested.answer is None:
                status = Status.WAITING
        case AnsweredInput(key, answer):
            inputs[key] = msgspec.structs.replace(inputs[key], answer=answer)
            more = {"received": record.received + 1}
            if status is Status.SUSPENDED and key == record.suspended and not answer.is_expired:
                status = Status.QUEUED
            is_open = (
                each.attempt == record.attempt and each.answer is None for each in inputs.values()
            )
            if status is Status.WAITING and not any(is_open):
                status = Status.RUNNING
        case None:
            return record
    if record.status is Status.STOPPING:
        status = Status.STOPPING
    return msgspec.structs.replace(record, inputs=inputs, status=status, **more)


WITHOUT_EVENT: Final = (UpdateKind.STORE, UpdateKind.COMPACT)
"""The updates that come without an event."""

ANEW: Final = (UpdateKind.BEGIN, UpdateKind.REPLACE, UpdateKind.RESTART, UpdateKind.COMPACT)
"""The updates whose entries are the whole journal."""

_NUMBERED: Final = (UpdateKind.DELTA, UpdateKind.REPLACE, UpdateKind.RESTART)


def _transitions(record: Generation) -> Mapping[UpdateKind, frozenset[Status]]:
    """Return the transitions of a record: one that is queued again has had an attempt."""
    if record.status is Status.QUEUED and record.suspended is not None:
        return _while_producing(Status.QUEUED)
    return TRANSITIONS[record.status]


def _check(record: Generation, update: GenerationUpdate) -> Refusal | None:
    """Return why an update is refused, None if it is not."""
    transitions, kind = _transitions(record), update.kind
    if not transitions:
        return Refusal.ENDED
    if isinstance(update.input, AnsweredInput):
        requested = record.inputs.get(update.input.key)
        if requested is None:
            return Refusal.STALE
        return None if requested.answer is None else Refusal.DUPLICATE
    begins = kind is UpdateKind.BEGIN
    missing_bytes = 0  # of the journal that the update follows
    if update.journal_bytes is not None:
        missing_bytes = update.journal_bytes - len(record.journal)
    if kind not in transitions or record.attempt != update.attempt - begins:
        return Refusal.STALE
    if missing_bytes if begins else update.writer != record.writer:
        return Refusal.STALE
    if begins or kind is UpdateKind.STOP:
        return None
    if update.external is not None and not update.external.has_lease(record.external):
        return Refusal.STALE
    if update.external is not None and not update.external.follows(record.external):
        return Refusal.GAP
    if kind is UpdateKind.COMPACT and missing_bytes:
        is_there = record.journal.startswith(update.entries) or update.index < record.deltas
        return Refusal.DUPLICATE if is_there else Refusal.GAP
    if update.index > record.deltas or missing_bytes > 0:
        return Refusal.GAP
    if missing_bytes < 0 or (kind in _NUMBERED and update.index < record.deltas):
        return Refusal.DUPLICATE
    return None


class StopResult(enum.Enum):
    """The result of a stop request."""

    STOPPING = "stopping"
    ENDED = "already ended"


def build_end_fields(
    fields: Mapping[str, Any],
    *,
    deltas: int,
    queued_seconds: float,
    first_delta_seconds: float | None,
    total_seconds: float,
    usage: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the data of an end event.

    fields: those of this kind of end. The other parameters are in every end event; the durations
    count from the request.
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
    """Return a new id: `g`, the partition in two hexadecimal digits, 16 random characters."""
    return f"g{partition:02x}" + "".join(secrets.choice(_ALPHABET) for _ in range(ID_CHARS - 3))


def partition_of_generation(generation: str) -> int | None:
    """Return the partition of the record, None when the text is not the id of a generation."""
    if not _ID.fullmatch(generation):
        return None
    partition = int(generation[1:3], 16)
    return partition if partition < PARTITIONS else None
