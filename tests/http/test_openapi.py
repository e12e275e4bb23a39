"""The OpenAPI documents: complete, consistent with the routes, and current in the repository."""

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
from hub.wiring.route_table import LISTENERS
from tests.defaults import token_reader
from tests.described import described_operations, document, resolve
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


def parts(node: Any) -> Iterator[dict[str, Any]]:
    """Yield each object of the document."""
    if isinstance(node, dict):
        yield node
        node = [*node.values()]
    if isinstance(node, list):
        for each in node:
            yield from parts(each)


@pytest.mark.parametrize("listener", LISTENERS)
def test_details_that_generators_need(listener: str) -> None:
    """Numbers have a format, arrays have items, enumerations have a type, and no field has a
    default, which would make it required in TypeScript.
    """
    for part in parts(document(listener)):
        assert "default" not in part, part
        if part.get("type") in ("number", "integer"):
            assert part["format"] in ("double", "int64"), part
        if part.get("type") == "array":
            assert "items" in part or "prefixItems" in part, part
        if part.get("type") == "object":
            assert "properties" in part or "additionalProperties" in part, part
        if "enum" in part or "const" in part:
            assert "type" in part, part


@pytest.mark.parametrize("listener", LISTENERS)
def test_document_names_one_server(listener: str) -> None:
    """No operation has a server of its own, which generated clients would ignore."""
    (server,) = document(listener)["servers"]
    assert server["url"].startswith("http://127.0.0.1:808")
    assert [each for each in parts(document(listener)["paths"]) if "servers" in each] == []


def test_optional_fields_of_requests_can_be_null() -> None:
    """Null means absent for every optional field of a body, and the documents say so."""
    checked = 0
    for listener in LISTENERS:
        for _, _, operation in described_operations(listener):
            body = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
            schema = resolve(listener, body.get("schema", {}))
            for name, member in schema.get("properties", {}).items():
                if name not in schema["required"] and member:
                    checked += 1
                    assert {"type": "null"} in member.get("anyOf", [{"type": "null"}]), name
    assert checked > 50


async def test_every_served_route_is_described_and_the_reverse(hub: Hub) -> None:
    """Each listener serves exactly its routes in the document.

    For a missing route, add an Operation to its handler; for a missing resource, a line in
    hub/wiring/route_table.py (CONTRIBUTING.md).
    """

    async def ping() -> None: ...

    worker = build_worker(ping, lambda: "running", lambda: b"")
    apps = {"public": hub.public, "internal": hub.internal, "worker": worker}
    assert {name: served_by(app) for name, app in apps.items()} == {
        name: {(method, path) for method, path, _ in described_operations(name)}
        for name in LISTENERS
    }


def operations_for(listener: str) -> list[tuple[str, str, dict[str, Any]]]:
    """Return the methods, paths with values for their parameters, and operations of a listener."""
    return [
        (method, re.sub(r"{\w+}", "x", path), operation)
        for method, path, operation in described_operations(listener)
        if path != "/dev/publish"  # served where all are let in
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


@pytest.mark.parametrize("listener", LISTENERS)
def test_document_is_valid(listener: str) -> None:
    """The document is valid by the OpenAPI Initiative's schema."""
    errors = OpenAPIV31SpecValidator(document(listener)).iter_errors()
    assert [error.message for error in errors] == []


def test_operations_have_ids_of_their_own() -> None:
    """Operation ids are unique and short, since generated clients use them as names."""
    ids = [
        operation["operationId"]
        for listener in ("public", "internal")
        for _, _, operation in described_operations(listener)
    ]
    assert len(ids) == len(set(ids)) > 20
    assert [each for each in ids if not re.fullmatch(r"[a-z][a-zA-Z]{3,25}", each)] == []


@pytest.mark.parametrize("listener", LISTENERS)
def test_types_of_generators_do_not_collide(listener: str) -> None:
    """No schema has a name that a generator derives from an operation id."""
    made = {
        f"{operation['operationId'].lower()}{suffix}"
        for _, _, operation in described_operations(listener)
        for suffix in ("response", "responses", "data", "error", "errors", "params", "jsonbody")
    }
    schemas = document(listener)["components"]["schemas"]
    assert [name for name in schemas if name.lower() in made] == []


@pytest.mark.parametrize("listener", LISTENERS)
def test_one_operation_does_not_both_stream_and_answer(listener: str) -> None:
    """Generated clients know one kind of success for each operation, or JSON as the first kind."""
    for method, path, operation in described_operations(listener):
        kinds = [
            kind
            for status, response in operation["responses"].items()
            if status < "300"
            for kind in response.get("content", {})
        ]
        if "application/json" in kinds and "text/event-stream" in kinds:
            assert path.startswith("/v1/"), (method, path)
            assert kinds[0] == "application/json", (method, path)


@pytest.mark.parametrize("listener", LISTENERS)
def test_no_reference_leads_nowhere(listener: str) -> None:
    """Every reference has a target, also in schemas written by hand, and every schema is used."""
    text = json.dumps(document(listener))
    named = set(re.findall(r'"#/components/schemas/([^"]+)"', text))
    assert named == set(document(listener)["components"]["schemas"])


@pytest.mark.parametrize("listener", ["public", "internal"])
def test_repository_has_the_document_of_this_code(listener: str) -> None:
    """docs/ has the documents of this code."""
    name = f"docs/openapi-{listener}.json"
    kept = json.loads((REPOSITORY / name).read_text())
    assert kept == document(listener), f"{name} is old: hub openapi --listener {listener} > {name}"


def test_every_own_event_is_in_the_words_too() -> None:
    """docs/reference/events.md names every system event."""
    words = (REPOSITORY / "docs" / "reference" / "events.md").read_text()
    assert [name for name in SYSTEM_EVENTS if f"`{name}`" not in words] == []


def test_every_route_is_in_the_words_too() -> None:
    """docs/reference/http.md names every route."""
    words = (REPOSITORY / "docs" / "reference" / "http.md").read_text()
    routes = [f"{m} {path}" for name in LISTENERS for m, path, _ in described_operations(name)]
    assert [route for route in routes if f"`{route}`" not in words] == []


async def test_internal_listener_serves_the_documents(hub: Hub) -> None:
    """The internal listener serves its own document and the others; the public one serves none."""
    own = await hub.call("GET", "/openapi.json", internal=True)
    assert own == (200, document("internal"))
    for listener in LISTENERS:
        answer = await hub.call("GET", f"/openapi.json?listener={listener}", internal=True)
        assert answer == (200, document(listener))
    status, problem = await hub.call("GET", "/openapi.json?listener=x", internal=True)
    assert (status, problem["path"]) == (400, "listener")
    assert (await hub.call("GET", "/openapi.json"))[0] == 404


def test_parameter_in_a_path_must_be_described() -> None:
    """A path parameter without a description is an error that names the route."""

    class Resource:
        @Operation(id="x", method="GET", paths=["/a/{b}"], tag="t", summary="s", responses=[])
        async def handle(self) -> Any: ...

    with pytest.raises(ValueError, match=r"GET /a/\{b\}"):
        build_document("public", [Resource])
