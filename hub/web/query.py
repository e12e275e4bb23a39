"""Numbers and wishes in a request's query, read alike by all routes."""

from __future__ import annotations

import math
import re
from typing import Final

from aiohttp import web

from hub.errors import BadRequest

MOST_LISTED: Final = 1000
_LISTED: Final = 100
_WHOLE: Final = re.compile(r"-?[0-9]{1,15}")


def is_wished(request: web.Request, name: str) -> bool:
    """`?name=true`, or 1."""
    return request.query.get(name, "").lower() in ("true", "1")


def whole_number(request: web.Request, name: str) -> int | None:
    """Also below 0; None where it is not said. Raises BadRequest."""
    text = request.query.get(name)
    if text is None:
        return None
    if not _WHOLE.fullmatch(text):
        raise BadRequest(f"{name} is a whole number", path=name)
    return int(text)


def count_of(request: web.Request, name: str, *, default: int, most: int) -> int:
    """From 1 on. Raises BadRequest."""
    text = request.query.get(name, str(default))
    if not (_WHOLE.fullmatch(text) and 1 <= int(text) <= most):
        raise BadRequest(f"{name} is 1 to {most}", path=name)
    return int(text)


def limit_of(request: web.Request) -> int:
    """`?limit=`. Raises BadRequest."""
    return count_of(request, "limit", default=_LISTED, most=MOST_LISTED)


def seconds_of(request: web.Request, name: str, *, default: float, most: float) -> float:
    """From 0 on. Raises BadRequest."""
    try:
        seconds = float(request.query.get(name, default))
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds <= most:  # which holds for no nan
        raise BadRequest(f"{name} is 0 to {most:.0f} seconds", path=name)
    return seconds
