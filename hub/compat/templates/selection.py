"""?shape=: in which shape a request wants an answer's own stream."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
from aiohttp import web

from hub.compat.templates.encoder import BUILT_IN_TEMPLATES, OutputTemplate
from hub.errors import BadRequest
from hub.http.streams import accepts

OWN_EVENTS: Final = "events"


class Templates(msgspec.Struct, frozen=True):
    """The shapes that an answer's stream may have, by name. default: that of who accepts
    server-sent events and names none; None: the hub's own events, which `?shape=events` names.
    """

    known: Mapping[str, OutputTemplate] = msgspec.field(default_factory=lambda: BUILT_IN_TEMPLATES)
    default: str | None = None

    def select(self, request: web.Request) -> OutputTemplate | None:
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
