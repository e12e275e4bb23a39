"""Report how a request arrived through a proxy; `hub doctor --url` uses it."""

from __future__ import annotations

from typing import Final

from aiohttp import web
from aiohttp.http import HttpVersion11

REQUEST_HEADER: Final = "Hub-Doctor"
RESPONSE_HEADER: Final = "Hub-Doctor-Report"


def proxy_probe_headers(request: web.Request) -> dict[str, str]:
    """Return the header Hub-Doctor-Report for the response, if the request has Hub-Doctor.

    Its value is, for example, `HTTP/1.1; connection=kept; forwarded=yes`. It contains no address
    and no header value.
    """
    if REQUEST_HEADER not in request.headers:
        return {}
    default = "" if request.version >= HttpVersion11 else "close"
    closes = request.headers.get("Connection", default).lower() == "close"
    forwarded = "X-Forwarded-For" in request.headers or "Forwarded" in request.headers
    version = f"HTTP/{request.version.major}.{request.version.minor}"
    connection = "close" if closes else "kept"
    return {
        RESPONSE_HEADER: f"{version}; connection={connection}; "
        f"forwarded={'yes' if forwarded else 'no'}"
    }
