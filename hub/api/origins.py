"""Which web pages may call the public listener, judged by the `Origin` header (RFC 6454).

A browser sends cookies along by itself. A request that identifies its user by a cookie must
therefore come from the hub's own origin or from a configured one. hub/http/cors.py adds the
headers of the CORS protocol.
"""

from __future__ import annotations

from collections.abc import Collection

from hub.api.client_address import is_loopback_host
from hub.api.request_context import RequestContext, printable
from hub.error_codes import ORIGIN_NOT_ALLOWED, PREFLIGHT_REQUIRED
from hub.errors import Forbidden


class AllowedOrigins:
    """The origins in `public.allowed_origins`."""

    def __init__(self, allowed: Collection[str]) -> None:
        self._allowed = frozenset(origin.rstrip("/") for origin in allowed)

    def __len__(self) -> int:
        return len(self._allowed)

    def __contains__(self, origin: str | None) -> bool:
        return origin in self._allowed

    def is_refused(self, request: RequestContext) -> bool:
        """Return whether a page of an origin that is not allowed made the request."""
        return self._disallowed_origin(request) is not None

    def check_cookie(self, request: RequestContext) -> None:
        """Raise Forbidden if a page of another site made a request that carries a cookie."""
        if "Origin" not in request.headers:
            if request.headers.get("Sec-Fetch-Site") == "cross-site":
                raise Forbidden(
                    "the cookie is not accepted from a page of another site",
                    code=ORIGIN_NOT_ALLOWED,
                )
        elif (origin := self._disallowed_origin(request)) is not None:
            raise Forbidden(
                f"the cookie is not accepted from a page of {origin}", code=ORIGIN_NOT_ALLOWED
            )

    def check_simple_request(self, request: RequestContext) -> None:
        """Raise Forbidden if a page of another site made a request that needs no preflight.

        A browser sends such a request (Fetch standard, "simple") without asking first.
        """
        if (origin := self._disallowed_origin(request)) is not None:
            raise Forbidden(
                f"a page of {origin} must send Content-Type: application/json",
                code=PREFLIGHT_REQUIRED,
            )

    def check_websocket(self, request: RequestContext) -> None:
        """Raise Forbidden if a page of another site opens a WebSocket, which browsers allow."""
        if (origin := self._disallowed_origin(request)) is not None:
            raise Forbidden(
                f"a page of {origin} may not open a WebSocket to this hub",
                code=ORIGIN_NOT_ALLOWED,
            )

    def check_local_page(self, request: RequestContext) -> None:
        """Raise Forbidden if a page of another site made a request to a hub without authentication.

        A page of this machine (http://localhost:5173) is the developer's own.
        """
        if "Origin" not in request.headers:
            if request.headers.get("Sec-Fetch-Site") == "cross-site":
                raise Forbidden(
                    "a page of another site may not use this hub", code=ORIGIN_NOT_ALLOWED
                )
        elif (origin := self._disallowed_origin(request)) is not None and not is_loopback_host(
            _host(origin)
        ):
            raise Forbidden(
                f"a page of {origin} may not use this hub: add it to public.allowed_origins",
                code=ORIGIN_NOT_ALLOWED,
            )

    def _disallowed_origin(self, request: RequestContext) -> str | None:
        """Return the request's origin if it is neither the hub's own nor in the list."""
        origin = request.headers.get("Origin")
        if origin is None or origin in self._allowed or _host(origin) == request.host:
            return None
        return printable(origin)


def _host(origin: str) -> str:
    """Return the host of an origin (RFC 6454, section 6.2), or "" if it is not an origin."""
    return origin.partition("://")[2]
