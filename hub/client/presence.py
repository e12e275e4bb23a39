"""Who is connected, what a user's log holds, and the orders of operators (internal listener)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from hub.client.request import Request, build_path, response_reader


class Connection(msgspec.Struct, frozen=True, kw_only=True):
    """One live client. since: Unix seconds. events: handed over so far. waiting: frames that wait
    for its socket.
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
    """Who is connected, on all nodes. total: also those beyond the limit. missing: nodes that did
    not answer. blocked_until (Unix seconds): of a user who is kept out.
    """

    connections: Sequence[Connection]
    total: int
    missing: Sequence[str]
    blocked_until: float | None = None


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """A node that lives. since, seen_at: Unix seconds."""

    node: str
    since: float
    seen_at: float
    connections: int
    users: int
    draining: bool


class StoredEvent(msgspec.Struct, frozen=True):
    """An event as the log has it."""

    cursor: str
    event: str
    data: Any


class StoredEvents(msgspec.Struct, frozen=True, kw_only=True):
    """A page of a user's log, oldest first. next: the cursor for the next page. more: there is one.
    lost: why the log cannot continue from the cursor (`trimmed`, `epoch`), else None.
    """

    events: Sequence[StoredEvent]
    next: str
    more: bool
    lost: str | None = None


class _Nodes(msgspec.Struct, frozen=True):
    nodes: list[Node]


class _Blocked(msgspec.Struct, frozen=True):
    blocked_until: float | None = None


def presence_call(user: str | None, limit: int) -> Request[Presence]:
    """GET /users/{id}, or GET /connections for None."""
    parts = ("users", user) if user is not None else ("connections",)
    return Request(
        method="GET", path=build_path(*parts, limit=limit), read=response_reader(Presence)
    )


def nodes_call() -> Request[list[Node]]:
    """GET /nodes."""
    read = response_reader(_Nodes)
    return Request(method="GET", path="/nodes", read=lambda body: read(body).nodes)


def stored_events_call(user: str, after: str | None, limit: int) -> Request[StoredEvents]:
    """GET /users/{id}/events."""
    path = build_path("users", user, "events", after=after, limit=limit)
    return Request(method="GET", path=path, read=response_reader(StoredEvents))


def disconnect_call(user: str, block_seconds: float) -> Request[float | None]:
    """DELETE /users/{id}/connections."""
    read = response_reader(_Blocked)
    return Request(
        method="DELETE",
        path=build_path("users", user, "connections", block_seconds=block_seconds),
        read=lambda body: read(body).blocked_until,
    )


def revoke_call(jti: str, expires_at: float) -> Request[None]:
    """POST /revocations."""
    body = msgspec.json.encode({"jti": jti, "expires_at": expires_at})
    return Request(method="POST", path="/revocations", body=body, read=lambda _: None)
