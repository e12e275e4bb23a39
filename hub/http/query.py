"""Numbers and wishes in a request's query, read alike by all routes."""

from __future__ import annotations

import math
import re
from typing import Final

from aiohttp import web

from hub.errors import BadRequest

MAX_LISTED: Final = 1000
_LISTED: Final = 100
_WHOLE: Final = re.compile(r"-?[0-9]{1,15}")


def query_flag(request: web.Request, name: str) -> bool:
    """`?name=true`, or 1."""
    return request.query.get(name, "").lower() in ("true", "1")


def query_int(request: web.Request, name: str) -> int | None:
    """Also below 0; None where it is not said. Raises BadRequest."""
    text = request.query.get(name)
    if text is None:
        return None
    if not _WHOLE.fullmatch(text):
        raise BadRequest(f"{name} is a whole number", path=name)
    return int(text)


def query_count(request: web.Request, name: str, *, default: int, max_count: int) -> int:
    """From 1 on. Raises BadRequest."""
    text = request.query.get(name, str(default))
    if not (_WHOLE.fullmatch(text) and 1 <= int(text) <= max_count):
        raise BadRequest(f"{name} is 1 to {max_count}", path=name)
    return int(text)


def query_limit(request: web.Request) -> int:
    """`?limit=`. Raises BadRequest."""
    return query_count(request, "limit", default=_LISTED, max_count=MAX_LISTED)


def query_seconds(request: web.Request, name: str, *, default: float, max_seconds: float) -> float:
    """From 0 on. Raises BadRequest."""
    try:
        seconds = float(request.query.get(name, default))
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds <= max_seconds:  # which holds for no nan
        raise BadRequest(f"{name} is 0 to {max_seconds:.0f} seconds", path=name)
    return seconds
