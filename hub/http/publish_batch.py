"""POST /publish/batch: many events at once, as a JSON array or as NDJSON that streams in.

Each item is a body of POST /publish, and is answered alone and in order, by what that route would
have answered: one bad item harms no other. NDJSON is read no faster than it is published and than
its key may publish, and never held as a whole; its answers stream out meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Any, Final

import msgspec
import structlog
from aiohttp import web

from hub.api.api_keys import ApiKeys
from hub.engine.publisher import Publisher, PublishRequest
from hub.errors import CallerError, HubError, TooLarge, UnsupportedMedia
from hub.http.errors import problem_from_error
from hub.http.json_body import decode_json, json_response, read_json
from hub.http.publish import PublishBody, PublishLimits, PublishRateLimits, publish_response
from hub.http.routing import Operation, ResponseSpec, build_routes, key

NDJSON: Final = ("application/x-ndjson", "application/ndjson", "application/jsonl")
_AT_ONCE: Final = 500  # items of one call to the publisher
_MOST_UNREAD_BYTES: Final = 4 * 1024 * 1024  # answers that wait for a client
_UNREAD_SECONDS: Final = 30.0
_ItemResult = Annotated[  # msgspec has no unions of untagged Structs
    Any,
    msgspec.Meta(
        extra_json_schema={
            "anyOf": [
                {"$ref": "#/components/schemas/PublishAnswer"},
                {"$ref": "#/components/schemas/Problem"},
            ]
        }
    ),
]
_log = structlog.get_logger(__name__)


class PublishBatchRoutes:
    """The batch route of the internal listener."""

    def __init__(
        self, publisher: Publisher, keys: ApiKeys, limits: PublishLimits, rates: PublishRateLimits
    ) -> None:
        self._publisher = publisher
        self._keys = keys
        self._limits = limits
        self._rates = rates

    def routes(self) -> list[web.RouteDef]:
        return build_routes(self)

    @Operation(
        method="POST",
        paths=["/publish/batch"],
        tag="publish",
        summary="Publish many events",
        security=key("publish"),
        body={"application/json": list[PublishBody], NDJSON[0]: None},
        responses=[
            ResponseSpec(
                status=200,
                description="An answer per item, in order: what POST /publish would have answered",
                content={"application/json": list[_ItemResult], NDJSON[0]: None},
            )
        ],
        refuses=[429],
    )
    async def publish(self, request: web.Request) -> web.StreamResponse:
        """As many answers as items, in their order."""
        key = self._keys.check(request, "publish")
        if request.content_type in NDJSON:
            return await self._stream(request, key)
        if request.content_type != "application/json":
            raise UnsupportedMedia(f"send Content-Type: application/json or {NDJSON[0]}")
        raw = await read_json(request, list[msgspec.Raw], max_bytes=self._limits.max_body_bytes)
        self._rates.check(key, len(raw))
        items = [bytes(item) for item in raw]
        answers = []
        for first in range(0, len(items), _AT_ONCE):
            answers += await self._publish(items[first : first + _AT_ONCE])
        return json_response(answers)

    async def _stream(self, request: web.Request, key: str) -> web.StreamResponse:
        response = web.StreamResponse(
            headers={"Content-Type": NDJSON[0], "Cache-Control": "no-store"}
        )
        await response.prepare(request)
        transport = request.transport
        if transport is None:
            raise ConnectionResetError("the client left")
        # Most clients send all before they read: their answers wait here, up to a bound.
        transport.set_write_buffer_limits(_MOST_UNREAD_BYTES)
        try:
            async for lines in self._lines(request.content):
                await self._rates.wait(key, len(lines))
                answers = await self._publish(lines)
                text = b"".join(msgspec.json.encode(answer) + b"\n" for answer in answers)
                async with asyncio.timeout(_UNREAD_SECONDS):
                    await response.write(text)
        except TimeoutError:
            transport.abort()
            _log.warning("batch.answers_not_read", after_seconds=_UNREAD_SECONDS)
        except ConnectionError:
            _log.info("batch.sender_left")
        if not transport.is_closing():
            transport.set_write_buffer_limits()
        return response

    async def _lines(self, content: Any) -> AsyncIterator[Sequence[bytes | None]]:
        """The lines as they come, some at once; None for one that is too long."""
        begun, too_long = b"", False
        while chunk := await content.readany():
            *whole, begun = (begun + chunk).split(b"\n")
            lines: list[bytes | None] = [*whole]
            if lines and too_long:
                lines[0], too_long = None, False
            if len(begun) > self._limits.max_body_bytes:
                begun, too_long = b"", True
            lines = [
                None if line and len(line) > self._limits.max_body_bytes else line for line in lines
            ]
            lines = [line for line in lines if line is None or line.strip()]
            for first in range(0, len(lines), _AT_ONCE):
                yield lines[first : first + _AT_ONCE]
        if too_long or begun.strip():
            yield [None if too_long else begun]

    async def _publish(self, items: Sequence[bytes | None]) -> list[Any]:
        read = [self._read(item) for item in items]
        good = [each for each in read if isinstance(each, PublishRequest)]
        results = iter(await self._publisher.try_publish(good))
        answers = []
        for each in read:
            result = next(results) if isinstance(each, PublishRequest) else each
            answers.append(
                problem_from_error(result)
                if isinstance(result, HubError)
                else publish_response(result)
            )
        return answers

    def _read(self, item: bytes | None) -> PublishRequest | CallerError:
        try:
            if item is None:
                raise TooLarge(f"an item has at most {self._limits.max_body_bytes} bytes")
            body = decode_json(item, PublishBody)
            return body.message(max_recipients=self._limits.max_recipients)
        except CallerError as error:
            return error
