"""Checks a value against a JSON Schema: https://json-schema.org/draft/2020-12.

A schema names its draft with `$schema`; without it, it is 2020-12. It may refer only to itself:
nothing is fetched. Patterns are matched in linear time, so look-around and back-references are not
allowed in them. `jsonschema_rs` is imported when the first schema is checked, because most
processes never check one.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

_MAX_MESSAGE_CHARS = 500  # of a message, which may contain the value


class InvalidSchema(ValueError):
    """The schema is none. The message says why."""


class InvalidValue(ValueError):
    """The value does not match. path: the place in the value, such as `amount` or `items[0]`."""

    def __init__(self, message: str, path: str) -> None:
        super().__init__(message)
        self.path = path


def check_schema(schema: Any) -> None:
    """Raise InvalidSchema unless this is a JSON Schema that refers only to itself."""
    _build_validator(schema)


def check_value(schema: Any, value: Any) -> None:
    """Raise InvalidValue with the first mismatch. Raise InvalidSchema."""
    error = next(_build_validator(schema).iter_errors(value), None)
    if error is not None:
        raise InvalidValue(error.message[:_MAX_MESSAGE_CHARS], _format_path(error.instance_path))


def _build_validator(schema: Any) -> Any:
    if not isinstance(schema, dict | bool):
        raise InvalidSchema("a schema is an object, true or false")
    for reference in _references(schema):
        if not reference.startswith("#"):
            raise InvalidSchema(f"{reference!r}: a schema may refer only to itself, with # first")
    library = importlib.import_module("jsonschema_rs")
    try:
        return library.validator_for(schema, pattern_options=library.RegexOptions(), offline=True)
    except (library.ValidationError, library.ReferencingError) as error:
        message = getattr(error, "message", str(error))
        raise InvalidSchema(message[:_MAX_MESSAGE_CHARS]) from None


def _format_path(path: list[str | int]) -> str:
    names = (f"[{name}]" if isinstance(name, int) else f".{name}" for name in path)
    return "".join(names).removeprefix(".")


def _references(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        for name, value in schema.items():
            if name in ("$ref", "$dynamicRef", "$recursiveRef") and isinstance(value, str):
                yield value
            yield from _references(value)
    elif isinstance(schema, list):
        for each in schema:
            yield from _references(each)
