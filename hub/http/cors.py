"""Which pages of other sites may speak to the public listener (CORS), and as whom.

WHATWG Fetch, "CORS protocol". Credentials only for origins that are named. A cookie travels by
itself, so who comes with one must come from the hub's own origin or from a named one.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from aiohttp import web

from hub.api.request_context import RequestContext
from hub.errors import Forbidden
from hub.http.errors import Handler

_METHODS: Final = "GET, POST, DELETE, OPTIONS"
_HEADERS: Final = (
    "Authorization, Content-Type, Accept, Last-Event-ID, Idempotency-Key, Cache-Control, "
    "User-Agent, X-Stainless-Arch, X-Stainless-Helper-Method, X-Stainless-Lang, X-Stainless-OS, "
    "X-Stainless-Package-Version, X-Stainless-Poll-Helper, X-Stainless-Retry-Count, "
    "X-Stainless-Runtime, X-Stainless-Runtime-Version, X-Stainless-Timeout"
)
_EXPOSED: Final = (
    "Location, Retry-After, X-Workflow-Run-Id, X-Workflow-Stream-Tail-Index, "
    "X-Vercel-AI-UI-Message-Stream"
)
_PREFLIGHT_SECONDS: Final = "600"


class AllowedOrigins:
    """The allow-list."""

    def __init__(self, allowed: Collection[str]) -> None:
        self._allowed = frozenset(origin.rstrip("/") for origin in allowed)

    def check_cookie(self, request: RequestContext) -> None:
        """Raises Forbidden when a request that carries its user in a cookie was made by the page
        of another site.
        """
        if "Origin" not in request.headers:
            if request.headers.get("Sec-Fetch-Site") == "cross-site":
                raise Forbidden("a cookie is not taken from the page of another site")
        elif (stranger := self._stranger(request)) is not None:
            raise Forbidden(f"a cookie is not taken from the page of {stranger}")

    def check_websocket(self, request: web.Request) -> None:
        """Raises Forbidden for the page of another site, unless it is on the list, that sends what
        browsers send without asking first.
        """
        if (stranger := self._stranger(request)) is not None:
            raise Forbidden(f"send Content-Type: application/json from the page of {stranger}")

    def check_page(self, request: web.Request) -> None:
        """Raises Forbidden when the page of another site asks for a WebSocket: browsers let it."""
        if (stranger := self._stranger(request)) is not None:
            raise Forbidden(f"no WebSocket for the page of {stranger}")

    def _stranger(self, request: RequestContext) -> str | None:
        """The origin of a page that is of another site and not on the list."""
        origin = request.headers.get("Origin")
        if origin is None or origin in self._allowed or _host(origin) == request.host:
            return None
        return origin

    @web.middleware
    async def preflights(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answers what browsers ask before the real request."""
        if (
            request.method == "OPTIONS"
            and "Access-Control-Request-Method" in request.headers
            and request.headers.get("Origin") in self._allowed
        ):
            return web.Response(
                status=204,
                headers={
                    "Access-Control-Allow-Methods": _METHODS,
                    "Access-Control-Allow-Headers": _HEADERS,
                    "Access-Control-Max-Age": _PREFLIGHT_SECONDS,
                },
            )
        return await handler(request)

    async def label(self, request: web.Request, response: web.StreamResponse) -> None:
        """Tells the browser of a named origin that its page may read the response."""
        if not self._allowed:
            return
        response.headers.add("Vary", "Origin")
        origin = request.headers.get("Origin")
        if origin in self._allowed:
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Access-Control-Allow-Credentials"] = "true"
            response.headers["Access-Control-Expose-Headers"] = _EXPOSED


def _host(origin: str) -> str:
    """An origin is a scheme and a host (RFC 6454, section 6.2); what is none has no host."""
    return origin.partition("://")[2]
