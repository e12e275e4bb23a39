"""The hub's own events: their names, and the fields of their data.

`hub.…` is about the connection, `generation.…` about a generation, `presence.…` about a topic,
`inbox.…` about the user's inbox. A
field whose default is UNSET may be missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from msgspec import UNSET, Struct, UnsetType


class HubOpen(Struct, frozen=True):
    """The first event. recovered: every channel continues from the cursor. replayed: the number of
    stored events that follow.
    """

    connection: str
    user: str
    node: str
    heartbeat_seconds: float
    recovered: bool
    replayed: int


class HubReset(Struct, frozen=True):
    """The log cannot continue from the cursor (`trimmed`, `epoch`): the client must reload its
    state.
    """

    channel: str
    reason: str


class HubExpiring(Struct, frozen=True):
    """The stream ends in so many seconds: reconnect with a new token and the last cursor."""

    reason: str
    seconds: int


class HubHeartbeat(Struct, frozen=True, forbid_unknown_fields=True):
    """A heartbeat of a stream with `?heartbeat_event=true`. It has no id and no fields."""


class HubReply(Struct, frozen=True):
    """Over WebSocket: the reply to a message of the client. to: the message's id."""

    to: Any
    status: int
    generation: str | UnsetType = UNSET
    answer: str | UnsetType = UNSET
    topics: list[str] | UnsetType = UNSET
    type: str | UnsetType = UNSET
    title: str | UnsetType = UNSET
    detail: str | UnsetType = UNSET
    code: str | UnsetType = UNSET
    path: str | UnsetType = UNSET


class HubBye(Struct, frozen=True):
    """The last event, when the hub ends the stream. retry_ms: the wait before a reconnect."""

    reason: str
    reconnect: bool
    retry_ms: int


class GenerationStarted(Struct, frozen=True):
    """A worker has started the generation. user: who asked, only in a topic."""

    generation: str
    attempt: int
    model: str
    user: str | UnsetType = UNSET


class GenerationRestarted(Struct, frozen=True):
    """The answer starts again: its worker was lost, or Redis lost a part of it in a fail-over.

    Discard the text received before.
    """

    generation: str
    attempt: int
    model: str
    user: str | UnsetType = UNSET


class Fold(Struct, frozen=True):
    """What events of a generation add up to: the text, and all parts, folded."""

    text: str
    parts: list[dict[str, Any]]


class GenerationContinued(Struct, frozen=True):
    """A new attempt continues the answer, after a lost producer or after a value has come.

    parts: the parts with this number and higher ones are void, and the next part has this number.
    snapshot: what the parts before it add up to.
    """

    generation: str
    attempt: int
    model: str
    parts: int
    snapshot: Fold
    user: str | UnsetType = UNSET


class GenerationSnapshot(Struct, frozen=True):
    """The first event of a generation's own stream: the text and all parts up to now, folded."""

    generation: str
    status: str
    attempt: int
    text: str
    parts: list[dict[str, Any]]
    deltas: int


class GenerationDelta(Struct, frozen=True):
    """One part of the answer: text, reasoning, tool calls in OpenAI's delta format, the vendor's
    form of the reasoning, or annotations. i counts from 0.
    """

    generation: str
    i: int
    text: str | UnsetType = UNSET
    reasoning: str | UnsetType = UNSET
    tool_calls: list[dict[str, Any]] | UnsetType = UNSET
    reasoning_details: list[dict[str, Any]] | UnsetType = UNSET
    annotations: list[dict[str, Any]] | UnsetType = UNSET


class GenerationPart(Struct, frozen=True):
    """A part of the answer that is no text, reasoning or tool call: `tool_result`, `source`,
    `file`, `status`, `step_start`, `step_end` or `data`. i counts on from the deltas.
    """

    generation: str
    i: int
    type: str
    text: str | UnsetType = UNSET
    id: str | UnsetType = UNSET
    name: str | UnsetType = UNSET
    value: Any = UNSET
    transient: bool | UnsetType = UNSET
    result: Any = UNSET
    is_error: bool | UnsetType = UNSET
    url: str | UnsetType = UNSET
    title: str | UnsetType = UNSET
    data: str | UnsetType = UNSET
    media_type: str | UnsetType = UNSET


class GenerationInputRequested(Struct, frozen=True):
    """The answer waits for a value (`POST /generations/{id}/inputs/{input}`). i counts on from the
    deltas. expires_at: Unix seconds. tool_call: the id of the tool call that the value approves.
    user: who asked; only in the channel of an approver, where there is no i.
    """

    generation: str
    input: str
    prompt: str
    options: list[str] | None
    schema: Any
    expires_at: float
    tool_call: str | None
    i: int | UnsetType = UNSET
    user: str | UnsetType = UNSET


class GenerationInputReceived(Struct, frozen=True):
    """Somebody has given the value of an input. by: the user."""

    generation: str
    input: str
    value: Any
    by: str


class GenerationInputExpired(Struct, frozen=True):
    """Nobody has given the value of an input in time."""

    generation: str
    input: str


class GenerationReplaced(Struct, frozen=True):
    """The upstream has rewritten its answer; text is the whole text."""

    generation: str
    i: int
    text: str


class GenerationSteered(Struct, frozen=True):
    """The user who asked has sent a message to the answer while it is produced. n: its number, from
    0. message: in the form of OpenAI's chat completions. by: the user. The event is no part of the
    answer, and has no `i`.
    """

    generation: str
    n: int
    message: dict[str, Any]
    by: str


class Seconds(Struct, frozen=True):
    """Durations, each from the request on."""

    queued: float
    first_delta: float | None
    total: float


class GenerationDone(Struct, frozen=True):
    """The answer is complete. usage: null if the upstream did not report it."""

    generation: str
    finish_reason: str
    usage: dict[str, Any] | None
    deltas: int
    seconds: Seconds


class GenerationStopped(Struct, frozen=True):
    """The generation was stopped. by: the user, or `hub operator`. usage: null if never started."""

    generation: str
    by: str
    deltas: int
    usage: dict[str, Any] | None
    seconds: Seconds


class GenerationFailed(Struct, frozen=True):
    """The generation failed. retryable: whether the same request may succeed later."""

    generation: str
    code: str
    message: str
    retryable: bool
    usage: dict[str, Any] | None
    deltas: int
    seconds: Seconds
    upstream_status: int | UnsetType = UNSET
    upstream_code: str | UnsetType = UNSET
    upstream_param: str | UnsetType = UNSET


class InboxItemData(Struct, frozen=True):
    """An item of an inbox. data: the publisher's. created_at: Unix seconds. topic: null, because it
    is the user's own.
    """

    id: str
    event: str
    data: Any
    category: str | None
    key: str | None
    topic: str | None
    created_at: float
    seen: bool
    read: bool
    archived: bool


class InboxItemAdded(Struct, frozen=True):
    """An item was added to the user's inbox. replaced: it takes the place of the item with the same
    key. unread, unseen: the counts of the user's own items from now on.
    """

    item: InboxItemData
    replaced: bool
    unread: int
    unseen: int


class InboxChanged(Struct, frozen=True):
    """Items of the user's inbox changed. items: their ids. change: `read`, `unread`, `seen`,
    `archive`, `unarchive`, `delete` or `expire` (the hub removed them). unread, unseen: the counts
    of the user's own items from now on.
    """

    unread: int
    unseen: int
    items: list[str]
    change: str


class Presence(Struct, frozen=True):
    """A user follows the topic, or no longer follows it. users: the number that follow it."""

    user: str
    users: int


class HubReport(Struct, frozen=True, rename={"sender": "from"}):
    """The metrics of a node or worker. at: Unix seconds."""

    sender: str
    at: float
    metrics: Any


GENERATION_EVENTS: Final[Mapping[str, type[Struct]]] = {
    "generation.started": GenerationStarted,
    "generation.restarted": GenerationRestarted,
    "generation.continued": GenerationContinued,
    "generation.snapshot": GenerationSnapshot,
    "generation.delta": GenerationDelta,
    "generation.part": GenerationPart,
    "generation.input_requested": GenerationInputRequested,
    "generation.input_received": GenerationInputReceived,
    "generation.input_expired": GenerationInputExpired,
    "generation.replaced": GenerationReplaced,
    "generation.steered": GenerationSteered,
    "generation.done": GenerationDone,
    "generation.stopped": GenerationStopped,
    "generation.failed": GenerationFailed,
}
CONTROL_EVENTS: Final[Mapping[str, type[Struct]]] = {
    "hub.open": HubOpen,
    "hub.reset": HubReset,
    "hub.expiring": HubExpiring,
    "hub.heartbeat": HubHeartbeat,
    "hub.reply": HubReply,
    "hub.bye": HubBye,
}
TOPIC_EVENTS: Final[Mapping[str, type[Struct]]] = {
    "presence.joined": Presence,
    "presence.left": Presence,
}
INBOX_EVENTS: Final[Mapping[str, type[Struct]]] = {
    "inbox.item": InboxItemAdded,
    "inbox.changed": InboxChanged,
}
USER_EVENTS: Final = {**CONTROL_EVENTS, **GENERATION_EVENTS, **TOPIC_EVENTS, **INBOX_EVENTS}
CONSOLE_EVENTS: Final[Mapping[str, type[Struct]]] = {"hub.report": HubReport}
SYSTEM_EVENTS: Final = {**USER_EVENTS, **CONSOLE_EVENTS}
