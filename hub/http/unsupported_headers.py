"""Refuses requests whose headers ask for what the hub does not do, where ignoring them would change
what the request means (RFC 9110).

- Content-Encoding: the hub reads gzip and deflate. Another coding is 415 (section 15.5.16).
- If-Match, and If-None-Match of a method that changes something: 412 (sections 13.1.1 and 13.1.2),
  because only the files of pages have entity tags. A GET with `If-Match: *` is served.
- Range in bytes of GET: 416 (section 15.5.17), except for the files of pages, which are sent whole.
- Content-Range: 400 (section 14.5), because no route takes a part of a body.

The RFC says that a server ignores the others: If-Unmodified-Since and If-Modified-Since without a
modification date, If-Range without Range, and Range with other methods or other units.
"""

from __future__ import annotations

from typing import Final

from aiohttp import ETag, hdrs, web

from hub.error_codes import UNSUPPORTED_CONTENT_ENCODING
from hub.errors import BadRequest, PreconditionFailed, RangeNotSatisfiable, UnsupportedMedia
from hub.http.body_coding import CODINGS
from hub.http.errors import Handler
from hub.http.routing import operation_of
from hub.http.static_files import TYPES

UNKNOWN_CODING: Final = "the hub reads bodies without Content-Encoding, or with gzip or deflate"
_CODINGS: Final = ("", "identity", *CODINGS)
_SAFE_METHODS: Final = ("GET", "HEAD", "OPTIONS")


@web.middleware
async def refuse_unsupported_headers(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Call the handler, unless the headers ask for what the hub does not do.

    Raise BadRequest, PreconditionFailed, RangeNotSatisfiable, UnsupportedMedia.
    """
    headers = request.headers
    if not (  # no loop, because every request pays for it
        hdrs.CONTENT_ENCODING in headers
        or hdrs.CONTENT_RANGE in headers
        or hdrs.IF_MATCH in headers
        or hdrs.IF_NONE_MATCH in headers
        or hdrs.RANGE in headers
    ):
        return await handler(request)
    _check_body_headers(request)
    is_file = _serves_files(request)
    if not is_file and request.method == "GET" and _asks_for_bytes(request):
        raise RangeNotSatisfiable("the hub sends no parts of this resource; remove Range")
    if request.method not in _SAFE_METHODS and hdrs.IF_NONE_MATCH in request.headers:
        raise PreconditionFailed("this route has no entity tags; remove If-None-Match")
    is_any = request.headers.get(hdrs.IF_MATCH, "*").strip() == "*"
    if is_any and (hdrs.IF_MATCH not in request.headers or request.method in _SAFE_METHODS):
        return await handler(request)
    if not is_file:
        raise PreconditionFailed("this route has no entity tags; remove If-Match")
    response = await handler(request)
    if response.status < 400 and not _matches(request.if_match or (), response.etag):
        raise PreconditionFailed("the file has another entity tag than If-Match names")
    return response


def _check_body_headers(request: web.Request) -> None:
    codings = ",".join(request.headers.getall(hdrs.CONTENT_ENCODING, ())).strip().lower()
    if codings not in _CODINGS and request.can_read_body:
        raise UnsupportedMedia(UNKNOWN_CODING, code=UNSUPPORTED_CONTENT_ENCODING)
    if hdrs.CONTENT_RANGE in request.headers and request.method not in _SAFE_METHODS:
        raise BadRequest("no route takes a part of a body; remove Content-Range")


def _asks_for_bytes(request: web.Request) -> bool:
    return request.headers.get(hdrs.RANGE, "").strip().lower().startswith("bytes=")


def _serves_files(request: web.Request) -> bool:
    operation = operation_of(request.match_info.handler)
    if operation is None:
        return False
    return any(kind in TYPES.values() for each in operation.responses for kind in each.content)


def _matches(given: tuple[ETag, ...], etag: ETag | None) -> bool:
    """Compare strongly (RFC 9110, section 8.8.3.2)."""
    return etag is not None and any(each.value == etag.value and not each.is_weak for each in given)
