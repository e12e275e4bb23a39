"""Fields that hold JSON text."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from hub.errors import BadRequest

T = TypeVar("T")


def json_field(text: str, model: type[T], path: str) -> T | None:
    """Its value; None when it is empty. Raises BadRequest that names the field."""
    if not text:
        return None
    try:
        return msgspec.json.decode(text, type=model)
    except (msgspec.DecodeError, RecursionError) as error:
        what = str(error)
        raise BadRequest(f"{path}: {what[0].lower()}{what[1:]}", path=path) from error
