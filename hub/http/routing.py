"""What a route takes and answers, said once, at its handler.

`@Operation("POST", "/publish", …)` stands on the handler of a resource. The route follows from it
(`routes_of`), and so does its description (openapi.py), so that neither is there without the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, Literal, TypeVar

import msgspec
from aiohttp import web

_MARK: Final = "__operation__"
_JSON: Final = "application/json"

Security = Sequence[Mapping[str, Sequence[str]]]
USER: Final[Security] = ({"token": ()}, {"tokenInQuery": ()}, {"tokenInCookie": ()})
"""A user's token, in one of three places."""
STREAM_USER: Final[Security] = (*USER, {"ticket": ()})
"""The same, or a ticket: for streams."""

H = TypeVar("H", bound=Callable[..., Any])


def key(scope: str) -> Security:
    """An API key that has the scope."""
    return ({"apiKey": (scope,)},)


class Parameter(msgspec.Struct, frozen=True):
    """model: its type, as msgspec knows types (`Annotated[int, Meta(ge=1)]`). instead_of: the path
    parameter that says the same on those paths that have it.
    """

    where: Literal["path", "query", "header"]
    name: str
    model: Any
    description: str
    required: bool = False
    instead_of: str | None = None

    def stands_in(self, path: str) -> bool:
        """Whether requests to the path have it."""
        if self.where == "path":
            return f"{{{self.name}}}" in path or f"{{{self.name}:" in path
        return self.instead_of is None or f"{{{self.instead_of}}}" not in path


class ResponseSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One way in which a route answers; what is refused is said by `Operation.refuses`.

    content: each content type and the type of its JSON, or None where it is not JSON. events: the
    types of the events' data by their names, where the answer is a stream of them. headers: the
    headers of note, and what they say.
    """

    status: int
    description: str
    content: Mapping[str, Any] = {}
    events: Mapping[str, Any] = {}
    headers: Mapping[str, str] = {}


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """A handler's route, and what is to be said of it beside the handler's docstring.

    paths: more than one where the same handler serves several; a path parameter is described for
    those that have it. security: None where everybody may. body: content types and the type of
    their JSON (None: no JSON). refuses: statuses beyond those that follow from the rest.
    long_lived: the answer may take long or never end; there is no HEAD then.
    """

    method: Literal["GET", "POST", "DELETE"]
    paths: Sequence[str]
    tag: str
    summary: str
    security: Security | None = None
    parameters: Sequence[Parameter] = ()
    body: Mapping[str, Any] = {}
    responses: Sequence[ResponseSpec]
    refuses: Sequence[int] = ()
    long_lived: bool = False

    def __call__(self, handler: H) -> H:
        """The handler, marked."""
        setattr(handler, _MARK, self)
        return handler

    def refused(self) -> list[int]:
        """The statuses of the problems that it may answer with, in order."""
        found = set(self.refuses)
        if self.security is not None:
            found |= {401, 403, 503}  # who somebody is, and all that follows, may need the broker
        if self.parameters or self.body:
            found.add(400)
        if self.body:
            found |= {408, 413, 415}
        return sorted(found)


def json(status: int, model: Any, description: str, **more: Any) -> ResponseSpec:
    """An answer in JSON."""
    return ResponseSpec(status=status, description=description, content={_JSON: model}, **more)


def json_body(model: Any) -> Mapping[str, Any]:
    """A body in JSON."""
    return {_JSON: model}


def find_operations(resource: type) -> Iterator[tuple[Operation, Callable[..., Any]]]:
    """The operations of a resource's handlers, in their order."""
    for handler in vars(resource).values():
        if isinstance(said := getattr(handler, _MARK, None), Operation):
            yield said, handler


def build_routes(resource: object) -> list[web.RouteDef]:
    """The routes of a resource."""
    found = []
    for said, handler in find_operations(type(resource)):
        bound = getattr(resource, handler.__name__)
        options: dict[str, Any] = (
            {"allow_head": not said.long_lived} if said.method == "GET" else {}
        )
        found += [web.RouteDef(said.method, path, bound, options) for path in said.paths]
    return found
