"""Checks a value against a JSON Schema: https://json-schema.org/draft/2020-12.

A schema names its draft with `$schema`; without it, it is 2020-12. It may refer only to itself:
nothing is fetched. `jsonschema` is imported when the first schema is checked, because it takes long
and most processes never check one.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any


class InvalidSchema(ValueError):
    """The schema is none. The message says why."""


class InvalidValue(ValueError):
    """The value does not match. path: the place in the value, such as `amount` or `items[0]`."""

    def __init__(self, message: str, path: str) -> None:
        super().__init__(message)
        self.path = path


def check_schema(schema: Any) -> None:
    """Raise InvalidSchema unless this is a JSON Schema that refers only to itself."""
    if not isinstance(schema, dict | bool):
        raise InvalidSchema("a schema is an object, true or false")
    try:
        type(_validator(schema)).check_schema(schema)
    except _library().SchemaError as error:
        raise InvalidSchema(error.message) from None
    for reference in _references(schema):
        if not reference.startswith("#"):
            raise InvalidSchema(f"{reference!r}: a schema may refer only to itself, with # first")


def check_value(schema: Any, value: Any) -> None:
    """Raise InvalidValue with the most important mismatch. Raise InvalidSchema."""
    try:
        error = _library().exceptions.best_match(_validator(schema).iter_errors(value))
    except _referencing().exceptions.Unresolvable as unresolvable:
        raise InvalidSchema(f"{unresolvable.ref!r} is not in the schema") from None
    if error is not None:
        path = error.json_path.removeprefix("$").removeprefix(".")
        raise InvalidValue(error.message[:500], path)


def _validator(schema: Any) -> Any:
    # With a registry of its own, a validator fetches nothing.
    validators = _library().validators
    kind = validators.validator_for(schema, default=validators.Draft202012Validator)
    return kind(schema, registry=_referencing().Registry())


def _references(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        for name, value in schema.items():
            if name in ("$ref", "$dynamicRef", "$recursiveRef") and isinstance(value, str):
                yield value
            yield from _references(value)
    elif isinstance(schema, list):
        for each in schema:
            yield from _references(each)


def _library() -> Any:
    return importlib.import_module("jsonschema")


def _referencing() -> Any:
    return importlib.import_module("referencing")
