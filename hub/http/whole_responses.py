"""Writes a response whose body is complete in one step, without aiohttp's stages.

The head of a response depends on its status and headers, and a listener sends few different ones.
So each is made once by aiohttp's own code, which also refuses control characters, and kept.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

from aiohttp import HttpVersion11, hdrs, web
from aiohttp.helpers import EMPTY_BODY_STATUS_CODES, rfc822_formatted_time
from aiohttp.http import SERVER_SOFTWARE
from aiohttp.http_writer import _serialize_headers
from multidict import CIMultiDict

_METHODS: Final = frozenset({"GET", "POST", "PUT", "DELETE"})
_HEADS: Final = 256  # number of heads that are kept


def write_whole(request: web.Request, response: web.StreamResponse) -> bool:
    """Write the response. Return False, having done nothing, if only aiohttp can write it: to
    HTTP/1.0, before the connection is closed, with cookies, for an application that changes
    responses, and so on.
    """
    body = response._body
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
        or _changes_responses(request)
    ):
        return False
    head = _head(response._status, response._reason, *response._headers.items())
    if not head:
        return False
    date = rfc822_formatted_time()
    writer: Any = request._payload_writer
    writer._write(
        b"%bContent-Length: %d\r\nDate: %b\r\n\r\n%b" % (head, len(body), date.encode(), body)
    )
    response._keep_alive = True
    response._eof_sent = True
    response._body_length = writer.output_size
    return True


def _changes_responses(request: web.Request) -> bool:
    match_info = request._match_info
    if match_info is None:
        return False
    return bool([app for app in match_info._apps if app.on_response_prepare])


@lru_cache(maxsize=_HEADS)
def _head(status: int, reason: str, *headers: tuple[str, str]) -> bytes:
    """Return the head of a response without Content-Length, Date and the end; empty if its headers
    say more than aiohttp adds.
    """
    named = CIMultiDict(headers)
    if any(each in named for each in (hdrs.CONTENT_LENGTH, hdrs.DATE, hdrs.CONNECTION)):
        return b""
    named.setdefault(hdrs.CONTENT_TYPE, "application/octet-stream")
    named.setdefault(hdrs.SERVER, SERVER_SOFTWARE)
    return _serialize_headers(f"HTTP/1.1 {status} {reason}", named).removesuffix(b"\r\n")
