"""The OpenAPI 3.1 document of a listener, made from the operations of its routes.

Each listener has a document of its own, because a generated client calls one server. The document
uses only what common generators of clients understand; docs/clients/openapi.md names them, and
tests/openapi generates clients with them and uses these.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from hub import __version__
from hub.api.problems import Problem
from hub.http.errors import ErrorFormat
from hub.http.openapi.alternatives import ALTERNATIVES
from hub.http.openapi.event_schemas import line_models, line_schemas
from hub.http.openapi.operations import (
    ERROR_DESCRIPTIONS,
    error_response,
    one_line,
    operation_object,
)
from hub.http.openapi.schema_details import (
    add_details,
    complete_response,
    find_references,
    let_null_mean_absent,
)
from hub.http.routing import EventSet, Operation, find_operations

_PATTERN: Final = re.compile(r":[^}]*}")  # `{name:.+}` is aiohttp's syntax
_REF: Final = "#/components/schemas/{name}"
_SERVERS: Final = {
    "public": "http://127.0.0.1:8080",
    "internal": "http://127.0.0.1:8081",
    "worker": "http://127.0.0.1:8082",
}
_DESCRIPTIONS: Final = {
    "public": "Streams of events and LLM answers, for browsers and apps.",
    "internal": "Publishing and operation, for backends. Never expose this listener.",
    "worker": "The probes and metrics of a worker.",
}
_SECURITY: Final[dict[str, Any]] = {
    "token": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "A user's token. The hub also accepts it in the header `x-api-key`, as "
        "the cookie `hub_token` and as `?access_token=`, and streams of a user accept `?ticket=` "
        "of POST /tickets.",
    },
    "apiKey": {"type": "http", "scheme": "bearer", "description": "An API key of a backend."},
}


class _ServedOperation(NamedTuple):
    path: str
    operation: Operation
    handler: Callable[..., Any]


def build_document(
    listener: str, resources: Iterable[type], error_formats: Sequence[ErrorFormat] = ()
) -> dict[str, Any]:
    """Build the document of a listener.

    listener: `public`, `internal` or `worker`. resources: the resources that it serves.
    error_formats: the forms of errors that are not problem documents.
    Raise ValueError for a path parameter that is not described.
    """
    served = [
        _ServedOperation(path, operation, handler)
        for resource in resources
        for operation, handler in find_operations(resource)
        for path in operation.paths
    ]
    event_sets = _event_sets(served)
    by_model, components = _schemas(served, event_sets, error_formats)

    def schema(model: Any) -> dict[str, Any]:
        return by_model[repr(model)]

    paths: dict[str, Any] = {}
    for path, operation, handler in served:
        described = operation_object(path, operation, handler, schema, error_formats)
        paths.setdefault(_PATTERN.sub("}", path), {})[operation.method.lower()] = described
    errors = {str(status): error_response(status, schema(Problem)) for status in ERROR_DESCRIPTIONS}
    _hoist_responses(paths, errors)
    schemes = {name for each in served for one in each.operation.security or () for name in one}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": f"Hub {listener} API",
            "version": __version__,
            "description": f"{_DESCRIPTIONS[listener]} docs/reference/http.md describes the same "
            "routes in prose, and docs/clients/openapi.md how to generate a client.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": _SERVERS[listener]}],
        "tags": [{"name": name} for name in dict.fromkeys(each.operation.tag for each in served)],
        "paths": add_details(paths),
        "components": {
            "schemas": add_details(components),
            "responses": errors,
            "securitySchemes": {k: v for k, v in _SECURITY.items() if k in schemes},
        },
    }


def _schemas(
    served: Sequence[_ServedOperation],
    event_sets: Sequence[EventSet],
    error_formats: Sequence[ErrorFormat],
) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Return the schemas of all models by their repr (some are not hashable), and components."""
    models: list[Any] = [Problem]
    if any(each.path.startswith(form.prefix) for each in served for form in error_formats):
        models += [each.model for each in error_formats]
    for events in event_sets:
        models += [*events.data.values(), *line_models(events)]
    bodies = [model for each in served for model in each.operation.body.values() if model]
    models += [*bodies, *(model for each in served for model in _models(each.operation))]
    if any(each.operation.id == "publishEvent" for each in served):
        models += [model for models in ALTERNATIVES.values() for model in models]
    schemas, components = msgspec.json.schema_components(models, ref_template=_REF)
    by_model = dict(zip(map(repr, models), schemas, strict=True))
    for described, alternatives in ALTERNATIVES.items():
        if (whole := components.get(described.__name__)) is not None:
            kept = {name: whole[name] for name in ("title", "description")}
            one_of = [by_model[repr(model)] for model in alternatives]
            components[described.__name__] = {**kept, "oneOf": one_of}
    for events in event_sets:
        components |= line_schemas(events)
    for component in components.values():
        component["description"] = one_line(component.get("description", ""))
    requested = find_references([by_model[repr(model)] for model in bodies], components)
    for name, component in components.items():
        if name in requested:
            let_null_mean_absent(component)
        else:
            complete_response(component)
    return by_model, components


def _models(operation: Operation) -> Iterable[Any]:
    yield from (each.model for each in operation.parameters)
    for response in operation.responses:
        yield from (model for model in response.content.values() if model is not None)


def _event_sets(served: Sequence[_ServedOperation]) -> list[EventSet]:
    sets = [response.events for each in served for response in each.operation.responses]
    return list({each.name: each for each in sets if each is not None}.values())


def _hoist_responses(paths: Mapping[str, Any], errors: Mapping[str, Any]) -> None:
    """Replace the error responses that many operations share by a reference."""
    for operations in paths.values():
        for operation in operations.values():
            for status, response in operation["responses"].items():
                if response == errors.get(status):
                    operation["responses"][status] = {"$ref": f"#/components/responses/{status}"}
