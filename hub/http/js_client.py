"""GET /hub.js: the JavaScript client, for the demo page and for every page of any site.

It is the same file that npm ships. It holds no secret, so any site may import it; what it may then
ask of the hub is for the door and for CORS (origins.py).
"""

from __future__ import annotations

import hashlib
from importlib.resources import files
from typing import Final

from aiohttp import ETag, web

from hub.http.routing import Operation, ResponseSpec, build_routes

_HEADERS: Final = {
    "Access-Control-Allow-Origin": "*",
    "Cross-Origin-Resource-Policy": "cross-origin",
    "X-Content-Type-Options": "nosniff",
    # Asked for again each time, and mostly answered 304: a page never mixes two versions.
    "Cache-Control": "public, no-cache",
}


class JsClientRoutes:
    """The module, with its digest as the entity tag."""

    def __init__(self) -> None:
        self._body = (files("hub.http") / "pages" / "hub.js").read_bytes()
        self._etag = hashlib.sha256(self._body).hexdigest()[:32]

    def routes(self) -> list[web.RouteDef]:
        return build_routes(self)

    @Operation(
        method="GET",
        paths=["/hub.js"],
        tag="demo",
        summary="The JavaScript client",
        responses=[
            ResponseSpec(status=200, description="The module", content={"text/javascript": None}),
            ResponseSpec(status=304, description="The client has it (If-None-Match)"),
        ],
    )
    async def module(self, request: web.Request) -> web.Response:
        """200, or 304 for who has it."""
        if self._is_known(request):
            response = web.Response(status=304, headers=_HEADERS)
        else:
            response = web.Response(
                body=self._body, content_type="text/javascript", charset="utf-8", headers=_HEADERS
            )
        response.etag = self._etag
        return response

    def _is_known(self, request: web.Request) -> bool:
        """Weak comparison (RFC 9110, 13.1.2): a proxy that compresses makes the tag weak."""
        known: tuple[ETag, ...] = request.if_none_match or ()
        return any(tag.value in (self._etag, "*") for tag in known)
