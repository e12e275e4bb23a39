"""One operation as OpenAPI has it: its parameters, bodies and answers."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from hub.http.errors import OPENAI_PATHS, Problem
from hub.http.routing import Operation, Parameter, ResponseSpec

_PROBLEM_TYPE: Final = "application/problem+json"
_SERVERS: Final = {
    "public": "http://127.0.0.1:8080",
    "internal": "http://127.0.0.1:8081",
    "worker": "http://127.0.0.1:8082",
}


class OpenAIErrorBody(msgspec.Struct, frozen=True):
    """param: of the bad field, where there is one."""

    message: str
    type: str
    param: str | None
    code: str | None


class OpenAIError(msgspec.Struct, frozen=True):
    """What was wrong, as OpenAI's clients read it: on all routes under /v1."""

    error: OpenAIErrorBody


REFUSALS: Final = {
    400: "Malformed, or breaks a named rule; `path` names the field",
    401: "No token or key, or one that is not good",
    403: "Not this one's: another user's, or a scope or topic is missing",
    404: "There is none",
    408: "The body was not whole in time",
    409: "Stopped meanwhile",
    413: "Too large",
    415: "Of another Content-Type",
    426: "This route speaks WebSocket",
    429: "Too many; try again after Retry-After",
    502: "The upstream has failed",
    504: "The upstream took too long",
    503: "Something is away or draining; try again after Retry-After",
}
_REFUSAL_HEADERS: Final = {
    401: {"WWW-Authenticate": "`Bearer`"},
    426: {"Upgrade": "`websocket`"},
    429: {"Retry-After": "Seconds"},
    503: {"Retry-After": "Seconds"},
}
Shape = Callable[[Any], dict[str, Any]]
"""The schema of a type."""


def operation_object(
    listener: str, path: str, said: Operation, handler: Callable[..., Any], shape: Shape
) -> dict[str, Any]:
    """The operation of a listener's path. Raises ValueError for a path parameter that is not
    described.
    """
    parameters = [each for each in said.parameters if each.stands_in(path)]
    undescribed = path.count("{") - sum(each.where == "path" for each in parameters)
    if undescribed:
        raise ValueError(f"{said.method} {path}: describe the parameters in its path")
    operation: dict[str, Any] = {
        "tags": [listener, said.tag],
        "summary": said.summary,
        "description": one_line(handler.__doc__ or ""),
        "operationId": _operation_id(said.method, path),
        "servers": servers(listener),
        "security": [
            {name: list(scopes) for name, scopes in each.items()} for each in said.security or ()
        ],
        "parameters": [_parameter(each, shape) for each in parameters],
        "responses": {str(each.status): _answer(each, shape) for each in said.responses},
    }
    for status in said.refused():
        refused = refusal(status, shape(Problem))
        if path.startswith(OPENAI_PATHS):
            refused["content"] = {"application/json": {"schema": shape(OpenAIError)}}
        _add_answer(operation["responses"], str(status), refused)
    if said.body:
        content = {kind: _content(model, shape) for kind, model in said.body.items()}
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def one_line(docstring: str) -> str:
    """On one line."""
    return " ".join(inspect.cleandoc(docstring).split())


def _parameter(said: Parameter, shape: Shape) -> dict[str, Any]:
    return {
        "name": said.name,
        "in": said.where,
        "required": said.required or said.where == "path",
        "description": said.description,
        "schema": shape(said.model),
    }


def _answer(said: ResponseSpec, shape: Shape) -> dict[str, Any]:
    described: dict[str, Any] = {"description": said.description}
    if said.headers:
        described["headers"] = _headers(said.headers)
    if said.content:
        described["content"] = {kind: _content(m, shape) for kind, m in said.content.items()}
    if said.events:
        events = {name: shape(model) for name, model in said.events.items()}
        described["content"]["text/event-stream"]["x-event-data"] = events
    return described


def _content(model: Any, shape: Shape) -> dict[str, Any]:
    return {"schema": {"type": "string"} if model is None else shape(model)}


def refusal(status: int, problem: dict[str, Any]) -> dict[str, Any]:
    """The answer of a status that is a problem document."""
    described = {
        "description": REFUSALS[status],
        "content": {_PROBLEM_TYPE: {"schema": problem}},
    }
    if status in _REFUSAL_HEADERS:
        described["headers"] = _headers(_REFUSAL_HEADERS[status])
    return described


def _headers(said: Mapping[str, str]) -> dict[str, Any]:
    return {
        name: {"description": text, "schema": {"type": "string"}} for name, text in said.items()
    }


def servers(*listeners: str) -> list[dict[str, Any]]:
    """Where listeners are by default; of all of them, when none is named."""
    return [{"url": _SERVERS[name], "description": name} for name in listeners or _SERVERS]


def _operation_id(method: str, path: str) -> str:
    words = "".join(c if c.isalnum() else " " for c in path).split()
    return "_".join([method.lower(), *words])


def merge_operations(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Two listeners' operation on the same path: an answer is either one's."""
    responses = dict(one["responses"])
    for status, answer in other["responses"].items():
        _add_answer(responses, status, answer)
    tags = list(dict.fromkeys([*one["tags"], *other["tags"]]))
    return {
        **one,
        "tags": tags,
        "servers": [*one["servers"], *other["servers"]],
        "responses": responses,
    }


def _add_answer(responses: dict[str, Any], status: str, answer: dict[str, Any]) -> None:
    """Beside what there is of the same status: another content type, or one of two schemas."""
    there = responses.setdefault(status, answer)
    content = dict(there.get("content", {}))
    for kind, more in answer.get("content", {}).items():
        if content.setdefault(kind, more) != more:
            content[kind] = {"schema": {"anyOf": [content[kind]["schema"], more["schema"]]}}
    if content:
        responses[status] = {**answer, **there, "content": content}
