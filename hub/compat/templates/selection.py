"""The query parameter `shape`: the output template that a request selects for its stream."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Final

import msgspec
from aiohttp import web

from hub.compat.templates.encoder import OutputTemplate, TemplateEncoder
from hub.errors import BadRequest
from hub.http.streams import accepts
from hub.ports.compat import EncoderFactory

HUB_EVENTS: Final = "events"


class TemplateSelection(msgspec.Struct, frozen=True):
    """The output templates that a generation's own stream may use.

    templates: by the name that `?shape=` selects. default: the name for requests that accept
    server-sent events and select none; None: the hub's own events, which `?shape=events` also
    selects.
    """

    templates: Mapping[str, OutputTemplate]
    default: str | None

    def select(self, request: web.Request) -> EncoderFactory | None:
        """Return the encoder that the request selects, None for the hub's own events.

        Raise BadRequest for an unknown name.
        """
        name = request.query.get("shape")
        if name is None and accepts(request, "text/event-stream"):
            name = self.default
        if name is None or name == HUB_EVENTS:
            return None
        template = self.templates.get(name)
        if template is None:
            names = ", ".join([HUB_EVENTS, *sorted(self.templates)])
            raise BadRequest(f"there is no shape {name!r}; the shapes are {names}", path="shape")
        return partial(TemplateEncoder, template=template)
