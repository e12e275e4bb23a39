"""Files of the package, served with the headers that a page should have.

StaticFiles serves the pages of the demo and the console. JsClientRoutes serves the modules of the
JavaScript client, the same files that npm ships. They contain no secret, so any site may import
them; what they may then request is decided by authentication and CORS.

A browser keeps the files, and asks each time whether they have changed (mostly a 304), so a page
never mixes two versions. Files are compressed once, with gzip. Streams are never compressed.
"""

from __future__ import annotations

import gzip
import hashlib
import re
from collections.abc import Mapping
from functools import cache, cached_property
from importlib.resources import files
from typing import Final

from aiohttp import ETag, hdrs, web

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
_NOT_MODIFIED: Final = ResponseSpec(
    status=304, description="The client already has this version (If-None-Match)."
)
FILE_RESPONSES: Final = [
    ResponseSpec(status=200, description="The file.", content=dict.fromkeys(TYPES.values())),
    _NOT_MODIFIED,
]
PAGE_RESPONSES: Final = [
    ResponseSpec(status=200, description="The page.", content={"text/html": None}),
    _NOT_MODIFIED,
]
_MODULES: Final = ("hub.js", "hub-sw.js", "inbox.js", "hub-inbox.js")
_ELEMENT_FOLDER: Final = "hub-inbox"  # what hub-inbox.js imports beside the client
_MODULE_RESPONSES: Final = [
    ResponseSpec(
        status=200, description="The module, in ECMAScript.", content={"text/javascript": None}
    ),
    _NOT_MODIFIED,
]
_GZIP: Final = re.compile(
    r"(?:^|,)\s*(?:gzip|\*)\s*(?:;\s*q=(?P<weight>\d(?:\.\d*)?)\s*)?(?=,|$)", re.IGNORECASE
)
_FILE_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
_DOCUMENT_HEADERS: Final = {
    "Content-Security-Policy": (
        # An answer may have pictures of other sites.
        "default-src 'self'; img-src 'self' data: https:; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'self'"  # the demo page shows itself as a second device
    ),
    **_FILE_HEADERS,
}
_DOCUMENT_TYPES: Final = ("text/html", "image/svg+xml")  # what a browser shows as a document
_CLIENT_HEADERS: Final = {
    "Access-Control-Allow-Origin": "*",
    "Cross-Origin-Resource-Policy": "cross-origin",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "public, no-cache",
}
_WORKER_HEADERS: Final = {**_CLIENT_HEADERS, "Service-Worker-Allowed": "/"}


class StaticFile:
    """A file of the package with its entity tags: one for each encoding (RFC 9110, 8.8.3.3)."""

    def __init__(self, body: bytes, content_type: str) -> None:
        self.body = body
        self.content_type = content_type

    @cached_property
    def _digest(self) -> str:
        return hashlib.sha256(self.body).hexdigest()[:32]

    @cached_property
    def _compressed(self) -> bytes:
        return gzip.compress(self.body, mtime=0)

    def response(self, request: web.Request, headers: Mapping[str, str]) -> web.Response:
        """Return the file, or 304 if the browser has this version."""
        is_compressed = accepts_gzip(request.headers.get(hdrs.ACCEPT_ENCODING, ""))
        if self._is_cached(request):
            response = web.Response(status=304, headers=headers)
        else:
            response = web.Response(
                body=self._compressed if is_compressed else self.body,
                content_type=self.content_type,
                charset="utf-8",
                headers=headers,
            )
            if is_compressed:
                response.headers[hdrs.CONTENT_ENCODING] = "gzip"
        response.headers[hdrs.VARY] = hdrs.ACCEPT_ENCODING
        response.etag = f"{self._digest}-gzip" if is_compressed else self._digest
        return response

    def _is_cached(self, request: web.Request) -> bool:
        """Compare weakly (RFC 9110, 13.1.2), since a proxy that compresses makes the tag weak."""
        tags: tuple[ETag, ...] = request.if_none_match or ()
        return any(tag.value.removesuffix("-gzip") in (self._digest, "*") for tag in tags)


def accepts_gzip(accepted: str) -> bool:
    """Return whether a header Accept-Encoding allows gzip (RFC 9110, 12.5.3)."""
    match = _GZIP.search(accepted)
    return match is not None and float(match["weight"] or 1) > 0


@cache  # a process may have several applications; the files belong to the installed package
def _read_pages(folder: str) -> Mapping[str, StaticFile]:
    return {
        page.name: StaticFile(page.read_bytes(), TYPES[suffix])
        for page in (files("hub.http") / "pages" / folder).iterdir()
        if (suffix := "." + page.name.rpartition(".")[2]) in TYPES
    }


class StaticFiles:
    """The files in one folder of `hub/http/pages`.

    shared: paths of files of other folders that are served beside them, by their names.
    """

    def __init__(self, folder: str, *shared: str) -> None:
        self._files = {**_read_pages(folder)}
        for path in shared:
            other, _, name = path.partition("/")
            self._files[name] = _read_pages(other)[name]

    def replace(self, name: str, old: bytes, new: bytes) -> None:
        """Replace text in a file."""
        file = self._files[name]
        self._files[name] = StaticFile(file.body.replace(old, new), file.content_type)

    def response(self, request: web.Request, name: str) -> web.Response:
        """Return a file as a response. Raise NotFound."""
        file = self._files.get(name)
        if file is None:
            raise NotFound(f"there is no file {name!r} here", code=FILE_NOT_FOUND)
        is_document = file.content_type in _DOCUMENT_TYPES
        return file.response(request, _DOCUMENT_HEADERS if is_document else _FILE_HEADERS)


class JsClientRoutes:
    """The modules of the JavaScript client."""

    def __init__(self) -> None:
        pages = files("hub.http") / "pages"
        parts = (part for part in (pages / _ELEMENT_FOLDER).iterdir() if part.name.endswith(".js"))
        self._files = {
            module.name: StaticFile(module.read_bytes(), TYPES[".js"])
            for module in (*(pages / name for name in _MODULES), *parts)
        }

    def routes(self) -> list[web.RouteDef]:
        return build_routes(self)

    @Operation(
        id="getJsClient",
        method="GET",
        paths=["/hub.js"],
        tag="demo",
        summary="Get the JavaScript client",
        responses=_MODULE_RESPONSES,
    )
    async def client(self, request: web.Request) -> web.Response:
        """Returns the JavaScript client as a module, or 304 if the browser has this version."""
        return self._response(request, "hub.js")

    @Operation(
        id="getInboxModule",
        method="GET",
        paths=["/inbox.js"],
        tag="demo",
        summary="Get the list of an inbox for JavaScript",
        responses=_MODULE_RESPONSES,
    )
    async def inbox(self, request: web.Request) -> web.Response:
        """Returns the module that the JavaScript client loads when a page opens the list of an
        inbox, or 304 if the browser has this version.
        """
        return self._response(request, "inbox.js")

    @Operation(
        id="getInboxElement",
        method="GET",
        paths=["/hub-inbox.js"],
        tag="demo",
        summary="Get the web component of the inbox",
        responses=_MODULE_RESPONSES,
    )
    async def element(self, request: web.Request) -> web.Response:
        """Returns the module that defines the element `<hub-inbox>`, or 304 if the browser has this
        version.
        """
        return self._response(request, "hub-inbox.js")

    @Operation(
        id="getInboxElementPart",
        method="GET",
        paths=[f"/{_ELEMENT_FOLDER}/{{name}}"],
        tag="demo",
        summary="Get a part of the web component of the inbox",
        parameters=[FILE_NAME],
        responses=_MODULE_RESPONSES,
        refuses=[404],
    )
    async def element_part(self, request: web.Request) -> web.Response:
        """Returns a module that `/hub-inbox.js` imports, or 304 if the browser has this version."""
        return self._response(request, request.match_info["name"])

    @Operation(
        id="getServiceWorker",
        method="GET",
        paths=["/hub-sw.js"],
        tag="push",
        summary="Get the service worker for push notifications",
        responses=_MODULE_RESPONSES,
    )
    async def worker(self, request: web.Request) -> web.Response:
        """Returns the service worker that shows push notifications, a classic script, or 304 if the
        browser has this version. Pages on another origin load it with `importScripts` in a worker
        of their own.
        """
        return self._response(request, "hub-sw.js", _WORKER_HEADERS)

    def _response(
        self, request: web.Request, name: str, headers: Mapping[str, str] = _CLIENT_HEADERS
    ) -> web.Response:
        file = self._files.get(name)
        if file is None:
            raise NotFound(f"there is no file {name!r} here", code=FILE_NOT_FOUND)
        return file.response(request, headers)
