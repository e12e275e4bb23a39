"""Compares each response of a node in a test with the OpenAPI document of its listener.

The middleware sees what any test asks, so that the documents describe also the responses that no
generated request provokes. Streams are compared by their status and content type.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, Final

import jsonschema_rs
import msgspec
from aiohttp import web

from hub.http.errors import Handler
from tests.described import described_operations, document

_STREAMS: Final = ("text/event-stream", "application/x-ndjson")


class NotDescribed(Exception):
    """Something that the document does not say."""


class DescribedResponses:
    """A middleware. differences: what the documents do not say, one sentence for each response."""

    def __init__(self, listener: str) -> None:
        self._listener = listener
        self.differences: list[str] = []

    @web.middleware
    async def check(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Call the handler, and note how its response differs from the document."""
        response = await handler(request)
        resource = request.match_info.route.resource
        if resource is not None and request.method not in ("HEAD", "OPTIONS"):
            path = resource.canonical
            try:
                check_response(self._listener, request.method, path, response)
            except NotDescribed as difference:
                self.differences.append(f"{request.method} {path} {response.status}: {difference}")
        return response


def check_response(listener: str, method: str, path: str, response: web.StreamResponse) -> None:
    """Raise NotDescribed if the operation does not describe the response."""
    operation = document(listener)["paths"][path].get(method.lower())
    if operation is None:
        if response.status != 405:
            raise NotDescribed("there is no such operation")
        return
    kind = response.content_type
    if "x-streamed-by" in operation and (kind in _STREAMS or response.status == 204):
        operation = _operation(listener, operation["x-streamed-by"])
    status = str(response.status)
    described = operation["responses"].get(status)
    if described is None:
        raise NotDescribed("the status is not described")
    content = _resolve(listener, described).get("content", {})
    if not content:
        return
    if kind not in content:
        raise NotDescribed(f"{kind} is not described")
    if isinstance(response, web.Response) and kind.endswith("json") and kind not in _STREAMS:
        body = response.body
        assert isinstance(body, bytes)
        check_json(listener, content[kind]["schema"], msgspec.json.decode(body))


def check_json(listener: str, schema: Mapping[str, Any], value: Any) -> None:
    """Raise NotDescribed if a value does not have the schema of a document."""
    errors = list(_validator(listener, msgspec.json.encode(schema)).iter_errors(value))
    if errors:
        raise NotDescribed(f"{errors[0].message} at {list(errors[0].instance_path)}")


@cache
def _validator(listener: str, schema: bytes) -> Any:
    components = document(listener)["components"]
    whole = {**msgspec.json.decode(schema), "components": components}
    return jsonschema_rs.Draft202012Validator(whole)


@cache
def _operation(listener: str, operation_id: str) -> dict[str, Any]:
    for _, _, operation in described_operations(listener):
        if operation["operationId"] == operation_id:
            return operation
    raise NotDescribed(f"there is no operation {operation_id}")


def _resolve(listener: str, response: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in response:
        return response
    name = response["$ref"].rpartition("/")[2]
    resolved: dict[str, Any] = document(listener)["components"]["responses"][name]
    return resolved
