"""GET /openapi.json: the OpenAPI 3.1 document of every route.

There is one document for all listeners. Each operation names the `servers` that serve it and has
its listener's tag. If two listeners serve the same path (the probes of nodes and workers), the
operation has the responses of both.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec
from aiohttp import web

from hub import __version__
from hub.api.problems import Problem
from hub.core.system_events import SYSTEM_EVENTS
from hub.http.errors import ErrorFormat
from hub.http.openapi.operations import (
    ERROR_DESCRIPTIONS,
    error_response,
    merge_operations,
    one_line,
    operation_object,
    servers,
)
from hub.http.openapi.schema_details import add_details
from hub.http.routing import Operation, build_routes, find_operations, json

_PATTERN: Final = re.compile(r":[^}]*}")  # `{name:.+}` is aiohttp's syntax
_REF: Final = "#/components/schemas/{name}"
_SECURITY: Final[dict[str, Any]] = {
    "token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
    "tokenInQuery": {"type": "apiKey", "in": "query", "name": "access_token"},
    "tokenInCookie": {"type": "apiKey", "in": "cookie", "name": "hub_token"},
    "ticket": {"type": "apiKey", "in": "query", "name": "ticket"},
    "apiKey": {"type": "http", "scheme": "bearer"},
}


class _ServedOperation(NamedTuple):
    listener: str
    path: str
    operation: Operation
    handler: Callable[..., Any]


def build_document(
    listeners: Mapping[str, Iterable[type]], error_formats: Sequence[ErrorFormat] = ()
) -> dict[str, Any]:
    """Build the document.

    listeners: the resources that each listener (`public`, `internal`, `worker`) serves.
    error_formats: the forms of errors that are not problem documents.
    Raise ValueError for a path parameter that is not described.
    """
    served = [
        _ServedOperation(listener, path, operation, handler)
        for listener, resources in listeners.items()
        for resource in resources
        for operation, handler in find_operations(resource)
        for path in operation.paths
    ]
    models = [Problem, *(each.model for each in error_formats), *SYSTEM_EVENTS.values()]
    for each in served:
        models += _models(each.operation)
    schemas, components = msgspec.json.schema_components(models, ref_template=_REF)
    for component in components.values():
        component["description"] = one_line(component.get("description", ""))
    by_model = dict(zip(map(repr, models), schemas, strict=True))  # some types are not hashable

    def schema(model: Any) -> dict[str, Any]:
        return by_model[repr(model)]

    paths: dict[str, Any] = {}
    for listener, path, operation, handler in served:
        described = operation_object(listener, path, operation, handler, schema, error_formats)
        by_method = paths.setdefault(_PATTERN.sub("}", path), {})
        method = operation.method.lower()
        by_method[method] = (
            merge_operations(by_method[method], described) if method in by_method else described
        )
    errors = {str(status): error_response(status, schema(Problem)) for status in ERROR_DESCRIPTIONS}
    _hoist_responses(paths, errors)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "hub",
            "version": __version__,
            "description": "Pushes notifications and LLM answers, token by token, to people's "
            "screens. docs/reference/http.md describes the same routes in prose.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": servers(),
        "tags": [{"name": name} for name in _tags(served)],
        "paths": add_details(paths),
        "components": {
            "schemas": add_details(components),
            "responses": errors,
            "securitySchemes": _SECURITY,
        },
    }


class OpenApiRoutes:
    """The document's route on the internal listener. build: makes the document, once."""

    def __init__(self, build: Callable[[], dict[str, Any]]) -> None:
        self._build = build
        self._body = b""  # the encoded document, after the first request

    def routes(self) -> list[web.RouteDef]:
        return build_routes(self)

    @Operation(
        method="GET",
        paths=["/openapi.json"],
        tag="operation",
        summary="Get this document",
        responses=[json(200, dict[str, Any], "The OpenAPI 3.1 document.")],
    )
    async def document(self, request: web.Request) -> web.Response:
        """Returns the OpenAPI document of all routes of all listeners. It needs no API key."""
        self._body = self._body or msgspec.json.encode(self._build())
        return web.Response(body=self._body, content_type="application/json")


def _models(operation: Operation) -> Iterable[Any]:
    models = [each.model for each in operation.parameters]
    contents = [operation.body, *(each.content for each in operation.responses)]
    models += [model for content in contents for model in content.values() if model is not None]
    return models


def _hoist_responses(paths: Mapping[str, Any], errors: Mapping[str, Any]) -> None:
    """Replace the error responses that many operations share by a reference."""
    for operations in paths.values():
        for operation in operations.values():
            for status, response in operation["responses"].items():
                if response == errors.get(status):
                    operation["responses"][status] = {"$ref": f"#/components/responses/{status}"}


def _tags(served: Sequence[_ServedOperation]) -> list[str]:
    listeners = dict.fromkeys(each.listener for each in served)
    return [*listeners, *dict.fromkeys(each.operation.tag for each in served)]
