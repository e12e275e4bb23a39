"""?shape=: in which shape a request wants an answer's own stream."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
from aiohttp import web

from hub.errors import BadRequest
from hub.surfaces.shapes import SHAPES, Shape
from hub.web.streaming import accepts

OWN_EVENTS: Final = "events"


class Shapes(msgspec.Struct, frozen=True):
    """The shapes that an answer's stream may have, by name. default: that of who accepts
    server-sent events and names none; None: the hub's own events, which `?shape=events` names.
    """

    known: Mapping[str, Shape] = msgspec.field(default_factory=lambda: SHAPES)
    default: str | None = None

    def of(self, request: web.Request) -> Shape | None:
        """The one to answer in. Raises BadRequest."""
        name = request.query.get("shape")
        if name is None and accepts(request, "text/event-stream"):
            name = self.default
        if name is None or name == OWN_EVENTS:
            return None
        if name not in self.known:
            known = ", ".join([OWN_EVENTS, *sorted(self.known)])
            raise BadRequest(f"there is no shape {name!r}; known: {known}", path="shape")
        return self.known[name]
