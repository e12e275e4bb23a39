"""The Python client: publish, follow a user's stream, ask and stop, over the hub's HTTP."""

from __future__ import annotations

from hub.client.answer import Answer
from hub.client.answer_events import (
    AnswerEvent,
    Delta,
    Done,
    Failed,
    Replaced,
    Restarted,
    Snapshot,
    Started,
    Stopped,
)
from hub.client.client import HubClient
from hub.client.errors import (
    AnswerFailed,
    AnswerRewritten,
    BadRequest,
    Forbidden,
    HubClientError,
    HubUnavailable,
    HubUnreachable,
    NotFound,
    StreamEnded,
    StreamReset,
    TooMany,
    Unauthorized,
)
from hub.client.events import EventStream, StreamEvent
from hub.client.patience import Patience
from hub.client.presence import Connection, Node, Presence, StoredEvent, StoredEvents
from hub.client.publishing import Publication, Published, PublishResult, To
from hub.client.sync import SyncHubClient

__all__ = [
    "Answer",
    "AnswerEvent",
    "AnswerFailed",
    "AnswerRewritten",
    "BadRequest",
    "Connection",
    "Delta",
    "Done",
    "EventStream",
    "Failed",
    "Forbidden",
    "HubClient",
    "HubClientError",
    "HubUnavailable",
    "HubUnreachable",
    "Node",
    "NotFound",
    "Patience",
    "Presence",
    "Publication",
    "PublishResult",
    "Published",
    "Replaced",
    "Restarted",
    "Snapshot",
    "Started",
    "Stopped",
    "StoredEvent",
    "StoredEvents",
    "StreamEnded",
    "StreamEvent",
    "StreamReset",
    "SyncHubClient",
    "To",
    "TooMany",
    "Unauthorized",
]
