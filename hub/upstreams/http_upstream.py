"""From an upstream's bytes to pieces: what all wire formats have in common.

A format is a `Dialect`: how a question is asked in it, and what one event of an answer means. The
way of an answer: chunks (http.py) → events (its framing) → pieces (its dialect) → the relay.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Final, Protocol

import aiohttp
import msgspec
import structlog

from hub.core.generation import GenerationRequest
from hub.core.ndjson_decoder import NdjsonDecoder
from hub.core.sse_decoder import ServerSentEvent, SseDecoder, StreamTooLarge
from hub.core.stream_parts import Finished, ReasoningDelta, StreamPart, TextDelta, Usage
from hub.errors import UpstreamError
from hub.upstreams.http_client import (
    UpstreamRequest,
    UpstreamTimeouts,
    error_text,
    secret_values,
    stream_response,
)

_log = structlog.get_logger(__name__)


class Decoder(Protocol):
    """Bytes into events, incrementally."""

    def feed(self, chunk: bytes) -> Sequence[ServerSentEvent]:
        """The events that end in this chunk. Raises StreamTooLarge."""
        ...

    def end(self) -> Sequence[ServerSentEvent]:
        """What the end of the stream makes complete."""
        ...


class Framing(msgspec.Struct, frozen=True):
    """How events follow each other: what the answer's content type may be, and how it is cut.

    end_is_finish: the stream's own end says that the answer is complete.
    """

    content_types: tuple[str, ...]
    decoder: Callable[[int], Decoder]
    end_is_finish: bool = False


SSE: Final = Framing(
    ("text/event-stream",), lambda most: SseDecoder(max_line_bytes=most, max_event_bytes=most)
)
NDJSON: Final = Framing(
    ("application/x-ndjson", "application/jsonl", "application/json", "text/plain"),
    lambda most: NdjsonDecoder(max_line_bytes=most),
)


class UpstreamStreamError(Exception):
    """The upstream says inside its stream that something went wrong; the argument is its words."""


class AnswerReader(Protocol):
    """One answer as it comes in.

    finish_reason: why it is complete, once it is. done: whether nothing more is to be read.
    """

    finish_reason: str | None
    done: bool

    def read(self, event: ServerSentEvent) -> Iterable[StreamPart]:
        """What the event says. Raises ToldError for an error that the upstream tells, and
        msgspec.ValidationError for what it does not know: that is skipped.
        """
        ...


class Dialect(Protocol):
    """One wire format."""

    framing: Framing

    def build_request(self, request: GenerationRequest) -> UpstreamRequest:
        """The request."""
        ...

    def new_reader(self) -> AnswerReader:
        """A reader for one answer."""
        ...


class HttpUpstream:
    """Implements ports.Upstream for an endpoint that speaks `dialect` over HTTP.

    headers: of every request; what in them is long enough to be a secret is masked in errors.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        dialect: Dialect,
        *,
        base_url: str,
        headers: Mapping[str, str],
        timeouts: UpstreamTimeouts,
        max_event_bytes: int = 1024 * 1024,
        proxy: str | None = None,
        verify_tls: bool = True,
    ) -> None:
        self._session = session
        self._dialect = dialect
        self._base_url = base_url.rstrip("/")
        self._headers = headers
        self._timeouts = timeouts
        self._max_event_bytes = max_event_bytes
        self._proxy = proxy
        self._verify_tls = verify_tls

    async def stream(
        self, request: GenerationRequest
    ) -> AsyncGenerator[Sequence[StreamPart], None]:
        """See ports.Upstream.stream."""
        chunks = stream_response(
            self._session,
            self._base_url,
            self._dialect.build_request(request),
            headers=self._headers,
            content_types=self._dialect.framing.content_types,
            timeouts=self._timeouts,
            proxy=self._proxy,
            verify_tls=self._verify_tls,
        )
        reading = _StreamReader(self._dialect, self._max_event_bytes, secret_values(self._headers))
        try:
            async with aclosing(chunks):
                async for chunk in chunks:
                    pieces = reading.feed(chunk)
                    if pieces:
                        yield pieces
                    if reading.failure is not None:
                        raise reading.failure
                    if reading.done:
                        break
                else:
                    pieces = reading.end()
                    if pieces:
                        yield pieces
                    if reading.failure is not None:
                        raise reading.failure
        except UpstreamError as error:
            # What was finished is whole, also when the connection broke before its last words.
            if error.code != "upstream_truncated" or not reading.finished:
                raise
        finally:
            if reading.skipped:
                _log.info("upstream.skipped", upstream=request.upstream, events=reading.skipped)
        yield reading.finish()


class _StreamReader:
    """One answer's bytes into pieces; the finish comes last, after the usage."""

    def __init__(self, dialect: Dialect, max_event_bytes: int, secrets: Collection[str]) -> None:
        self._decoder = dialect.framing.decoder(max_event_bytes)
        self._answer = dialect.new_reader()
        self._end_is_finish = dialect.framing.end_is_finish
        self._secrets = secrets
        self._halves: SurrogateJoiner | None = None
        self.failure: UpstreamError | None = None
        self.skipped = 0

    @property
    def done(self) -> bool:
        """Whether nothing more need be read."""
        return self._answer.done

    @property
    def finished(self) -> bool:
        """Whether the upstream said that the answer is complete."""
        return self._answer.finish_reason is not None

    def feed(self, chunk: bytes) -> list[StreamPart]:
        """What came; a failure behind it is kept for the caller."""
        try:
            events = self._decoder.feed(chunk)
        except StreamTooLarge as error:
            events = error.events
            self.failure = UpstreamError(
                "upstream_too_large", f"the upstream sent too much: {error}", retryable=False
            )
        return self._read_all(events)

    def end(self) -> list[StreamPart]:
        """What the upstream's closing makes complete. Half a line says nothing: `finish` tells."""
        pieces = self._read_all(self._decoder.end())
        if self.failure is not None and self.failure.code == "upstream_protocol":
            self.failure = None
        return pieces

    def _read_all(self, events: Sequence[ServerSentEvent]) -> list[StreamPart]:
        pieces: list[StreamPart] = []
        try:
            for event in events:
                pieces += self._read(event)
                if self._answer.done:
                    break
        except UpstreamStreamError as error:
            said = error_text(error.args[0], self._secrets)
            message = f"the upstream failed: {said}" if said else "the upstream failed"
            self.failure = UpstreamError("upstream_error", message, retryable=True)
        except UpstreamError as error:
            self.failure = error
        return pieces

    def finish(self) -> list[StreamPart]:
        """The last piece, once all is read. Raises UpstreamError when the upstream has not said
        that it is done.
        """
        reason = self._answer.finish_reason or ("stop" if self._end_is_finish else None)
        if reason is None:
            raise UpstreamError(
                "upstream_truncated",
                "the upstream ended without saying that it is done",
                retryable=True,
            )
        left = self._halves.left() if self._halves else ""
        return [TextDelta(left), Finished(reason)] if left else [Finished(reason)]

    def _read(self, event: ServerSentEvent) -> list[StreamPart]:
        try:
            pieces = [*self._answer.read(event)]
        except msgspec.ValidationError:
            self.skipped += 1  # JSON, but nothing that this format knows
            return []
        except (msgspec.DecodeError, RecursionError) as error:
            pieces = self._read_with_halves(event, error)
        return self._halves.mended(pieces) if self._halves else pieces

    def _read_with_halves(self, event: ServerSentEvent, why: Exception) -> list[StreamPart]:
        """JSON that holds half a character, which msgspec refuses and some upstreams send."""
        try:
            whole = json.dumps(_escape_surrogates(json.loads(event.data)), ensure_ascii=False)
            event = msgspec.structs.replace(event, data=whole)
            pieces = list(self._answer.read(event))
        except msgspec.ValidationError:
            self.skipped += 1
            return []
        except (ValueError, RecursionError):
            raise UpstreamError(
                "upstream_protocol", "the upstream sent something that is no chunk", retryable=False
            ) from why
        self._halves = self._halves or SurrogateJoiner()
        return pieces


_FIRST_HALF: Final = 0xD800
_MARKS: Final = 0xF0000  # private characters that stand for the halves while msgspec reads them


def _escape_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return "".join(
            chr(ord(c) - _FIRST_HALF + _MARKS) if "\ud800" <= c <= "\udfff" else c for c in value
        )
    if isinstance(value, list):
        return [_escape_surrogates(each) for each in value]
    if isinstance(value, dict):
        return {key: _escape_surrogates(each) for key, each in value.items()}
    return value


class SurrogateJoiner:
    """Joins characters that an upstream cut in the middle of their two UTF-16 units."""

    def __init__(self) -> None:
        self._held = ""

    def mended(self, pieces: Sequence[StreamPart]) -> list[StreamPart]:
        """The pieces with whole characters; a first half at the end waits for the second."""
        return [
            type(piece)(self._mend(piece.text))
            if isinstance(piece, TextDelta | ReasoningDelta)
            else piece
            for piece in pieces
        ]

    def left(self) -> str:
        """What never became whole."""
        return "\ufffd" if self._held else ""

    def _mend(self, text: str) -> str:
        units = "".join(
            chr(ord(c) - _MARKS + _FIRST_HALF) if _MARKS <= ord(c) < _MARKS + 0x800 else c
            for c in self._held + text
        )
        self._held = ""
        if units and "\ud800" <= units[-1] <= "\udbff":
            self._held, units = chr(ord(units[-1]) - _FIRST_HALF + _MARKS), units[:-1]
        return units.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def usage_of(tokens: object) -> list[Usage]:
    """Token counts that a vendor calls input and output, in OpenAI's names."""
    if not isinstance(tokens, dict):
        return []
    names = {"input_tokens": "prompt_tokens", "output_tokens": "completion_tokens"}
    return [Usage({names.get(str(name), str(name)): value for name, value in tokens.items()})]
