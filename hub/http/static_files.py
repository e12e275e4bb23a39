"""Files of the package, served with the headers that a page should have.

StaticFiles serves the pages of the demo and the console. JsClientRoutes serves the JavaScript
client, the same file that npm ships. It contains no secret, so any site may import it; what it may
then request is decided by authentication and CORS.
"""

from __future__ import annotations

import hashlib
from importlib.resources import files
from typing import Final

from aiohttp import ETag, web

from hub.error_codes import FILE_NOT_FOUND
from hub.errors import NotFound
from hub.http.routing import Operation, Parameter, ResponseSpec, build_routes

TYPES: Final = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
FILE_NAME: Final = Parameter("path", "name", str, "The name of the file")
FILE_RESPONSE: Final = ResponseSpec(
    status=200, description="The file.", content=dict.fromkeys(TYPES.values())
)
PAGE_RESPONSE: Final = ResponseSpec(
    status=200, description="The page.", content={"text/html": None}
)
_PAGE_HEADERS: Final = {
    "Content-Security-Policy": (
        # An answer may have pictures of other sites.
        "default-src 'self'; img-src 'self' data: https:; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
_CLIENT_HEADERS: Final = {
    "Access-Control-Allow-Origin": "*",
    "Cross-Origin-Resource-Policy": "cross-origin",
    "X-Content-Type-Options": "nosniff",
    # A browser revalidates it each time, mostly with a 304, so a page never mixes two versions.
    "Cache-Control": "public, no-cache",
}


class StaticFiles:
    """The files in one folder of `hub/http/pages`."""

    def __init__(self, folder: str) -> None:
        self._files = {  # by name: the body and the content type
            page.name: (page.read_bytes(), TYPES[suffix])
            for page in (files("hub.http") / "pages" / folder).iterdir()
            if (suffix := "." + page.name.rpartition(".")[2]) in TYPES
        }

    def replace(self, name: str, old: bytes, new: bytes) -> None:
        """Replace text in a file."""
        body, content_type = self._files[name]
        self._files[name] = (body.replace(old, new), content_type)

    def response(self, name: str) -> web.Response:
        """Return a file as a response. Raise NotFound."""
        file = self._files.get(name)
        if file is None:
            raise NotFound(f"there is no file {name!r} here", code=FILE_NOT_FOUND)
        body, content_type = file
        return web.Response(
            body=body, content_type=content_type, charset="utf-8", headers=_PAGE_HEADERS
        )


class JsClientRoutes:
    """GET /hub.js: the JavaScript client. Its entity tag is its digest."""

    def __init__(self) -> None:
        self._body = (files("hub.http") / "pages" / "hub.js").read_bytes()
        self._etag = hashlib.sha256(self._body).hexdigest()[:32]

    def routes(self) -> list[web.RouteDef]:
        return build_routes(self)

    @Operation(
        id="getJsClient",
        method="GET",
        paths=["/hub.js"],
        tag="demo",
        summary="Get the JavaScript client",
        responses=[
            ResponseSpec(
                status=200,
                description="The client, an ECMAScript module.",
                content={"text/javascript": None},
            ),
            ResponseSpec(
                status=304, description="The client already has this version (If-None-Match)."
            ),
        ],
    )
    async def module(self, request: web.Request) -> web.Response:
        """Returns the JavaScript client as a module, or 304 if the browser has this version."""
        if self._is_cached(request):
            response = web.Response(status=304, headers=_CLIENT_HEADERS)
        else:
            response = web.Response(
                body=self._body,
                content_type="text/javascript",
                charset="utf-8",
                headers=_CLIENT_HEADERS,
            )
        response.etag = self._etag
        return response

    def _is_cached(self, request: web.Request) -> bool:
        """Compare weakly (RFC 9110, 13.1.2), since a proxy that compresses makes the tag weak."""
        tags: tuple[ETag, ...] = request.if_none_match or ()
        return any(tag.value in (self._etag, "*") for tag in tags)
