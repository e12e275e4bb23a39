"""JSON request and response bodies of aiohttp's requests."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final, TypeVar

import msgspec
from aiohttp import StreamReader, hdrs, web

from hub.api.json_decoding import decode_json
from hub.error_codes import BODY_TOO_LARGE, REQUEST_TIMEOUT, UNSUPPORTED_MEDIA_TYPE
from hub.errors import RequestTimeout, TooLarge, UnsupportedMedia
from hub.http.body_coding import describe_fault

_BODY_TIMEOUT_SECONDS: Final = 30.0
_JSON: Final = "application/json"
_TEXT: Final = ("text/plain", "application/octet-stream")

T = TypeVar("T")


async def read_json(
    request: web.Request, model: type[T], *, max_bytes: int, allow_text: bool = False
) -> T:
    """Read and decode the body; otherwise as read_json_text.

    Raise BadRequest that names the field, too.
    """
    return decode_json(
        await read_json_text(request, max_bytes=max_bytes, allow_text=allow_text), model
    )


async def read_json_text(
    request: web.Request, *, max_bytes: int, allow_text: bool = False
) -> bytes:
    """Read the body, without decoding it.

    allow_text: also accept the content types that a client sends if it sets none: text/plain
    (browsers) and application/octet-stream.
    Raise BadRequest, RequestTimeout, TooLarge, UnsupportedMedia.
    """
    is_json = (
        request.headers.get(hdrs.CONTENT_TYPE) == _JSON  # the usual case is not parsed
        or request.content_type == _JSON
        or (allow_text and request.content_type in _TEXT)
    )
    if not is_json:
        raise UnsupportedMedia("send Content-Type: application/json", code=UNSUPPORTED_MEDIA_TYPE)
    size, content = request.content_length, request.content
    if size is not None and size > max_bytes:
        raise TooLarge(
            f"the body has {size} bytes; the maximum is {max_bytes} bytes", code=BODY_TOO_LARGE
        )
    try:
        if size is not None and type(content) is StreamReader and _is_whole(content):
            # The usual case: the body came with the headers. Its end has resumed the socket, so
            # there is nothing else to do than to take it.
            return b"".join(content._buffer)
        if content.is_eof():
            return await request.read()
        async with asyncio.timeout(_BODY_TIMEOUT_SECONDS):
            return await request.read()
    except TimeoutError as error:
        raise RequestTimeout(
            f"the body was not complete within {_BODY_TIMEOUT_SECONDS:g} seconds",
            code=REQUEST_TIMEOUT,
        ) from error
    except web.RequestPayloadError as error:
        raise describe_fault() from error
    except web.HTTPRequestEntityTooLarge as error:
        raise TooLarge(f"the body is larger than {max_bytes} bytes", code=BODY_TOO_LARGE) from error


def _is_whole(content: StreamReader) -> bool:
    return content._eof and content._exception is None


def json_response(
    value: Any, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    """Return a JSON response that no cache may store."""
    return web.Response(
        status=status,
        body=msgspec.json.encode(value),
        headers={"Cache-Control": "no-store", **(headers or {})},
        content_type=_JSON,
    )
