"""Publishing: one event, or any number of events in chunks of `POST /publish/batch`.

Every publication carries an idempotency key, so that a repeated request publishes nothing twice.

Invariants of `publish_many`:
1. There is one result for each item, in the order of the items.
2. An item that the hub refuses does not affect the other items.
3. Items that the hub could not publish because the broker is unavailable are sent again, without
   the other items of the chunk. When no attempt is left, their results carry the error.
4. When a chunk gets no response, the results of all remaining items carry its error. When it is
   the first chunk, the error is raised instead: as far as the client knows, nothing is published.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypedDict

import msgspec

from hub_client.errors import (
    BadRequest,
    HubClientError,
    HubUnavailable,
    HubUnreachable,
    error_from_status,
)
from hub_client.request import Request
from hub_client.retry_policy import RequestSender

_MAX_ITEMS: Final = 1000
# A recipient takes at least 4 bytes of a request and about 80 bytes of its response, and the hub
# buffers 4 MiB of a response.
_MAX_CHUNK_BYTES: Final = 192 * 1024
_NDJSON: Final = "application/x-ndjson"


class To(TypedDict, total=False):
    """The recipients: exactly one of the four keys.

    users: each of them gets the event in the channel of that user.
    """

    user: str
    users: Sequence[str]
    topic: str
    all: bool


class Publication(msgspec.Struct, frozen=True, omit_defaults=True):
    """An event to publish.

    data: any value that msgspec can encode as JSON.
    id: the idempotency key; the client creates one when it is None.
    ephemeral: deliver the event to live connections only, and never replay it.
    ttl_seconds: how long the event may be replayed; None means as long as the log holds it.
    inbox: keep the event in the inbox of each recipient: True, or what is said about it, such as
    `{"category": "exports", "key": "export-7", "expires_seconds": 3600}`.
    push: notify the devices of users who do not take the event: `{"title": …}`, and perhaps `body`,
    `url`, `tag`, `icon`, `urgency` and `ttl_seconds`.
    """

    to: To
    event: str = "notification"
    data: Any = None
    id: str | None = None
    ephemeral: bool = False
    ttl_seconds: float | None = None
    inbox: bool | Mapping[str, Any] = False
    push: Mapping[str, Any] | None = None

    def with_id(self) -> Publication:
        """Return the same publication with an idempotency key."""
        if self.id is not None:
            return self
        return msgspec.structs.replace(self, id=uuid.uuid4().hex)


class Published(msgspec.Struct, frozen=True):
    """The result for one channel.

    cursor: the position of the event in the channel; None for an ephemeral event.
    duplicate: the channel already held an event with this idempotency key. That is also the case
    when the client sent the request again because its first response was lost.
    replicas: the number of replicas of Redis that are known to have the event; None unless the hub
    waits for them (its setting redis.wait_replicas).
    item: the id of the item in the inbox, or None when none was kept.
    """

    channel: str
    cursor: str | None
    duplicate: bool
    replicas: int | None = None
    item: str | None = None


@dataclass(frozen=True, slots=True)
class PublishResult:
    """The result for one item of `publish_many`: its channels, or the error."""

    published: Sequence[Published] = ()
    error: HubClientError | None = None


class _BatchLine(msgspec.Struct, frozen=True):
    """One line of a batch response: `published`, or the fields of a problem document."""

    published: list[Published] | None = None
    status: int = 0
    detail: str = ""
    code: str | None = None
    path: str | None = None

    def result(self) -> PublishResult:
        if self.published is not None:
            return PublishResult(self.published)
        error = error_from_status(self.status, self.detail, code=self.code, path=self.path)
        return PublishResult(error=error)


class _PublishResponse(msgspec.Struct, frozen=True):
    published: list[Published]


_decode_line = msgspec.json.Decoder(_BatchLine).decode
_EncodedItem = bytes | BadRequest  # BadRequest: its data cannot be encoded


def publish_request(item: Publication) -> Request[list[Published]]:
    """Build `POST /publish`. Raise BadRequest when the data cannot be encoded as JSON."""
    return Request(
        method="POST", path="/publish", body=_encode(item.with_id()), read=_read_published
    )


async def publish_many(sender: RequestSender, items: Iterable[Publication]) -> list[PublishResult]:
    """Publish the items. See the invariants of this module.

    Raise HubClientError when the first chunk gets no response.
    """
    results: list[PublishResult] = []
    chunks = _split_into_chunks(items)
    for chunk in chunks:
        try:
            results += await _publish_chunk(sender, chunk)
        except HubClientError as error:
            if not results:
                raise
            remaining = len(chunk) + sum(map(len, chunks))
            return results + [PublishResult(error=error)] * remaining
    return results


async def _publish_chunk(
    sender: RequestSender, chunk: Sequence[_EncodedItem]
) -> list[PublishResult]:
    results = [
        PublishResult(error=item if isinstance(item, BadRequest) else None) for item in chunk
    ]
    pending = {index: item for index, item in enumerate(chunk) if isinstance(item, bytes)}
    attempts = 0
    while pending:
        if attempts:
            await sender.sleep(sender.retry_policy.delay_seconds(attempts))
        try:
            new_results = await sender.send(_batch_request(list(pending.values())))
        except HubClientError:
            if not attempts:
                raise
            break  # the results of the pending items keep the error of the last response
        attempts += 1
        for index, result in zip(tuple(pending), new_results, strict=True):
            results[index] = result
            if not isinstance(result.error, HubUnavailable):
                del pending[index]
        if attempts >= sender.retry_policy.max_attempts:
            break
    return results


def _batch_request(items: Sequence[bytes]) -> Request[list[PublishResult]]:
    return Request(
        method="POST",
        path="/publish/batch",
        body=b"\n".join(items) + b"\n",
        content_type=_NDJSON,
        read=_batch_reader(len(items)),
    )


def _batch_reader(count: int) -> Callable[[bytes], list[PublishResult]]:
    def read(body: bytes) -> list[PublishResult]:
        results = [_decode_line(line).result() for line in body.splitlines()]
        if len(results) != count:
            raise HubUnreachable(f"the response has {len(results)} results for {count} items")
        return results

    return read


def _read_published(body: bytes) -> list[Published]:
    return msgspec.json.decode(body, type=_PublishResponse).published


def _split_into_chunks(items: Iterable[Publication]) -> Iterator[list[_EncodedItem]]:
    chunk: list[_EncodedItem] = []
    size_bytes = 0
    for item in items:
        encoded = _encode_or_error(item)
        length = len(encoded) if isinstance(encoded, bytes) else 0
        if chunk and (len(chunk) == _MAX_ITEMS or size_bytes + length > _MAX_CHUNK_BYTES):
            yield chunk
            chunk, size_bytes = [], 0
        chunk.append(encoded)
        size_bytes += length
    if chunk:
        yield chunk


def _encode_or_error(item: Publication) -> _EncodedItem:
    try:
        return _encode(item.with_id())
    except BadRequest as error:
        return error


def _encode(item: Publication) -> bytes:
    try:
        return msgspec.json.encode(item)
    except (TypeError, ValueError, RecursionError) as error:
        raise BadRequest(f"data cannot be encoded as JSON: {error}", path="data") from error
