"""Request parameters: descriptions of those that several operations share, and their parsing."""

from __future__ import annotations

import math
import re
from typing import Annotated, Final

from aiohttp import web
from msgspec import Meta

from hub.api.heartbeats import is_true
from hub.api.producer_requests import LEASE_HEADER
from hub.core.channel import UserId
from hub.errors import BadRequest
from hub.http.routing import Parameter

MAX_LIMIT: Final = 1000
_DEFAULT_LIMIT: Final = 100
_INTEGER: Final = re.compile(r"-?[0-9]{1,15}")

USER_ID: Final = Parameter("path", "user_id", UserId, "The user id")
OPEN_USER: Final = Parameter(
    "query",
    "user",
    UserId,
    "The user id, where no token is required (`hub dev`)",
    instead_of="user_id",
)
TOPICS: Final = Parameter("query", "topics", str, "Topics to follow, separated by commas")
CURSOR: Final = Parameter(
    "query",
    "cursor",
    str,
    "Where to start: a cursor, `live` (only new events) or `start` (all stored events)",
)
LAST_EVENT_ID: Final = Parameter(
    "header",
    "Last-Event-ID",
    str,
    "A cursor; it takes precedence over `cursor`. "
    "A text that is not a cursor gets `hub.reset` for each channel",
)
HEARTBEAT: Final = Parameter(
    "query",
    "heartbeat",
    Annotated[float, Meta(gt=0)],
    "A shorter interval of heartbeats in seconds, for clients that time out early; "
    "at least `stream.min_heartbeat_seconds`",
)
HEARTBEAT_EVENT: Final = Parameter(
    "query",
    "heartbeat_event",
    bool,
    "Whether a heartbeat is the event `hub.heartbeat`, for clients that do not see comments",
)
IDEMPOTENCY_KEY: Final = Parameter(
    "header", "Idempotency-Key", str, "The same as `id` in the body of POST /generations"
)
PUBLISH_IDEMPOTENCY_KEY: Final = Parameter(
    "header",
    "Idempotency-Key",
    str,
    "The same as `id` in the body; in a batch, each item without `id` gets this key and its number",
)
LOCATED: Final = {"Location": "The URL of the generation"}
GENERATION: Final = Parameter("path", "id", str, "The generation id")
INPUT: Final = Parameter("path", "input", str, "The key of the input")
LEASE: Final = Parameter(
    "header", LEASE_HEADER, str, "The lease of the attempt, a secret", required=True
)
OUTPUT_TEMPLATE: Final = Parameter(
    "query",
    "shape",
    str,
    "The output template of the generation's stream (docs/clients/output-templates.md)",
)
LIMIT: Final = Parameter(
    "query",
    "limit",
    Annotated[int, Meta(ge=1, le=MAX_LIMIT)],
    f"The maximum number of entries; {_DEFAULT_LIMIT} by default",
)


def query_flag(request: web.Request, name: str) -> bool:
    """Return whether the parameter is `true` or `1`."""
    return is_true(request.query.get(name, ""))


def query_bool(request: web.Request, name: str) -> bool | None:
    """Return `true` or `false`, or None without the parameter. Raise BadRequest."""
    text = request.query.get(name)
    if not text:
        return None
    if text not in ("true", "false"):
        raise BadRequest(f"{name} must be true or false", path=name)
    return text == "true"


def query_int(request: web.Request, name: str) -> int | None:
    """Return an integer, which may be negative, or None without the parameter.

    Raise BadRequest.
    """
    text = request.query.get(name)
    if text is None:
        return None
    if not _INTEGER.fullmatch(text):
        raise BadRequest(f"{name} must be an integer", path=name)
    return int(text)


def query_count(
    request: web.Request, name: str, *, default: int, max_count: int, min_count: int = 1
) -> int:
    """Return an integer from min_count to max_count. Raise BadRequest."""
    text = request.query.get(name, str(default))
    if not (_INTEGER.fullmatch(text) and min_count <= int(text) <= max_count):
        raise BadRequest(f"{name} must be between {min_count} and {max_count}", path=name)
    return int(text)


def query_limit(request: web.Request) -> int:
    """Return `?limit=`, the maximum number of entries. Raise BadRequest."""
    return query_count(request, "limit", default=_DEFAULT_LIMIT, max_count=MAX_LIMIT)


def query_seconds(request: web.Request, name: str, *, default: float, max_seconds: float) -> float:
    """Return a number of seconds from 0 to max_seconds. Raise BadRequest."""
    try:
        seconds = float(request.query.get(name, default))
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds <= max_seconds:  # false for NaN
        raise BadRequest(f"{name} must be between 0 and {max_seconds:.0f} seconds", path=name)
    return seconds
