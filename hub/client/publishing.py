"""Publishing: one event, or many in chunks of a batch; an idempotency key makes repeats harmless.

Rules of `publish_many`:
1. A result per item, in the order of the items.
2. An item that is refused harms no other.
3. What the broker's absence befell is sent again, by itself; then its result says so.
4. A chunk that gets no answer ends the rest, whose results carry its error. Is it the first one,
   the call raises: nothing was published as far as is known.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypedDict

import msgspec

from hub.client.errors import (
    BadRequest,
    HubClientError,
    HubUnavailable,
    HubUnreachable,
    error_from_status,
)
from hub.client.request import Request
from hub.client.retry_policy import RetryPolicy

_MAX_ITEMS: Final = 1000
# A recipient is at least 4 bytes of it and about 80 of the answers, of which the hub holds 4 MiB.
_MAX_CHUNK_BYTES: Final = 192 * 1024
_NDJSON: Final = "application/x-ndjson"


class To(TypedDict, total=False):
    """To whom: exactly one of the four. Each of `users` gets the event in its own channel."""

    user: str
    users: Sequence[str]
    topic: str
    all: bool


class Publication(msgspec.Struct, frozen=True, omit_defaults=True):
    """An event to be published. data: anything that msgspec writes as JSON. id: the idempotency
    key; one is made where none is given. ephemeral: live only, never replayed. ttl_seconds: how
    long it is worth replaying.
    """

    to: To
    event: str = "notification"
    data: Any = None
    id: str | None = None
    ephemeral: bool = False
    ttl_seconds: float | None = None

    def keyed(self) -> Publication:
        """The same with an idempotency key."""
        if self.id is not None:
            return self
        return msgspec.structs.replace(self, id=uuid.uuid4().hex)


class Published(msgspec.Struct, frozen=True):
    """One channel that has the event. cursor: its place there, None for an ephemeral one.
    duplicate: it was there already under its key, also by a repeat of the client's own.
    """

    channel: str
    cursor: str | None
    duplicate: bool


@dataclass(frozen=True, slots=True)
class PublishResult:
    """What became of one item: where it is, or why not."""

    published: Sequence[Published] = ()
    error: HubClientError | None = None


class _Answer(msgspec.Struct, frozen=True):
    """A line of the batch's answer: `published`, or a problem document."""

    published: list[Published] | None = None
    status: int = 0
    detail: str = ""
    path: str | None = None

    def result(self) -> PublishResult:
        if self.published is not None:
            return PublishResult(self.published)
        return PublishResult(error=error_from_status(self.status, self.detail, self.path))


class _PublishAnswer(msgspec.Struct, frozen=True):
    published: list[Published]


_decode_answer = msgspec.json.Decoder(_Answer).decode


def publish_call(item: Publication) -> Request[list[Published]]:
    """POST /publish. Raises BadRequest for data that JSON cannot hold."""
    return Request(
        method="POST", path="/publish", body=_encoded(item.keyed()), read=_read_published
    )


Steps = Generator[Request[list[PublishResult]], list[PublishResult], list[PublishResult]]


def publish_many_steps(items: Iterable[Publication], patience: RetryPolicy) -> Steps:
    """The calls to make, one after the other; each is answered by its results, or by throwing what
    it raised. Returns the results of all.
    """
    results: list[PublishResult] = []
    chunks = _chunks(items)
    for chunk in chunks:
        try:
            results += yield from _chunk_steps(chunk, patience)
        except HubClientError as error:
            if not results:
                raise
            left = len(chunk) + sum(map(len, chunks))
            return results + [PublishResult(error=error)] * left
    return results


_Line = bytes | BadRequest


def _chunk_steps(chunk: Sequence[_Line], patience: RetryPolicy) -> Steps:
    """One chunk, and again those of it that found the broker away."""
    results = [
        PublishResult(error=line if isinstance(line, BadRequest) else None) for line in chunk
    ]
    open_ = {n: line for n, line in enumerate(chunk) if isinstance(line, bytes)}
    tried, wait_seconds = 0, 0.0
    while open_:
        try:
            answers = yield _batch_call(list(open_.values()), wait_seconds)
        except HubClientError:
            if not tried:
                raise
            break  # what is open keeps the error it was answered by
        tried += 1
        for n, answer in zip(tuple(open_), answers, strict=True):
            results[n] = answer
            if not isinstance(answer.error, HubUnavailable):
                del open_[n]
        if tried >= patience.max_attempts:
            break
        wait_seconds = patience.delay_seconds(tried)
    return results


def _batch_call(lines: Sequence[bytes], wait_seconds: float) -> Request[list[PublishResult]]:
    return Request(
        method="POST",
        path="/publish/batch",
        body=b"\n".join(lines) + b"\n",
        content_type=_NDJSON,
        read=_batch_reader(len(lines)),
        wait_seconds=wait_seconds,
    )


def _batch_reader(count: int) -> Callable[[bytes], list[PublishResult]]:
    def read(body: bytes) -> list[PublishResult]:
        results = [_decode_answer(line).result() for line in body.splitlines()]
        if len(results) != count:
            detail = f"{len(results)} of {count} items were answered"
            raise HubUnreachable(detail)
        return results

    return read


def _read_published(body: bytes) -> list[Published]:
    return msgspec.json.decode(body, type=_PublishAnswer).published


def _chunks(items: Iterable[Publication]) -> Iterator[list[_Line]]:
    chunk: list[_Line] = []
    size_bytes = 0
    for item in items:
        line = _encoded_or_error(item)
        length = len(line) if isinstance(line, bytes) else 0
        if chunk and (len(chunk) == _MAX_ITEMS or size_bytes + length > _MAX_CHUNK_BYTES):
            yield chunk
            chunk, size_bytes = [], 0
        chunk.append(line)
        size_bytes += length
    if chunk:
        yield chunk


def _encoded_or_error(item: Publication) -> _Line:
    try:
        return _encoded(item.keyed())
    except BadRequest as error:
        return error


def _encoded(item: Publication) -> bytes:
    try:
        return msgspec.json.encode(item)
    except (TypeError, ValueError, RecursionError) as error:
        raise BadRequest(f"data cannot be written as JSON: {error}", path="data") from error
