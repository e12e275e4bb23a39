"""The operations that the OpenAPI documents describe, for tests that ask each of them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

from hub.wiring.route_table import build_openapi

document = cache(build_openapi)
"""The document of a listener. Do not change it."""


def described_operations(listener: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield the method, path and operation object of each operation of a listener."""
    for path, operations in document(listener)["paths"].items():
        for method, operation in operations.items():
            yield method.upper(), path, operation


def resolve(listener: str, schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema that a reference means, or the schema itself."""
    while "$ref" in schema:
        schema = document(listener)["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return schema
