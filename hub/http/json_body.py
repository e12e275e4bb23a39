"""JSON in and out: bodies as wire models, and what is wrong with them in one sentence."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Any, Final, TypeVar

import msgspec
from aiohttp import web

from hub.errors import BadRequest, RequestTimeout, TooLarge, UnsupportedMedia

_BODY_SECONDS: Final = 30.0
_PATH = re.compile(r"^(?P<what>.*) - at `\$\.?(?P<path>.*)`$", re.DOTALL)
_UNKNOWN = re.compile(r"unknown field `(?P<field>[^`]*)`")

T = TypeVar("T")


async def read_json(
    request: web.Request, model: type[T], *, max_bytes: int, also_text: bool = False
) -> T:
    """The body as a wire model. Raises BadRequest that names the field, 413 or 415. also_text: for
    clients that name no type, whose JSON browsers call text.
    """
    if request.content_type != "application/json" and not (
        also_text and request.content_type in ("text/plain", "application/octet-stream")
    ):
        raise UnsupportedMedia("send Content-Type: application/json")
    if request.content_length is not None and request.content_length > max_bytes:
        raise TooLarge(
            f"the body has {request.content_length} bytes; at most {max_bytes} are taken"
        )
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            body = await request.read()
    except TimeoutError as error:
        raise RequestTimeout(f"the body was not whole within {_BODY_SECONDS:g} s") from error
    except web.HTTPRequestEntityTooLarge as error:
        raise TooLarge(f"the body is larger than {max_bytes} bytes") from error
    return decode_json(body, model)


def decode_json(body: bytes, model: type[T]) -> T:
    """JSON text as a wire model. Raises BadRequest that names the field."""
    try:
        body.decode()  # msgspec takes raw fields as they come
        return msgspec.json.decode(body, type=model)
    except msgspec.ValidationError as error:
        raise _bad_field(str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(f"the body is not JSON: {error}") from error


def convert_json(value: Any, model: type[T]) -> T:
    """Decoded JSON as a wire model. Raises BadRequest that names the field."""
    try:
        return msgspec.convert(value, model)
    except msgspec.ValidationError as error:
        raise _bad_field(str(error)) from error


def _bad_field(text: str) -> BadRequest:
    """msgspec says `Expected `str`, got `int` - at `$.to.user``; a problem names the path apart."""
    match = _PATH.match(text)
    what, path = (match["what"], match["path"]) if match else (text, "")
    unknown = _UNKNOWN.search(what)
    if unknown:
        path = f"{path}.{unknown['field']}" if path else unknown["field"]
        what = f"there is no field {path!r} here"
    elif path:
        what = f"{path}: {what[0].lower()}{what[1:]}"
    return BadRequest(what, path=path or None)


def json_response(
    value: Any, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    """A JSON answer that no cache keeps."""
    return web.Response(
        status=status,
        body=msgspec.json.encode(value),
        headers={"Cache-Control": "no-store", **(headers or {})},
        content_type="application/json",
    )
