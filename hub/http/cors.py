"""The headers of the CORS protocol (WHATWG Fetch) on the public listener.

Pages of the configured origins may read responses and send credentials; all other pages may not.
"""

from __future__ import annotations

import re
from typing import Final

import structlog
from aiohttp import web

from hub.api.origins import AllowedOrigins
from hub.api.request_context import printable
from hub.engine.metrics.node_metrics import NodeMetrics
from hub.http.errors import Handler

_METHODS: Final = "GET, POST, PUT, DELETE, OPTIONS"
_HEADERS: Final = (
    "Authorization, Content-Type, Accept, Last-Event-ID, Idempotency-Key, Cache-Control, "
    "User-Agent, X-Api-Key, Anthropic-Version, Anthropic-Beta, "
    "Anthropic-Dangerous-Direct-Browser-Access, X-Stainless-Arch, X-Stainless-Helper-Method, "
    "X-Stainless-Lang, X-Stainless-OS, X-Stainless-Package-Version, X-Stainless-Poll-Helper, "
    "X-Stainless-Retry-Count, X-Stainless-Runtime, X-Stainless-Runtime-Version, X-Stainless-Timeout"
)
_EXPOSED: Final = (
    "Location, Retry-After, Request-Id, X-Workflow-Run-Id, X-Workflow-Stream-Tail-Index, "
    "X-Vercel-AI-UI-Message-Stream"
)
_PREFLIGHT_SECONDS: Final = "600"
_TOKEN: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}")  # RFC 9110, section 5.6.2
_MAX_REQUESTED_HEADERS: Final = 64
_MAX_LOGGED_ORIGINS: Final = 100
_log = structlog.get_logger(__name__)


class CorsHeaders:
    """Adds the CORS headers for the allowed origins. Others are counted, and logged once."""

    def __init__(self, origins: AllowedOrigins, metrics: NodeMetrics) -> None:
        self._origins = origins
        self._metrics = metrics
        self._logged: set[str] = set()  # the refused origins that are in the log

    @web.middleware
    async def answer_preflight(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer the preflight request that a browser sends before the actual one."""
        if (
            request.method == "OPTIONS"
            and "Access-Control-Request-Method" in request.headers
            and request.headers.get("Origin") in self._origins
        ):
            return web.Response(
                status=204,
                headers={
                    "Access-Control-Allow-Methods": _METHODS,
                    "Access-Control-Allow-Headers": _allowed_headers(request),
                    "Access-Control-Max-Age": _PREFLIGHT_SECONDS,
                },
            )
        return await handler(request)

    async def add_headers(self, request: web.Request, response: web.StreamResponse) -> None:
        """Allow pages of an allowed origin to read the response."""
        origin = request.headers.get("Origin")
        if origin is not None and self._origins.is_refused(request):
            self._note_refused(origin)
        if not self._origins:
            return
        response.headers.add("Vary", "Origin")
        if origin is not None and origin in self._origins:
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Access-Control-Allow-Credentials"] = "true"
            response.headers["Access-Control-Expose-Headers"] = _EXPOSED

    def _note_refused(self, origin: str) -> None:
        self._metrics.origins_refused.add(1)
        if origin not in self._logged and len(self._logged) < _MAX_LOGGED_ORIGINS:
            self._logged.add(origin)
            _log.warning(
                "cors.origin_refused",
                origin=printable(origin)[:200],
                advice="its pages cannot read responses; add it to public.allowed_origins",
            )


def _allowed_headers(request: web.Request) -> str:
    """Return the headers that a page may send: the usual ones, and those that it asks for.

    Tracing and SDKs add headers of their own, and the hub ignores those that it does not know.
    """
    requested = request.headers.get("Access-Control-Request-Headers", "").split(",")
    names = [name.strip() for name in requested[:_MAX_REQUESTED_HEADERS]]
    known = {name.lower() for name in _HEADERS.split(", ")}
    return ", ".join(
        [_HEADERS, *(n for n in names if _TOKEN.fullmatch(n) and n.lower() not in known)]
    )
