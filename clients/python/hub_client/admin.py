"""Reads and admin commands of the internal listener: their results and their requests.

They cover connections, nodes, stored events, disconnecting a user and revoking a token.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from hub_client.request import Request, build_path, response_reader


class Connection(msgspec.Struct, frozen=True, kw_only=True):
    """One live connection.

    since: Unix seconds.
    events: the number of events that it has received.
    waiting: the number of frames in its outbox.
    """

    connection: str
    user: str
    node: str
    transport: str
    address: str | None
    since: float
    topics: Sequence[str]
    events: int
    waiting: int


class Presence(msgspec.Struct, frozen=True, kw_only=True):
    """The connections on all nodes.

    total: their number, including those beyond the limit of the request.
    missing: the nodes that did not respond.
    blocked_until: Unix seconds, when the request was about a user who is blocked; else None.
    """

    connections: Sequence[Connection]
    total: int
    missing: Sequence[str]
    blocked_until: float | None = None


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """A running node. since, seen_at: Unix seconds."""

    node: str
    since: float
    seen_at: float
    connections: int
    users: int
    draining: bool


class StoredEvent(msgspec.Struct, frozen=True):
    """One event of a log."""

    cursor: str
    event: str
    data: Any


class StoredEvents(msgspec.Struct, frozen=True, kw_only=True):
    """One page of a user's log, oldest event first.

    next: the cursor of the next page.
    more: whether there is a next page.
    lost: why the log cannot continue from the cursor (`trimmed`, `epoch`), else None.
    """

    events: Sequence[StoredEvent]
    next: str
    more: bool
    lost: str | None = None


class _Nodes(msgspec.Struct, frozen=True):
    nodes: list[Node]


class _Disconnected(msgspec.Struct, frozen=True):
    blocked_until: float | None = None


def presence_request(user: str | None, limit: int) -> Request[Presence]:
    """Build `GET /users/{id}`, or `GET /connections` when user is None."""
    segments = ("users", user) if user is not None else ("connections",)
    return Request(
        method="GET", path=build_path(*segments, limit=limit), read=response_reader(Presence)
    )


def nodes_request() -> Request[list[Node]]:
    """Build `GET /nodes`."""
    read = response_reader(_Nodes)
    return Request(method="GET", path="/nodes", read=lambda body: read(body).nodes)


def stored_events_request(user: str, after: str | None, limit: int) -> Request[StoredEvents]:
    """Build `GET /users/{id}/events`."""
    path = build_path("users", user, "events", after=after, limit=limit)
    return Request(method="GET", path=path, read=response_reader(StoredEvents))


def disconnect_request(user: str, block_seconds: float) -> Request[float | None]:
    """Build `DELETE /users/{id}/connections`. The result is `blocked_until`, Unix seconds."""
    read = response_reader(_Disconnected)
    return Request(
        method="DELETE",
        path=build_path("users", user, "connections", block_seconds=block_seconds),
        read=lambda body: read(body).blocked_until,
    )


def erase_data_request(user: str) -> Request[None]:
    """Build `DELETE /users/{id}/data`."""
    return Request(method="DELETE", path=build_path("users", user, "data"), read=lambda _: None)


def export_data_request(user: str) -> Request[dict[str, Any]]:
    """Build `GET /users/{id}/data`."""
    path = build_path("users", user, "data")
    return Request(method="GET", path=path, read=response_reader(dict[str, Any]))


def revoke_request(jti: str, expires_at: float) -> Request[None]:
    """Build `POST /revocations`."""
    body = msgspec.json.encode({"jti": jti, "expires_at": expires_at})
    return Request(method="POST", path="/revocations", body=body, read=lambda _: None)
