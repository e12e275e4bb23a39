"""The hub's own events: their names, and the data of each.

`hub.…` are about the connection, `generation.…` about an answer, `presence.…` about a topic. What
is Unset may be missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from msgspec import UNSET, Struct, UnsetType


class HubOpen(Struct, frozen=True):
    """First. recovered: the cursor is continued everywhere. replayed: how many events follow."""

    connection: str
    user: str
    node: str
    heartbeat_seconds: float
    recovered: bool
    replayed: int


class HubReset(Struct, frozen=True):
    """The log cannot continue from the cursor (`trimmed`, `epoch`): fetch your state again."""

    channel: str
    reason: str


class HubExpiring(Struct, frozen=True):
    """The stream ends so soon: come again with a new token and the last cursor."""

    reason: str
    seconds: int


class HubReply(Struct, frozen=True):
    """Over WebSocket: the answer to what the client said, and what came of it. to: its id."""

    to: Any
    status: int
    generation: str | UnsetType = UNSET
    answer: str | UnsetType = UNSET
    topics: list[str] | UnsetType = UNSET
    type: str | UnsetType = UNSET
    title: str | UnsetType = UNSET
    detail: str | UnsetType = UNSET
    path: str | UnsetType = UNSET


class HubBye(Struct, frozen=True):
    """Last, whenever the hub ends the stream. retry_ms: how long to wait before coming back."""

    reason: str
    reconnect: bool
    retry_ms: int


class GenerationStarted(Struct, frozen=True):
    """A worker has begun."""

    generation: str
    attempt: int
    model: str


class GenerationRestarted(Struct, frozen=True):
    """The worker was lost, another begins anew; what was shown is void."""

    generation: str
    attempt: int
    model: str


class GenerationSnapshot(Struct, frozen=True):
    """First on an answer's own stream: what there is so far."""

    generation: str
    status: str
    attempt: int
    text: str
    deltas: int


class GenerationDelta(Struct, frozen=True):
    """One piece of the answer: text, or reasoning, or tool calls in OpenAI's delta form. i counts
    from 0.
    """

    generation: str
    i: int
    text: str | UnsetType = UNSET
    reasoning: str | UnsetType = UNSET
    tool_calls: list[dict[str, Any]] | UnsetType = UNSET


class GenerationReplaced(Struct, frozen=True):
    """The upstream rewrote its answer; text is all of it."""

    generation: str
    i: int
    text: str


class Seconds(Struct, frozen=True):
    """How long it took, each from the question on."""

    queued: float
    first_delta: float | None
    total: float


class GenerationDone(Struct, frozen=True):
    """The answer is complete. usage: null where the upstream did not tell it."""

    generation: str
    finish_reason: str
    usage: dict[str, Any] | None
    deltas: int
    seconds: Seconds


class GenerationStopped(Struct, frozen=True):
    """Somebody stopped it: by. One that never began has no usage."""

    generation: str
    by: str
    deltas: int
    usage: dict[str, Any] | None
    seconds: Seconds


class GenerationFailed(Struct, frozen=True):
    """It failed: a code, a sentence, and whether to ask again helps."""

    generation: str
    code: str
    message: str
    retryable: bool
    usage: dict[str, Any] | None
    deltas: int
    seconds: Seconds
    upstream_status: int | UnsetType = UNSET


class Presence(Struct, frozen=True):
    """Who follows the topic from now on, or no more; users: how many do."""

    user: str
    users: int


class HubReport(Struct, frozen=True, rename={"sender": "from"}):
    """What a node or worker counts and measures; at: Unix seconds."""

    sender: str
    at: float
    metrics: Any


GENERATION_EVENTS: Final[Mapping[str, type[Struct]]] = {
    "generation.started": GenerationStarted,
    "generation.restarted": GenerationRestarted,
    "generation.snapshot": GenerationSnapshot,
    "generation.delta": GenerationDelta,
    "generation.replaced": GenerationReplaced,
    "generation.done": GenerationDone,
    "generation.stopped": GenerationStopped,
    "generation.failed": GenerationFailed,
}
CONTROL_EVENTS: Final[Mapping[str, type[Struct]]] = {
    "hub.open": HubOpen,
    "hub.reset": HubReset,
    "hub.expiring": HubExpiring,
    "hub.reply": HubReply,
    "hub.bye": HubBye,
}
TOPIC_EVENTS: Final[Mapping[str, type[Struct]]] = {
    "presence.joined": Presence,
    "presence.left": Presence,
}
USER_EVENTS: Final = {**CONTROL_EVENTS, **GENERATION_EVENTS, **TOPIC_EVENTS}
CONSOLE_EVENTS: Final[Mapping[str, type[Struct]]] = {"hub.report": HubReport}
SYSTEM_EVENTS: Final = {**USER_EVENTS, **CONSOLE_EVENTS}
