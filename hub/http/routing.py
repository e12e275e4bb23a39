"""Routes and their description, declared together at the handler.

`@Operation(method="POST", paths=["/publish"], …)` marks a handler of a resource. The routes
(build_routes) and the OpenAPI document (hub/http/openapi) are both made from it, so neither exists
without the other.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, Literal, TypeVar

import msgspec
from aiohttp import web

_ATTRIBUTE: Final = "__operation__"
_JSON: Final = "application/json"
_PLAIN_PARAMETER: Final = re.compile(r"\{(\w+)\}")  # aiohttp would not let it contain braces

Security = Sequence[Mapping[str, Sequence[str]]]
USER: Final[Security] = ({"token": ()},)
"""A user's token. The query, a cookie and, for streams, a ticket are alternatives that the document
names in words: generated clients would send the token in all of these places at once.
"""

H = TypeVar("H", bound=Callable[..., Any])


def key(scope: str) -> Security:
    """Return the security requirement of an API key that has the scope."""
    return ({"apiKey": (scope,)},)


class Parameter(msgspec.Struct, frozen=True):
    """A parameter of an operation.

    model: its type, as msgspec knows types (`Annotated[int, Meta(ge=1)]`). instead_of: the path
    parameter that it replaces; paths with that path parameter do not have this one.
    """

    where: Literal["path", "query", "header"]
    name: str
    model: Any
    description: str
    required: bool = False
    instead_of: str | None = None

    def applies_to(self, path: str) -> bool:
        """Return whether requests to the path have this parameter."""
        if self.where == "path":
            return f"{{{self.name}}}" in path or f"{{{self.name}:" in path
        return self.instead_of is None or f"{{{self.instead_of}}}" not in path


class EventSet(msgspec.Struct, frozen=True, kw_only=True):
    """The events of a kind of stream.

    name: begins the names of its schemas. data: the type of the data by event name. has_published:
    whether the events of publishers are among them, whose names and data are their own.
    """

    name: str
    data: Mapping[str, type[msgspec.Struct]]
    has_published: bool = False


class ResponseSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One successful response of a route. Errors are listed in `Operation.refuses`.

    content: the type of the JSON by content type, or None for content that is not JSON. events: for
    a stream of events, which is sent as server-sent events or as lines of JSON. headers: header
    names and their descriptions.
    """

    status: int
    description: str
    content: Mapping[str, Any] = {}
    events: EventSet | None = None
    headers: Mapping[str, str] = {}


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """The route of a handler and its description. The handler's docstring completes it.

    id: the name of the function in generated clients, which stays the same forever. paths: several
    if the same handler serves them; a path parameter is described for those paths that have it.
    security: None if everybody may call it. body: the type of the JSON by content type (None for
    content that is not JSON). refuses: the error statuses that do not follow from the rest.
    long_lived: the response may take long or never end, so the route has no HEAD.
    streamed_by: the id of the operation that always streams what this one streams to a client that
    accepts a stream. Generated clients need one kind of response for each operation.
    """

    id: str
    method: Literal["GET", "POST", "PUT", "DELETE"]
    paths: Sequence[str]
    tag: str
    summary: str
    security: Security | None = None
    parameters: Sequence[Parameter] = ()
    body: Mapping[str, Any] = {}
    responses: Sequence[ResponseSpec]
    refuses: Sequence[int] = ()
    long_lived: bool = False
    streamed_by: str | None = None

    def id_for(self, path: str) -> str:
        """Return the id for one of the paths: a path that names the user has an id of its own."""
        names_user = len(self.paths) > 1 and "{user_id}" in path
        return f"{self.id}OfUser" if names_user else self.id

    def __call__(self, handler: H) -> H:
        """Mark the handler."""
        setattr(handler, _ATTRIBUTE, self)
        return handler

    def error_statuses(self) -> list[int]:
        """Return the statuses of all errors that the operation may answer, sorted.

        Among them are those of headers that no operation describes (unsupported_headers.py).
        """
        statuses = {*self.refuses, 412, 415, 416 if self.method == "GET" else 400, 500}
        if self.security is not None:
            statuses |= {401, 403, 503}  # authentication and what follows may need the broker
        if self.parameters or self.body:
            statuses.add(400)
        if self.body:
            statuses |= {408, 413}
        return sorted(statuses)


def json(status: int, model: Any, description: str, **fields: Any) -> ResponseSpec:
    """Describe a JSON response. fields: further fields of ResponseSpec."""
    return ResponseSpec(status=status, description=description, content={_JSON: model}, **fields)


def json_body(model: Any) -> Mapping[str, Any]:
    """Describe a JSON request body."""
    return {_JSON: model}


def operation_of(handler: object) -> Operation | None:
    """Return the operation that a handler serves, None for a handler without one."""
    operation = getattr(handler, _ATTRIBUTE, None)
    return operation if isinstance(operation, Operation) else None


def find_operations(resource: type) -> Iterator[tuple[Operation, Callable[..., Any]]]:
    """Yield the operations of a resource and their handlers, in the order of the class."""
    for handler in vars(resource).values():
        if (operation := operation_of(handler)) is not None:
            yield operation, handler


def build_routes(resource: object) -> list[web.RouteDef]:
    """Build the routes of a resource."""
    routes = []
    for operation, handler in find_operations(type(resource)):
        bound = getattr(resource, handler.__name__)
        options: dict[str, Any] = (
            {"allow_head": not operation.long_lived} if operation.method == "GET" else {}
        )
        routes += [
            web.RouteDef(
                operation.method, _PLAIN_PARAMETER.sub(r"{\1:[^/]+}", path), bound, options
            )
            for path in operation.paths
        ]
    return routes
