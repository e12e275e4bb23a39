"""GET /openapi.json: OpenAPI 3.1 of every route, made from the operations and the wire models.

One document for all listeners, so that one address tells everything: each operation names the
`servers` that serve it, and has its listener's tag. Where two listeners serve the same path (the
probes of node and worker), an answer is either one's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import msgspec
from aiohttp import web

from hub import __version__
from hub.core.system_events import SYSTEM_EVENTS
from hub.http.errors import Problem
from hub.http.openapi.operations import (
    REFUSALS,
    OpenAIError,
    merge_operations,
    one_line,
    operation_object,
    refusal,
    servers,
)
from hub.http.routing import Operation, build_routes, find_operations, json

_PATTERN: Final = re.compile(r":[^}]*}")  # `{name:.+}` is aiohttp's
_REF: Final = "#/components/schemas/{name}"
_SECURITY: Final[dict[str, Any]] = {
    "token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
    "tokenInQuery": {"type": "apiKey", "in": "query", "name": "access_token"},
    "tokenInCookie": {"type": "apiKey", "in": "cookie", "name": "hub_token"},
    "ticket": {"type": "apiKey", "in": "query", "name": "ticket"},
    "apiKey": {"type": "http", "scheme": "bearer"},
}


def build_document(listeners: Mapping[str, Iterable[type]]) -> dict[str, Any]:
    """The document of the resources that each listener (`public`, `internal`, `worker`) serves.

    Raises ValueError for a path parameter that is not described.
    """
    told = [
        (listener, path, said, handler)
        for listener, resources in listeners.items()
        for resource in resources
        for said, handler in find_operations(resource)
        for path in said.paths
    ]
    models = [Problem, OpenAIError, *SYSTEM_EVENTS.values()]
    for _, _, said, _ in told:
        models += _models(said)
    shapes, components = msgspec.json.schema_components(models, ref_template=_REF)
    for component in components.values():
        component["description"] = one_line(component.get("description", ""))
    by_model = dict(zip(map(repr, models), shapes, strict=True))  # not all can be hashed

    def shape(model: Any) -> dict[str, Any]:
        return by_model[repr(model)]

    paths: dict[str, Any] = {}
    for listener, path, said, handler in told:
        more = operation_object(listener, path, said, handler, shape)
        there = paths.setdefault(_PATTERN.sub("}", path), {})
        method = said.method.lower()
        there[method] = merge_operations(there[method], more) if method in there else more
    refusals = {str(status): refusal(status, shape(Problem)) for status in REFUSALS}
    _hoist_responses(paths, refusals)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "hub",
            "version": __version__,
            "description": "Pushes notifications and LLM answers, token by token, to people's "
            "screens. docs/http.md tells the same in words.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": servers(),
        "tags": [{"name": name} for name in _tags(told)],
        "paths": paths,
        "components": {
            "schemas": components,
            "responses": refusals,
            "securitySchemes": _SECURITY,
        },
    }


class OpenApiRoutes:
    """A route of the internal listener."""

    def __init__(self, make: Callable[[], dict[str, Any]]) -> None:
        self._make = make
        self._body = b""

    def routes(self) -> list[web.RouteDef]:
        return build_routes(self)

    @Operation(
        method="GET",
        paths=["/openapi.json"],
        tag="operation",
        summary="This document",
        responses=[json(200, dict[str, Any], "OpenAPI 3.1")],
    )
    async def document(self, request: web.Request) -> web.Response:
        """All routes of all listeners; it needs no key."""
        self._body = self._body or msgspec.json.encode(self._make())
        return web.Response(body=self._body, content_type="application/json")


def _models(said: Operation) -> Iterable[Any]:
    found = [each.model for each in said.parameters]
    contents = [said.body, *(each.content for each in said.responses)]
    found += [model for content in contents for model in content.values() if model is not None]
    return found


def _hoist_responses(paths: Mapping[str, Any], refusals: Mapping[str, Any]) -> None:
    """What is refused alike everywhere is said once."""
    for operations in paths.values():
        for operation in operations.values():
            for status, answer in operation["responses"].items():
                if answer == refusals.get(status):
                    operation["responses"][status] = {"$ref": f"#/components/responses/{status}"}


def _tags(told: Iterable[tuple[str, str, Operation, Any]]) -> list[str]:
    told = list(told)
    listeners = dict.fromkeys(listener for listener, *_ in told)
    return [*listeners, *dict.fromkeys(said.tag for _, _, said, _ in told)]
