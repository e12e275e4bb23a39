"""Data of an event that holds several events, or one that is encoded twice."""

from __future__ import annotations

from typing import Final

import msgspec

KEEPALIVES: Final = frozenset({"", "ping", "pong", "keepalive", "keep-alive", "heartbeat"})
"""Data that only keeps the connection alive."""


def split_event(data: str) -> list[str]:
    """Return the data of each event, if there are several in one: in a list, or one a line.

    A server that omits the blank lines between its events sends them as lines of one event. Others
    encode their events twice: `data: data: {…}`, or JSON as a text in JSON.
    """
    if data.startswith("data:"):
        while data.startswith("data:"):
            data = data.removeprefix("data:").strip()
        return [data]
    events = [line.strip() for line in data.split("\n")]
    if data.startswith('"{'):
        try:
            return [msgspec.json.decode(data, type=str).strip()]
        except msgspec.DecodeError:
            return []
    if data.startswith("["):
        try:
            items = msgspec.json.decode(data, type=list[msgspec.Raw])
        except (msgspec.DecodeError, RecursionError):
            return []
        events = [bytes(item).decode() for item in items]
    is_split = len(events) > 1 and any(event.startswith("{") for event in events)
    return events if is_split and all(map(_is_whole_event, events)) else []


def _is_whole_event(data: str) -> bool:
    is_object = data.startswith("{") and data.endswith("}")
    return is_object or data.startswith((":", "[DONE]")) or data.lower() in KEEPALIVES
