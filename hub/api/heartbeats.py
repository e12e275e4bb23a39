"""The heartbeats that a client asks for: `?heartbeat=` and `?heartbeat_event=`."""

from __future__ import annotations

import math
from typing import NamedTuple

from hub.api.request_context import RequestContext
from hub.errors import BadRequest


class Heartbeats(NamedTuple):
    """The heartbeats of one stream.

    seconds: a shorter interval than the node's; None means the node's. as_events: whether a
    heartbeat is the event `hub.heartbeat`, not a comment or a ping.
    """

    seconds: float | None = None
    as_events: bool = False


def requested_heartbeats(
    context: RequestContext, *, min_seconds: float, max_seconds: float, can_be_events: bool
) -> Heartbeats:
    """Return the heartbeats that the query asks for, within the limits.

    can_be_events: False for the streams of other APIs, whose clients know no event of the hub.
    Raise BadRequest.
    """
    as_events = is_true(context.query.get("heartbeat_event", ""))
    if as_events and not can_be_events:
        raise BadRequest(
            "heartbeat_event is for the hub's own events, and this stream has another API's; "
            "heartbeat=<seconds> works here too",
            path="heartbeat_event",
        )
    text = context.query.get("heartbeat")
    if text is None:
        return Heartbeats(as_events=as_events)
    seconds = min(max(_positive_seconds(text), min_seconds), max_seconds)
    return Heartbeats(seconds, as_events)


def is_true(text: str) -> bool:
    """Return whether the value of a parameter is `true` or `1`."""
    return text.lower() in ("true", "1")


def _positive_seconds(text: str) -> float:
    """Parse `?heartbeat=`. Raise BadRequest."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < math.inf:  # false for NaN
        raise BadRequest("heartbeat must be a number of seconds above 0", path="heartbeat")
    return seconds
