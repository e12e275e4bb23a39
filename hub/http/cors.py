"""The headers of the CORS protocol (WHATWG Fetch) on the public listener.

Pages of the configured origins may read responses and send credentials; all other pages may not.
"""

from __future__ import annotations

from typing import Final

from aiohttp import web

from hub.api.origins import AllowedOrigins
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


class CorsHeaders:
    """Adds the CORS headers for the allowed origins."""

    def __init__(self, origins: AllowedOrigins) -> None:
        self._origins = origins

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
                    "Access-Control-Allow-Headers": _HEADERS,
                    "Access-Control-Max-Age": _PREFLIGHT_SECONDS,
                },
            )
        return await handler(request)

    async def add_headers(self, request: web.Request, response: web.StreamResponse) -> None:
        """Allow pages of an allowed origin to read the response."""
        if not self._origins:
            return
        response.headers.add("Vary", "Origin")
        origin = request.headers.get("Origin")
        if origin is not None and origin in self._origins:
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Access-Control-Allow-Credentials"] = "true"
            response.headers["Access-Control-Expose-Headers"] = _EXPOSED
