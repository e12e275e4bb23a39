"""The OpenAPI document: complete, consistent with the routes, and current in the repository."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from openapi_spec_validator import OpenAPIV31SpecValidator

from hub.api.api_keys import ApiKey, ApiKeys, hash_key
from hub.api.authentication import JwtAuthenticator
from hub.api.origins import AllowedOrigins
from hub.api.tokens import FixedKeys
from hub.api.verifying_keys import secret_key
from hub.core.system_events import SYSTEM_EVENTS
from hub.http.applications import build_worker
from hub.http.openapi.document import build_document
from hub.http.routing import Operation
from hub.wiring.route_table import LISTENERS, build_openapi
from tests.defaults import token_reader
from tests.http.kit import Hub, running_hub

REPOSITORY = Path(__file__).parents[2]
UPGRADE = {  # so that a WebSocket's route asks who it is, too
    "Upgrade": "websocket",
    "Connection": "upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "MDEyMzQ1Njc4OTAxMjM0NQ==",
}


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    """A node without authentication, which serves all routes."""
    async with running_hub() as hub:
        yield hub


def served_by(app: web.Application) -> set[tuple[str, str]]:
    """Return the methods and paths of an application, without the HEAD of a GET."""
    routes = [(r.method, r.resource.canonical) for r in app.router.routes() if r.resource]
    return {(m, p) for m, p in routes if m != "HEAD" or ("GET", p) not in routes}


def described_for(listener: str) -> set[tuple[str, str]]:
    """Return the methods and paths of a listener in the document."""
    return {
        (method.upper(), path)
        for path, operations in build_openapi()["paths"].items()
        for method, operation in operations.items()
        if listener in operation["tags"]
    }


def parts(node: Any) -> Iterator[dict[str, Any]]:
    """Yield each object of the document."""
    if isinstance(node, dict):
        yield node
        node = [*node.values()]
    if isinstance(node, list):
        for each in node:
            yield from parts(each)


def test_details_that_generators_need() -> None:
    """Numbers have a format, arrays have items, and no field has the default null."""
    for part in parts(build_openapi()):
        assert part.get("default", 0) is not None, part
        if part.get("type") in ("number", "integer"):
            assert part["format"] in ("double", "int64"), part
        if part.get("type") == "array":
            assert "items" in part or "prefixItems" in part, part


async def test_every_served_route_is_described_and_the_reverse(hub: Hub) -> None:
    """Each listener serves exactly its routes in the document.

    For a missing route, add an Operation to its handler; for a missing resource, a line in
    hub/wiring/route_table.py (CONTRIBUTING.md).
    """

    async def ping() -> None: ...

    worker = build_worker(ping, lambda: "running", lambda: b"")
    apps = {"public": hub.public, "internal": hub.internal, "worker": worker}
    assert {name: served_by(app) for name, app in apps.items()} == {
        name: described_for(name) for name in LISTENERS
    }


def operations_for(listener: str) -> list[tuple[str, str, dict[str, Any]]]:
    """Return the methods, paths with values for their parameters, and operations of a listener."""
    return [
        (method.upper(), re.sub(r"{\w+}", "x", path), operation)
        for path, operations in build_openapi()["paths"].items()
        for method, operation in operations.items()
        if listener in operation["tags"] and path != "/dev/publish"  # served where all are let in
    ]


async def test_who_may_is_as_described() -> None:
    """A route answers 401 without credentials exactly if it describes security, and 403 to a key
    with the wrong scope.
    """
    scopes = ("publish", "read", "admin")
    keys = ApiKeys([ApiKey(name, hash_key(name), frozenset({name})) for name in scopes])
    authenticator = JwtAuthenticator(
        token_reader([FixedKeys([secret_key("s" * 64)])]), AllowedOrigins([])
    )
    async with running_hub(authenticator, keys) as hub:
        for listener in ("public", "internal"):
            for method, path, described in operations_for(listener):
                internal = listener == "internal"
                async with hub.ask(method, path, internal=internal, headers=UPGRADE) as response:
                    assert (response.status == 401) is bool(described["security"]), (method, path)
        for method, path, described in operations_for("internal"):
            for scope in scopes if described["security"] else ():
                headers = {"Authorization": f"Bearer {scope}"}
                async with hub.ask(method, path, internal=True, headers=headers) as response:
                    is_allowed = described["security"] == [{"apiKey": [scope]}]
                    assert (response.status == 403) is not is_allowed, (method, path, scope)


def test_document_is_valid() -> None:
    """The document is valid by the OpenAPI Initiative's schema."""
    assert [error.message for error in OpenAPIV31SpecValidator(build_openapi()).iter_errors()] == []


def test_operations_have_ids_of_their_own() -> None:
    """Operation ids are unique, since generated clients use them as names."""
    ids = [
        operation["operationId"]
        for operations in build_openapi()["paths"].values()
        for operation in operations.values()
    ]
    assert len(ids) == len(set(ids)) > 20


def test_no_reference_leads_nowhere() -> None:
    """Every reference has a target, also in schemas written by hand."""
    text = json.dumps(build_openapi())
    named = set(re.findall(r'"#/components/schemas/([^"]+)"', text))
    assert named <= set(build_openapi()["components"]["schemas"])
    assert {"Problem", "HubOpen", "GenerationDelta", "PublishResponse"} <= named


def test_repository_has_the_document_of_this_code() -> None:
    """docs/openapi.json is the document of this code."""
    kept = json.loads((REPOSITORY / "docs" / "openapi.json").read_text())
    assert kept == build_openapi(), "docs/openapi.json is old: hub openapi > docs/openapi.json"


def test_every_own_event_is_in_the_words_too() -> None:
    """docs/reference/events.md names every system event."""
    words = (REPOSITORY / "docs" / "reference" / "events.md").read_text()
    assert [name for name in SYSTEM_EVENTS if f"`{name}`" not in words] == []


def test_every_route_is_in_the_words_too() -> None:
    """docs/reference/http.md names every route."""
    words = (REPOSITORY / "docs" / "reference" / "http.md").read_text()
    routes = [
        f"{method.upper()} {path}"
        for path, operations in build_openapi()["paths"].items()
        for method in operations
    ]
    assert [route for route in routes if f"`{route}`" not in words] == []


async def test_internal_listener_serves_the_document(hub: Hub) -> None:
    """The internal listener serves the document; the public one does not."""
    assert await hub.call("GET", "/openapi.json", internal=True) == (200, build_openapi())
    assert (await hub.call("GET", "/openapi.json"))[0] == 404


def test_parameter_in_a_path_must_be_described() -> None:
    """A path parameter without a description is an error that names the route."""

    class Resource:
        @Operation(method="GET", paths=["/a/{b}"], tag="t", summary="s", responses=[])
        async def handle(self) -> Any: ...

    with pytest.raises(ValueError, match=r"GET /a/\{b\}"):
        build_document({"public": [Resource]})
