"""What a node saw of a request that went through a proxy: `hub doctor --url` asks for it."""

from __future__ import annotations

from typing import Final

from aiohttp import web
from aiohttp.http import HttpVersion11

REQUEST_HEADER: Final = "Hub-Doctor"
RESPONSE_HEADER: Final = "Hub-Doctor-Report"


def proxy_probe_headers(request: web.Request) -> dict[str, str]:
    """A header for the answer, where the request asks for it by the header Hub-Doctor: `HTTP/1.1;
    connection=kept; forwarded=yes`. No address and no header's value is told.
    """
    if REQUEST_HEADER not in request.headers:
        return {}
    default = "" if request.version >= HttpVersion11 else "close"
    ends = request.headers.get("Connection", default).lower() == "close"
    forwarded = "X-Forwarded-For" in request.headers or "Forwarded" in request.headers
    version = f"HTTP/{request.version.major}.{request.version.minor}"
    connection = "close" if ends else "kept"
    return {
        RESPONSE_HEADER: f"{version}; connection={connection}; "
        f"forwarded={'yes' if forwarded else 'no'}"
    }
