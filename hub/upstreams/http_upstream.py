"""An upstream over HTTP: chunks of bytes to stream parts, for every wire format.

    bytes (http_client) → events (the decoder of the framing) → stream parts (the dialect's reader)

The wire format is a `Dialect` (dialect.py). This module owns the order of the steps and what
becomes of errors; the relay owns what becomes of the parts.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import aclosing

import aiohttp
import msgspec
import structlog

from hub.core.generation import GenerationRequest
from hub.core.sse_decoder import ServerSentEvent, StreamTooLarge
from hub.core.stream_parts import Finished, StreamPart, TextDelta
from hub.errors import UpstreamError
from hub.upstreams.dialect import Dialect, UpstreamStreamError
from hub.upstreams.http_endpoint import EndpointOptions, HttpEndpoint
from hub.upstreams.http_errors import extract_error_text, quote_start
from hub.upstreams.surrogates import SurrogateJoiner, decode_surrogates

_log = structlog.get_logger(__name__)


class HttpUpstream:
    """Implements ports.Upstream for an endpoint that speaks `dialect` over HTTP.

    max_event_bytes: the limit of one event.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        dialect: Dialect,
        options: EndpointOptions,
        *,
        max_event_bytes: int,
    ) -> None:
        self._endpoint = HttpEndpoint(session, dialect, options)
        self._dialect = dialect
        self._max_event_bytes = max_event_bytes

    async def stream(
        self, request: GenerationRequest
    ) -> AsyncGenerator[Sequence[StreamPart], None]:
        """See ports.Upstream.stream."""
        chunks = self._endpoint.send(request)
        reader = StreamReader(self._dialect, self._max_event_bytes, self._endpoint.secrets)
        try:
            async with aclosing(chunks):
                async for chunk in chunks:
                    parts = reader.feed(chunk)
                    if parts:
                        yield parts
                    if reader.failure is not None:
                        raise reader.failure
                    if reader.done:
                        break
                else:
                    parts = reader.end()
                    if parts:
                        yield parts
                    if reader.failure is not None:
                        raise reader.failure
        except UpstreamError as error:
            # A finished answer is complete, also when the connection broke before its last bytes.
            if error.code != "upstream_truncated" or not reader.finished:
                raise
        finally:
            if reader.skipped_events:
                _log.info(
                    "upstream.events_skipped",
                    upstream=request.upstream,
                    events=reader.skipped_events,
                )
        yield reader.finish()


class StreamReader:
    """Reads the bytes of one response into stream parts. `Finished` comes last, after the usage."""

    def __init__(self, dialect: Dialect, max_event_bytes: int, secrets: Collection[str]) -> None:
        self._decoder = dialect.framing.decoder(max_event_bytes)
        self._response = dialect.new_reader()
        self._end_is_finish = dialect.framing.end_is_finish
        self._secrets = secrets
        self._joiner: SurrogateJoiner | None = None  # created for the first split character
        self._unread = ""  # the first event, until anything in the stream could be read
        self._has_parts = False
        self.failure: UpstreamError | None = None  # raised by the caller, after the parts
        self.skipped_events = 0  # JSON of a shape that the dialect does not know

    @property
    def done(self) -> bool:
        """Whether nothing more need be read."""
        return self._response.done

    @property
    def finished(self) -> bool:
        """Whether the upstream reported that the answer is complete."""
        return self._response.finish_reason is not None

    def feed(self, chunk: bytes) -> list[StreamPart]:
        """Return the parts of this chunk. An error behind them is kept in `failure`."""
        try:
            events = self._decoder.feed(chunk)
        except StreamTooLarge as error:
            events = error.events
            message = f"the upstream sent an event that is too large: {error}"
            self.failure = UpstreamError("upstream_too_large", message, retryable=False)
        return self._read_all(events)

    def end(self) -> list[StreamPart]:
        """Return the parts of events that the end of the stream completes.

        An event that is cut in the middle is ignored: `finish` reports the missing end.
        """
        parts = self._read_all(self._decoder.end())
        if self.failure is not None and self.failure.code == "upstream_protocol":
            self.failure = None
        return parts

    def finish(self) -> list[StreamPart]:
        """Return the last part once everything is read.

        Raise UpstreamError (`upstream_truncated`) when the upstream did not report the end.
        """
        reason = self._response.finish_reason or ("stop" if self._end_is_finish else None)
        if reason is None:
            message = "the upstream closed the stream before the answer was finished"
            if not self._has_parts and (quote := quote_start(self._unread, self._secrets)):
                message += f"; it sent {quote}"
            raise UpstreamError("upstream_truncated", message, retryable=True)
        text = self._joiner.flush() if self._joiner else ""
        return [TextDelta(text), Finished(reason)] if text else [Finished(reason)]

    def _read_all(self, events: Sequence[ServerSentEvent]) -> list[StreamPart]:
        parts: list[StreamPart] = []
        try:
            for event in events:
                self._unread = self._unread or event.data
                parts += self._read(event)
                if self._response.done:
                    break
        except UpstreamStreamError as error:
            text = extract_error_text(error.args[0], self._secrets)
            message = f"the upstream reported an error: {text}" if text else "the upstream failed"
            self.failure = UpstreamError("upstream_error", message, retryable=True)
        except UpstreamError as error:
            self.failure = error
        self._has_parts = self._has_parts or bool(parts)
        return parts

    def _read(self, event: ServerSentEvent) -> list[StreamPart]:
        try:
            parts = [*self._response.read(event)]
        except msgspec.ValidationError:
            self.skipped_events += 1
            return []
        except (msgspec.DecodeError, RecursionError) as error:
            parts = self._read_surrogates(event, error)
        return self._joiner.join(parts) if self._joiner else parts

    def _read_surrogates(self, event: ServerSentEvent, cause: Exception) -> list[StreamPart]:
        """Read JSON that msgspec refuses because a character in it is split."""
        try:
            event = msgspec.structs.replace(event, data=decode_surrogates(event.data))
            parts = list(self._response.read(event))
        except msgspec.ValidationError:
            self.skipped_events += 1
            return []
        except (ValueError, RecursionError):
            quote = quote_start(event.data, self._secrets)
            message = f"the upstream sent data that is not a valid event: {quote}"
            raise UpstreamError("upstream_protocol", message, retryable=False) from cause
        self._joiner = self._joiner or SurrogateJoiner()
        return parts
