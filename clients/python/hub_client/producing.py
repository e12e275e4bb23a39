"""What external producers send: the requests, and the parts that the hub has not acknowledged yet.

docs/guides/external-producers.md describes the routes. producer.py and sync_producer.py send.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from hub_client.errors import (
    GenerationStopped,
    HubClientError,
    HubUnavailable,
    HubUnreachable,
    InputTimeout,
    LeaseLost,
    TooManyRequests,
)
from hub_client.generations import Prompt
from hub_client.request import Request, build_path, response_reader, without_none
from hub_client.retry_policy import RetryPolicy
from hub_client.steering import SteeringInbox, SteeringMessage

MAX_BATCH_BYTES: Final = 48 * 1024  # far below publish.max_body_bytes, which operators may lower
MAX_OUTBOX_BYTES: Final = 1024 * 1024
"""What may wait for the hub before `write` waits."""

COALESCE_SECONDS: Final = 0.025
MAX_RENEW_SECONDS: Final = 5.0
MIN_TIMEOUT_SECONDS: Final = 2.0
MAX_DELAY_SECONDS: Final = 2.0
_SEQ_BYTES: Final = 24  # of the number of a part, and of what separates it from the next one
_MAX_TEXT_CHARS: Final = 16 * 1024  # of one part that several writes share
_TEXTS: Final = frozenset({"text", "reasoning"})
_LAST: Final = frozenset({"end", "suspend"})
_LOST: Final = frozenset({"lease_lost", "ended", "generation_not_found"})

Part = str | Mapping[str, Any] | msgspec.Struct
"""A text; or a part as an object with `type` and its fields, or as a class of `hub.producer`."""


class ProduceOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Options of an answer that a producer writes. None leaves the choice to the hub.

    user, topic: who gets the answer; with both, the user asked in the topic. model: what readers
    see. messages: what was asked, for the record. id: the idempotency key: the same one again
    begins a new attempt. notify: push a notification to the user's devices. lease_seconds: how long
    the answer lives without a sign of the producer.
    """

    user: str | None = None
    topic: str | None = None
    id: str
    model: str | None = None
    messages: Prompt | None = None
    metadata: Mapping[str, Any] | None = None
    chat: str | None = None
    on_busy: str | None = None
    notify: bool | None = None
    lease_seconds: float | None = None


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """An attempt at an answer, and its lease.

    attempt: counts from 1. previous, checkpoint: the folded parts up to the newest checkpoint of an
    earlier attempt, and its value. steering: the messages of the user so far; steering_taken of
    them had been taken when the checkpoint was saved. inputs: those that wait no longer.
    """

    generation: str
    attempt: int
    lease: str
    lease_seconds: float
    cursor: str | None = None
    previous: list[dict[str, Any]] | None = None
    checkpoint: Any = None
    steering: list[SteeringMessage] = []
    steering_taken: int = 0
    inputs: list[ReceivedInput] = []


class ReceivedInput(msgspec.Struct, frozen=True):
    """What has become of an input. by: who gave the value. expired: nobody has in time."""

    input: str
    value: Any = None
    by: str | None = None
    expired: bool = False


class _Stop(msgspec.Struct, frozen=True):
    by: str | None = None


class Posted(msgspec.Struct, frozen=True):
    """The hub's answer to a post.

    ack: the newest published part. stop: who stopped the answer. steering: the messages of the user
    so far. inputs: those that wait no longer.
    """

    ack: int
    stop: _Stop | None = None
    steering: list[SteeringMessage] = []
    inputs: list[ReceivedInput] = []


class PartsOutbox:
    """The parts that the hub has not acknowledged. They are numbered when they are added.

    Texts that follow one another share a part until it is sent.
    """

    def __init__(self) -> None:
        self._parts: deque[tuple[dict[str, Any], int]] = deque()  # with their sizes
        self._next_seq = 0
        self._sent_seq = -1
        self.size_bytes = 0

    def __len__(self) -> int:
        return len(self._parts)

    @property
    def first_seq(self) -> int | None:
        """The number of the first part that is not acknowledged, None if there is none."""
        return self._parts[0][0]["seq"] if self._parts else None

    @property
    def has_unsent(self) -> bool:
        """Whether a part was never sent."""
        return self._next_seq - 1 > self._sent_seq

    def add(self, part: Part) -> None:
        """Add a part. Raise TypeError for a value that is no part."""
        fields = _to_fields(part)
        if not self._append_text(fields):
            size_bytes = len(msgspec.json.encode(fields)) + _SEQ_BYTES
            self._parts.append(({"seq": self._next_seq, **fields}, size_bytes))
            self.size_bytes += size_bytes
            self._next_seq += 1

    def _append_text(self, fields: dict[str, Any]) -> bool:
        if not self.has_unsent or fields.keys() != {"type", "text"}:
            return False
        last, size_bytes = self._parts[-1]
        if last.keys() != {"seq", "type", "text"} or fields["type"] not in _TEXTS:
            return False  # a checkpoint is saved with its part, and not with later text
        if last["type"] != fields["type"]:
            return False
        if len(last["text"]) + len(fields["text"]) > _MAX_TEXT_CHARS:
            return False
        more = len(fields["text"].encode("utf-8", "surrogatepass"))
        last["text"] += fields["text"]
        self._parts[-1] = last, size_bytes + more
        self.size_bytes += more
        return True

    def next_batch(self) -> list[dict[str, Any]]:
        """Return the next parts to post, from the first one that is not acknowledged."""
        batch: list[dict[str, Any]] = []
        size = 0
        for fields, size_bytes in self._parts:
            size += size_bytes
            if batch and size > MAX_BATCH_BYTES:
                break
            batch.append(fields)
        if batch:
            self._sent_seq = max(self._sent_seq, batch[-1]["seq"])
        return batch

    def acknowledge(self, ack: int) -> None:
        """Forget the parts up to this one."""
        while self._parts and self._parts[0][0]["seq"] <= ack:
            _, size_bytes = self._parts.popleft()
            self.size_bytes -= size_bytes

    def clear(self) -> None:
        """Forget all parts: nothing can be published any more."""
        self._parts.clear()
        self.size_bytes = 0


class EndFields(NamedTuple):
    """How a producer ends an answer."""

    status: str
    fields: Mapping[str, Any]

    def to_part(self) -> dict[str, Any]:
        return {"type": "end", "status": self.status, **without_none(self.fields)}


FAILED: Final = EndFields(
    "failed", {"code": "producer_error", "message": "the producer of this answer failed"}
)
"""The end of an answer whose producer raised an exception. Its text is not for users."""


def start_request(options: ProduceOptions) -> Request[Attempt]:
    """Build `POST /generations` of the internal listener for an external producer."""
    fields = without_none(msgspec.structs.asdict(options))
    to = {name: fields.pop(name) for name in ("user", "topic") if name in fields}
    messages = fields.pop("messages", None)
    if messages is not None:
        fields["prompt" if isinstance(messages, str) else "messages"] = messages
    return Request(
        method="POST",
        path=build_path("generations"),
        body=msgspec.json.encode({"to": to, "producer": "external", **fields}),
        read=response_reader(Attempt),
    )


def post_request(attempt: Attempt, parts: list[dict[str, Any]]) -> Request[Posted]:
    """Build `POST /generations/{id}/parts`. No parts only renew the lease."""
    return Request(
        method="POST",
        path=build_path("generations", attempt.generation, "parts"),
        body=msgspec.json.encode(parts),
        read=response_reader(Posted),
        more_headers={"Hub-Lease": attempt.lease},
    )


def control_request(attempt: Attempt) -> Request[None]:
    """Build `GET /generations/{id}/control`, which tells of stops and of a lost lease."""
    return Request(
        method="GET",
        path=build_path("generations", attempt.generation, "control"),
        read=lambda _: None,
        more_headers={"Hub-Lease": attempt.lease},
    )


def _to_fields(part: Part) -> dict[str, Any]:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    fields = msgspec.to_builtins(part)
    if not isinstance(fields, dict) or not isinstance(fields.get("type"), str):
        raise TypeError("a part is a text, an object with a type, or a class of hub.producer")
    return fields


class Delivery:
    """How far the parts of an attempt are: what is to be posted, and why nothing can be any more.

    Rules:
    1. A part stays in the outbox until the hub acknowledges it. It is posted again after a lost
       connection or a lost answer; the hub recognises it by its number.
    2. After a stop, a lost lease or the end, nothing is posted.
    3. The control stream tells of the first two at once, and of messages of the user. Without it
       the next post tells.
    """

    def __init__(self, attempt: Attempt) -> None:
        self.attempt = attempt
        self.outbox = PartsOutbox()
        self.messages = SteeringInbox(attempt.steering, attempt.steering_taken)
        self.inputs = {each.input: each for each in attempt.inputs}  # by key
        self.is_over = False
        self.is_stopped = False
        self.stopped_by: str | None = None
        self.failure: HubClientError | None = None
        self._has_end = False

    @property
    def renew_seconds(self) -> float:
        """After how long without a post the lease is renewed, which also tells of a stop."""
        return min(self.attempt.lease_seconds / 3, MAX_RENEW_SECONDS)

    def post_policy(self, policy: RetryPolicy) -> RetryPolicy:
        """Return how one post is sent: `on_error` decides whether it is repeated.

        policy: that of the client.
        """
        return msgspec.structs.replace(
            policy,
            max_attempts=1,
            timeout_seconds=max(MIN_TIMEOUT_SECONDS, self.attempt.lease_seconds / 3),
            max_delay_seconds=min(policy.max_delay_seconds, MAX_DELAY_SECONDS),
        )

    def add(self, part: Part, checkpoint: Any = None) -> None:
        """Add a part. Raise GenerationStopped, LeaseLost, TypeError, RuntimeError after the end."""
        self.check()
        if self._has_end:
            raise RuntimeError("this answer has its end already")
        if checkpoint is not None:
            saved = {"checkpoint": checkpoint, "steering": self.messages.taken}
            part = {**_to_fields(part), **saved}
        self.outbox.add(part)

    def end(self, end: EndFields) -> None:
        """Add the end, unless there is one or nothing can be posted."""
        if not self._has_end and not self.is_over:
            self._has_end = True
            self.outbox.add(end.to_part())

    def suspend(self, request: Mapping[str, Any], state: Any) -> None:
        """Add the last part of an attempt that waits for a value. Raise as `add`."""
        last = {**request, "type": "suspend", "state": state, "steering": self.messages.taken}
        self.add(last)
        self._has_end = True

    def check(self) -> None:
        """Raise why nothing can be posted any more."""
        if self.is_stopped:
            raise GenerationStopped(self.stopped_by)
        if self.failure is not None:
            raise self.failure

    def on_posted(self, batch: list[dict[str, Any]], posted: Posted) -> None:
        """Handle the hub's answer to a post."""
        self.outbox.acknowledge(posted.ack)
        self.messages.add(posted.steering)
        self._receive(posted.inputs)
        if self.is_over:
            return
        if posted.stop is not None:
            self._on_stop(posted.stop.by)
        elif batch and batch[-1]["type"] in _LAST and posted.ack >= batch[-1]["seq"]:
            self.close()

    def on_signal(self, name: str, data: str) -> None:
        """Handle an event of the control stream."""
        if self.is_over:
            return
        if name == "stop":
            self._on_stop(msgspec.json.decode(data, type=_Stop).by)
        elif name == "input":
            self._receive([msgspec.json.decode(data, type=ReceivedInput)])
        elif name == "steering":
            self.messages.add([msgspec.json.decode(data, type=SteeringMessage)])
        elif name == "lease_lost":
            self._fail(LeaseLost("the lease of this attempt is void", code="lease_lost"))

    def on_control_error(self, error: HubClientError) -> None:
        """Handle the end of the control stream. Only a void lease matters: posts tell the rest."""
        is_ending = self._has_end and error.code == "ended"
        if error.code in _LOST and not is_ending and not self.is_over:
            self._fail(_lease_lost(error))

    def on_error(self, error: HubClientError, silent_seconds: float) -> bool:
        """Return whether the post is to be repeated; otherwise nothing can be posted any more.

        silent_seconds: the time since the last answer of the hub.
        """
        if self.is_over:  # the control stream was faster
            return False
        if error.code == "sequence_gap" and error.expected is not None:
            first = self.outbox.first_seq
            if first is None or error.expected >= first:
                self.outbox.acknowledge(error.expected - 1)
                return True
        if isinstance(error, (HubUnreachable, HubUnavailable, TooManyRequests)):
            if silent_seconds <= self.attempt.lease_seconds:
                return True
        elif error.code in _LOST:
            error = _lease_lost(error)
        self._fail(error)
        return False

    def take_input(self, key: str) -> ReceivedInput | None:
        """Return what has become of an input, None while it waits. Raise as `check`."""
        self.check()
        return self.inputs.get(key)

    def _receive(self, inputs: Iterable[ReceivedInput]) -> None:
        for each in inputs:
            self.inputs.setdefault(each.input, each)

    def _on_stop(self, by: str | None) -> None:
        self.is_stopped, self.stopped_by = True, by
        self.close()

    def _fail(self, error: HubClientError) -> None:
        self.failure = error
        self.close()

    def close(self) -> None:
        """Post nothing more."""
        self.is_over = True
        self.outbox.clear()


class AttemptFacts:
    """What the attempt at an answer is, for the asynchronous and the synchronous client."""

    def __init__(self) -> None:
        self._delivery: Delivery | None = None  # since the attempt began

    @property
    def _current(self) -> Delivery:
        if self._delivery is None:
            raise RuntimeError("use the answer inside its `with` block")
        return self._delivery

    @property
    def generation(self) -> str:
        """The id of the answer."""
        return self._current.attempt.generation

    @property
    def attempt(self) -> int:
        """The number of this attempt, counted from 1."""
        return self._current.attempt.attempt

    @property
    def previous(self) -> list[dict[str, Any]] | None:
        """The folded parts up to the checkpoint of an earlier attempt, None without one."""
        return self._current.attempt.previous

    @property
    def checkpoint(self) -> Any:
        """The value of the newest checkpoint of an earlier attempt."""
        return self._current.attempt.checkpoint

    @property
    def inputs(self) -> dict[str, Any]:
        """The values of inputs that were received so far, by key, also in earlier attempts."""
        received = self._current.inputs.items()
        return {key: each.value for key, each in received if not each.expired}

    def steering(self) -> list[SteeringMessage]:
        """Return the messages that the user has sent while this answer runs, since the last call.

        An attempt that continues from a checkpoint gets those that had not been returned when that
        was saved; any other one gets all of them. This does not wait.
        """
        return self._current.messages.take()

    @property
    def is_stopped(self) -> bool:
        """Whether somebody has stopped the answer, as far as this process knows."""
        return self._current.is_stopped


class InputOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What may be answered to an input, how long, and by whom.

    options: texts, one of which is the value. schema: a JSON Schema of the value. approvers: users
    who may answer beside the one who asked. tool_call: the id of the tool call that is approved.
    """

    options: Sequence[str] | None = None
    schema: Any = None
    timeout_seconds: float | None = None
    approvers: Sequence[str] | None = None
    tool_call: str | None = None


def input_part(key: str, prompt: str, options: InputOptions) -> dict[str, Any]:
    """Return the part that asks for an input."""
    fields = without_none(msgspec.structs.asdict(options))
    return {"type": "input_request", "input": key, "prompt": prompt, **fields}


def input_value(received: ReceivedInput) -> Any:
    """Return the value of an input. Raise InputTimeout."""
    if received.expired:
        raise InputTimeout(f"nobody has answered {received.input!r} in time")
    return received.value


def _lease_lost(error: HubClientError) -> LeaseLost:
    return LeaseLost(error.detail, status=error.status, code=error.code)
