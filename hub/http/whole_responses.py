"""Writes a response whose body is complete in one step, without aiohttp's stages."""

from __future__ import annotations

from typing import Any, Final

from aiohttp import HttpVersion11, hdrs, web
from aiohttp.helpers import EMPTY_BODY_STATUS_CODES

from hub.transports.response_head import encode_date, encode_head

_METHODS: Final = frozenset({"GET", "POST", "PUT", "DELETE"})


def write_whole(request: web.Request, response: web.StreamResponse) -> bool:
    """Write the response. Return False, having done nothing, if only aiohttp can write it: to
    HTTP/1.0, before the connection is closed, with cookies, for an application that changes
    responses, and so on.
    """
    body, headers = response._body, response._headers
    if (
        type(response) is not web.Response
        or type(body) is not bytes
        or not body
        or response._payload_writer is not None
        or response._keep_alive is not None
        or response._cookies is not None
        or response._compression
        or response._chunked
        or response._status in EMPTY_BODY_STATUS_CODES
        or request._message.should_close
        or request._message.version is not HttpVersion11
        or request._method not in _METHODS
        or request._post is not None
        or hdrs.CONTENT_LENGTH in headers
        or hdrs.DATE in headers
        or hdrs.CONNECTION in headers
        or _changes_responses(request)
    ):
        return False
    head = encode_head(f"HTTP/1.1 {response._status} {response._reason}", *headers.items())
    writer: Any = request._payload_writer
    writer._write(b"%bContent-Length: %d\r\n%b\r\n%b" % (head, len(body), encode_date(), body))
    response._keep_alive = True
    response._eof_sent = True
    response._body_length = writer.output_size
    return True


def _changes_responses(request: web.Request) -> bool:
    match_info = request._match_info
    if match_info is None:
        return False
    return bool([app for app in match_info._apps if app.on_response_prepare])
