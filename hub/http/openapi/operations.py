"""One operation as an OpenAPI object: its parameters, bodies and responses."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from hub.api.problems import Problem
from hub.error_codes import ERROR_CODES
from hub.http.errors import PROBLEM_TYPE, ErrorFormat
from hub.http.openapi.event_schemas import event_content
from hub.http.routing import Operation, Parameter, ResponseSpec

ERROR_DESCRIPTIONS: Final = {
    400: "The request is malformed or breaks a rule. `path` names the invalid field.",
    401: "The token or API key is missing or invalid.",
    403: "The token or API key does not allow this.",
    404: "The resource does not exist.",
    408: "The body was not complete in time.",
    409: "The idempotency key belongs to another request, an answer of the chat has not ended, or "
    "the generation was stopped meanwhile.",
    412: "The request requires an entity tag that the resource does not have.",
    413: "The body is too large.",
    415: "The content type or the content coding is not supported.",
    416: "The resource has no parts.",
    422: "The upstream refused the request.",
    426: "This route requires WebSocket.",
    429: "A limit is reached. Try again after Retry-After.",
    500: "The hub could not handle the request. Its log has the reason.",
    502: "The upstream failed.",
    503: "The broker is unavailable or the node is draining. Try again after Retry-After.",
    504: "The upstream did not answer in time.",
}
_ERROR_HEADERS: Final = {
    401: {"WWW-Authenticate": "`Bearer`"},
    416: {"Accept-Ranges": "`none`"},
    426: {"Upgrade": "`websocket`"},
    429: {"Retry-After": "Seconds to wait"},
    503: {"Retry-After": "Seconds to wait"},
}
Schema = Callable[[Any], dict[str, Any]]
"""Returns the schema of a type."""


def operation_object(
    path: str,
    operation: Operation,
    handler: Callable[..., Any],
    schema: Schema,
    error_formats: Sequence[ErrorFormat],
) -> dict[str, Any]:
    """Build the operation object of a path.

    Raise ValueError for a path parameter that is not described.
    """
    parameters = [each for each in operation.parameters if each.applies_to(path)]
    undescribed = path.count("{") - sum(each.where == "path" for each in parameters)
    if undescribed:
        raise ValueError(f"{operation.method} {path}: describe the parameters in its path")
    described: dict[str, Any] = {
        "tags": [operation.tag],
        "summary": operation.summary,
        "description": one_line(handler.__doc__ or ""),
        "operationId": operation.id_for(path),
        "security": [
            {name: list(scopes) for name, scopes in each.items()}
            for each in operation.security or ()
        ],
        "parameters": [_parameter(each, schema) for each in parameters],
        "responses": {str(each.status): _response(each, schema) for each in operation.responses},
    }
    for status in operation.error_statuses():
        error = error_response(status, schema(Problem))
        form = next((each for each in error_formats if path.startswith(each.prefix)), None)
        if form is not None:
            error["content"] = {form.content_type: {"schema": schema(form.model)}}
        sent = status if form is None else form.status(status)
        _add_response(described["responses"], str(sent), error)
    if operation.streamed_by:
        described["x-streamed-by"] = operation.streamed_by
    if operation.body:
        content = {kind: _content(model, schema) for kind, model in operation.body.items()}
        described["requestBody"] = {"required": True, "content": content}
    return described


def one_line(docstring: str) -> str:
    """Return the docstring on one line."""
    return " ".join(inspect.cleandoc(docstring).split())


def _parameter(parameter: Parameter, schema: Schema) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "in": parameter.where,
        "required": parameter.required or parameter.where == "path",
        "description": parameter.description,
        "schema": schema(parameter.model),
    }


def _response(response: ResponseSpec, schema: Schema) -> dict[str, Any]:
    described: dict[str, Any] = {"description": response.description}
    if response.headers:
        described["headers"] = _headers(response.headers)
    content = {kind: _content(model, schema) for kind, model in response.content.items()}
    if response.events:
        content |= event_content(response.events)
    if content:
        described["content"] = content
    return described


def _content(model: Any, schema: Schema) -> dict[str, Any]:
    return {"schema": {"type": "string"} if model is None else schema(model)}


def error_response(status: int, problem: dict[str, Any]) -> dict[str, Any]:
    """Build the response object of an error. problem: the schema of the problem document."""
    described = {
        "description": f"{ERROR_DESCRIPTIONS[status]} {_codes(status)}".rstrip(),
        "content": {PROBLEM_TYPE: {"schema": problem}},
    }
    if status in _ERROR_HEADERS:
        described["headers"] = _headers(_ERROR_HEADERS[status])
    return described


def _codes(status: int) -> str:
    """List the codes of a status, for the members `code` and `type` of the document."""
    names = ", ".join(f"`{code.name}`" for code in ERROR_CODES.values() if code.status == status)
    return f"`code` is one of: {names}." if names else ""


def _headers(descriptions: Mapping[str, str]) -> dict[str, Any]:
    return {
        name: {"description": text, "schema": {"type": "string"}}
        for name, text in descriptions.items()
    }


def _add_response(responses: dict[str, Any], status: str, response: dict[str, Any]) -> None:
    """Add a response; if the status has one already, merge their content types and schemas."""
    existing = responses.setdefault(status, response)
    content = dict(existing.get("content", {}))
    for kind, media_type in response.get("content", {}).items():
        if content.setdefault(kind, media_type) != media_type:
            content[kind] = {"schema": {"anyOf": [content[kind]["schema"], media_type["schema"]]}}
    if content:
        responses[status] = {**response, **existing, "content": content}
