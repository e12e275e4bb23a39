"""The schemas of the events of streams: lines of newline-delimited JSON, and the data alone.

Each of the hub's own events has a line whose `event` is constant, so that a generated client knows
the type of `data` by the event's name.
"""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any, Final, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, defstruct

from hub.http.routing import EventSet

_REF: Final = "#/components/schemas/"
_SYSTEM_EVENT: Final = r"^(hub|generation|presence)\."
_OPTIONAL: Final[list[tuple[str, Any, Any]]] = [
    ("id", str | UnsetType, UNSET),
    ("channel", str | UnsetType, UNSET),
    ("retry_ms", int | UnsetType, UNSET),
]


class PublishedLine(Struct, frozen=True):
    """An event of a publisher. `event` and `data` are the publisher's own."""

    event: Annotated[str, Meta(extra_json_schema={"not": {"pattern": _SYSTEM_EVENT}})]
    data: Any
    id: str | UnsetType = UNSET
    channel: str | UnsetType = UNSET
    retry_ms: int | UnsetType = UNSET


def line_models(events: EventSet) -> list[type[Struct]]:
    """Return the type of the line of each event."""
    lines = [_line_model(name, data) for name, data in events.data.items()]
    return [*lines, PublishedLine] if events.has_published else lines


def line_schemas(events: EventSet) -> dict[str, Any]:
    """Return the component `<name>Line`, which is one of the lines, and what it consists of."""
    name = f"{events.name}Line"
    lines = {event: _REF + _line_name(event) for event in events.data}
    own = {
        "title": name,
        "description": "One line, an event of the hub.",
        "oneOf": [{"$ref": ref} for ref in lines.values()],
        "discriminator": {"propertyName": "event", "mapping": lines},
    }
    if not events.has_published:
        return {name: own}
    return {
        "SystemLine": {**own, "title": "SystemLine"},
        name: {
            "title": name,
            "description": "One line, an event of the hub or of a publisher.",
            "oneOf": [{"$ref": f"{_REF}SystemLine"}, {"$ref": f"{_REF}PublishedLine"}],
        },
    }


def event_content(events: EventSet) -> dict[str, Any]:
    """Return the content of a response with the events.

    The schema of server-sent events is that of the data of one event, which generated clients
    return, or a text, for clients that read the stream as a whole. The data of publishers can be
    anything.
    """
    data = {event: {"$ref": _REF + model.__name__} for event, model in events.data.items()}
    names = dict.fromkeys(ref["$ref"] for ref in data.values())
    one_of_them = [*({"$ref": name} for name in names), {"type": "string"}]
    schema = {} if events.has_published else {"anyOf": one_of_them}
    return {
        "text/event-stream": {"schema": schema, "x-event-data": data},
        "application/x-ndjson": {"schema": {"$ref": f"{_REF}{events.name}Line"}},
    }


def _line_name(event: str) -> str:
    return "".join(part.capitalize() for part in event.split(".")) + "Line"


@cache  # several streams have the same events
def _line_model(event: str, data: type[Struct]) -> type[Struct]:
    fields: list[Any] = [("event", Literal[event]), ("data", data), *_OPTIONAL]
    return defstruct(_line_name(event), fields, namespace={"__doc__": f"The event `{event}`."})
