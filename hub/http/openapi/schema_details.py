"""Details of JSON Schema that generators of clients need and msgspec leaves out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

_FORMATS: Final = {"number": "double", "integer": "int64"}
_VALUES: Final = frozenset({"default", "enum", "const", "example", "examples"})


def add_details(node: Any) -> Any:
    """Return a part of an OpenAPI document, completed in three ways.

    Each number has a format, because Go's generator otherwise makes it 32 bits wide. Each array has
    `items`. No field has the default null, which TypeScript's generators take for required.
    """
    if isinstance(node, list):
        return [add_details(each) for each in node]
    if not isinstance(node, Mapping):
        return node
    made = {
        key: value if key in _VALUES and not isinstance(value, Mapping) else add_details(value)
        for key, value in node.items()
        if not (key == "default" and value is None)
    }
    kind = made.get("type")
    if isinstance(kind, str) and kind in _FORMATS:
        made.setdefault("format", _FORMATS[kind])
    if kind == "array" and "prefixItems" not in made:
        made.setdefault("items", {})
    return made
