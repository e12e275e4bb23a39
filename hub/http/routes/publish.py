"""POST /publish and POST /publish/batch: events of backends to users, topics or everyone.

A batch is a JSON array or an NDJSON stream of bodies of POST /publish. The response has one entry
per item, in order: what POST /publish would have answered. The hub reads an NDJSON stream only as
fast as it publishes and as the API key's rate limit allows. It never holds the whole stream in
memory, and streams the results back meanwhile. If the body is truncated or its compression is not
valid, the last line of the response is a problem with the status 400 about the body itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Any, Final

import msgspec
import structlog
from aiohttp import StreamReader, web

from hub.api.problems import problem_from_error
from hub.api.publish_requests import (
    BatchItem,
    PublishBody,
    PublishRequests,
    PublishResponse,
    parse_batch,
)
from hub.core.event import check_idempotency_key
from hub.error_codes import UNSUPPORTED_MEDIA_TYPE
from hub.errors import UnsupportedMedia
from hub.http.body_coding import describe_fault
from hub.http.json_body import json_response, read_json, read_json_text
from hub.http.parameters import PUBLISH_IDEMPOTENCY_KEY
from hub.http.routing import Operation, ResponseSpec, build_routes, json, json_body, key

NDJSON: Final = ("application/x-ndjson", "application/ndjson", "application/jsonl")
_MAX_ITEMS_PER_CALL: Final = 500  # items of one call to the publisher
_MAX_UNREAD_BYTES: Final = 4 * 1024 * 1024  # results that the client has not read yet
_WRITE_TIMEOUT_SECONDS: Final = 30.0
_ItemResult = Annotated[  # msgspec has no unions of untagged Structs
    Any,
    msgspec.Meta(
        extra_json_schema={
            "anyOf": [
                {"$ref": "#/components/schemas/PublishResponse"},
                {"$ref": "#/components/schemas/Problem"},
            ]
        }
    ),
]
_MAX_BATCH_ITEMS: Final = 10**9  # more do not fit into one request
_log = structlog.get_logger(__name__)


class PublishRoutes:
    """The publishing routes of the internal listener."""

    def __init__(self, requests: PublishRequests) -> None:
        self._requests = requests

    def routes(self) -> list[web.RouteDef]:
        return build_routes(self)

    @Operation(
        id="publishEvent",
        method="POST",
        paths=["/publish"],
        tag="publish",
        summary="Publish an event",
        security=key("publish"),
        parameters=[PUBLISH_IDEMPOTENCY_KEY],
        body=json_body(PublishBody),
        responses=[json(200, PublishResponse, "The event was published.")],
        refuses=[409, 429],
    )
    async def publish(self, request: web.Request) -> web.Response:
        """Publishes an event to a user, several users, a topic or everyone."""
        self._requests.rate_limits.check(self._requests.authenticate(request))
        max_bytes = self._requests.limits.max_body_bytes
        body = await read_json(request, PublishBody, max_bytes=max_bytes)
        body = body.with_id(request.headers.get("Idempotency-Key"))
        return json_response(await self._requests.publish(body))

    @Operation(
        id="publishBatch",
        method="POST",
        paths=["/publish/batch"],
        tag="publish",
        summary="Publish many events",
        security=key("publish"),
        parameters=[PUBLISH_IDEMPOTENCY_KEY],
        body={"application/json": list[PublishBody], NDJSON[0]: None},
        responses=[
            ResponseSpec(
                status=200,
                description="One result per item, in order: what POST /publish would have answered",
                content={"application/json": list[_ItemResult], NDJSON[0]: None},
            )
        ],
        refuses=[429],
    )
    async def publish_batch(self, request: web.Request) -> web.StreamResponse:
        """Publishes many events, sent as a JSON array or as a stream of newline-delimited JSON. An
        invalid item does not affect the others. If a stream turns out to be truncated after the
        first results were sent, the last line is a problem with the status 400, beside the results.
        """
        key = self._requests.authenticate(request)
        batch_id = _batch_id(request)
        if request.content_type in NDJSON:
            return await self._stream(request, key, batch_id)
        if request.content_type != "application/json":
            raise UnsupportedMedia(
                f"send Content-Type: application/json or {NDJSON[0]}", code=UNSUPPORTED_MEDIA_TYPE
            )
        max_bytes = self._requests.limits.max_body_bytes
        items = parse_batch(await read_json_text(request, max_bytes=max_bytes))
        self._requests.rate_limits.check(key, len(items))
        results: list[Any] = []
        for chunk in _chunks(items):
            results += await self._requests.publish_batch(chunk, key=batch_id, first=len(results))
        return json_response(results)

    async def _stream(
        self, request: web.Request, key: str, batch_id: str | None
    ) -> web.StreamResponse:
        response = web.StreamResponse(
            headers={"Content-Type": NDJSON[0], "Cache-Control": "no-store"}
        )
        transport = request.transport
        if transport is None:
            raise ConnectionResetError("the client disconnected")
        # Most clients send everything before they read, so their results wait in this buffer.
        transport.set_write_buffer_limits(_MAX_UNREAD_BYTES)
        first = 0
        try:
            async for items in self._read_lines(request.content):
                await self._requests.rate_limits.wait(key, len(items))
                results = await self._requests.publish_batch(items, key=batch_id, first=first)
                first += len(items)
                await _write_results(request, response, results)
        except TimeoutError:
            transport.abort()
            _log.warning("batch.results_not_read", after_seconds=_WRITE_TIMEOUT_SECONDS)
        except web.RequestPayloadError as error:
            if not response.prepared:
                raise describe_fault() from error
            await _write_results(request, response, [problem_from_error(describe_fault())])
        except ConnectionError:
            _log.info("batch.client_disconnected")
        if not transport.is_closing():
            transport.set_write_buffer_limits()
            if not response.prepared:  # the batch has no items
                await response.prepare(request)
        return response

    async def _read_lines(self, content: StreamReader) -> AsyncIterator[Sequence[BatchItem]]:
        """Yield the lines as they arrive, in chunks. None stands for a line that is too long."""
        max_bytes = self._requests.limits.max_body_bytes
        rest, is_too_long = b"", False  # of the line whose end has not arrived yet
        while data := await content.readany():
            *complete, rest = (rest + data).split(b"\n")
            lines: list[bytes | None] = [*complete]
            if lines and is_too_long:
                lines[0], is_too_long = None, False
            if len(rest) > max_bytes:
                rest, is_too_long = b"", True
            lines = [None if line and len(line) > max_bytes else line for line in lines]
            lines = [line for line in lines if line is None or line.strip()]
            for chunk in _chunks(lines):
                yield chunk
        if is_too_long or rest.strip():
            yield [None if is_too_long else rest]


async def _write_results(
    request: web.Request, response: web.StreamResponse, results: Sequence[Any]
) -> None:
    """Write results as lines. Raise TimeoutError when the client does not read them."""
    if not response.prepared:
        await response.prepare(request)
    lines = b"".join(msgspec.json.encode(result) + b"\n" for result in results)
    async with asyncio.timeout(_WRITE_TIMEOUT_SECONDS):
        await response.write(lines)


def _batch_id(request: web.Request) -> str | None:
    """Return the idempotency key of a batch. Raise BadRequest if its items' keys were too long."""
    batch_id = request.headers.get("Idempotency-Key")
    if batch_id is not None:
        check_idempotency_key(f"{batch_id}/{_MAX_BATCH_ITEMS}", path="Idempotency-Key")
    return batch_id


def _chunks(items: Sequence[BatchItem]) -> list[Sequence[BatchItem]]:
    starts = range(0, len(items), _MAX_ITEMS_PER_CALL)
    return [items[start : start + _MAX_ITEMS_PER_CALL] for start in starts]
