"""The files of a page, as the package holds them, with the headers that a page should have."""

from __future__ import annotations

from importlib.resources import files
from typing import Final

from aiohttp import web

from hub.errors import NotFound

TYPES: Final = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


class StaticFiles:
    """Those in one folder of `hub/http/pages`."""

    def __init__(self, folder: str) -> None:
        self._files = {
            page.name: (page.read_bytes(), TYPES[suffix])
            for page in (files("hub.http") / "pages" / folder).iterdir()
            if (suffix := "." + page.name.rpartition(".")[2]) in TYPES
        }

    def change(self, name: str, before: bytes, after: bytes) -> None:
        """Puts something else into a file."""
        body, content_type = self._files[name]
        self._files[name] = (body.replace(before, after), content_type)

    def response(self, name: str) -> web.Response:
        """One of them. Raises NotFound."""
        found = self._files.get(name)
        if found is None:
            raise NotFound(f"there is no file {name!r} here")
        body, content_type = found
        return web.Response(body=body, content_type=content_type, charset="utf-8", headers=_HEADERS)
