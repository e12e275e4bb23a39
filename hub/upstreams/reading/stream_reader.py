"""Reads the bytes of one response into stream parts, in the normal form of every wire format.

    bytes → events (the decoder of the framing) → raw parts (the dialect's reader) → stream parts

Rules:
1. An event is decoded at once if it has the declared type. Otherwise it is read field by field
   (repair.py): an odd field costs only itself and is counted. An event that may hold a part of the
   answer and cannot be read at all is a failure.
   Several objects in one event, as a list or one a line, are read one after the other.
2. Data that is no JSON object and does not look like one keeps the connection alive: it is skipped.
   When the answer then has no end, the failure quotes it, or tells the error that the last event
   without a part of the answer reports in its own way.
3. Once the answer is finished, no event makes it fail. Text that follows a finish shows that it was
   none: some servers report it in every event. Only the end of the stream completes such an answer.
4. Tool calls, token counts and the finish reason leave in one form (core/tool_calls.py, usage.py,
   finish_reasons.py).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial
from typing import Any, Final

import msgspec

from hub.core.finish_reasons import FAILED
from hub.core.generation import GenerationRequest
from hub.core.json_depth import MAX_DEPTH, is_deeper_than
from hub.core.parts import (
    Finished,
    Part,
    Reasoning,
    Replace,
    Text,
    ToolCallDelta,
    Usage,
)
from hub.core.sse_decoder import ServerSentEvent, StreamTooLarge
from hub.core.tool_calls import MAX_TOOL_CALLS, ToolCallAssembler, UnnamedToolCall
from hub.core.usage import read_usage
from hub.errors import UpstreamError
from hub.upstreams.dialect import (
    Dialect,
    ResponseReader,
    UnreadableEvent,
    UpstreamStreamError,
    is_empty_end,
)
from hub.upstreams.reading.error_reports import extract_error_text, quote_start, read_error_report
from hub.upstreams.reading.joined_events import KEEPALIVES, split_event
from hub.upstreams.reading.repair import RepairedEvent, repair_event
from hub.upstreams.reading.surrogates import SurrogateJoiner, has_surrogates

_ANSWER: Final = (Text, Replace, Reasoning, ToolCallDelta)
_TEXT: Final = frozenset[type]({Text})
_MAX_ODD_FIELDS: Final = 20  # the number of paths that are remembered


def _is_ping(event: ServerSentEvent) -> bool:
    """Whether an event only keeps the connection alive, as Anthropic's `{"type": "ping"}`."""
    return event.name == "ping" or '"ping"' in event.data[:30]


def _is_json(data: str) -> bool:
    try:
        msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


class StreamReader:
    """Reads one answer. `Finished` comes last, after the usage.

    secrets: texts that no error may contain. request: what it is the response to. response: None
    means a new reader of the dialect.
    """

    def __init__(
        self,
        dialect: Dialect,
        max_event_bytes: int,
        secrets: Collection[str],
        request: GenerationRequest | None = None,
        *,
        response: ResponseReader | None = None,
    ) -> None:
        self._new_decoder = partial(dialect.framing.decoder, max_event_bytes)
        self._decoder = self._new_decoder()
        self._response = dialect.new_reader(request) if response is None else response
        self._tool_calls = ToolCallAssembler(has_whole_names=self._response.has_whole_tool_names)
        self._has_types = self._response.event_type is not Any
        self._starts_of_json = ("{", "[") if self._has_types else ("{", "[", '"')
        self._end_is_finish = dialect.framing.end_is_finish
        self._secrets = secrets
        self._joiner: SurrogateJoiner | None = None  # created for the first split character
        self._skipped = ""  # the first data that was skipped and has no known meaning
        self._unread = ""  # the first event, until anything in the stream could be read
        self._silent = ""  # the last event that had no part of the answer
        self._has_parts = False
        self._is_sure = False  # whether an event without a finish had a part of the answer
        self._is_contradicted = False  # whether text followed a finish
        self.failure: UpstreamError | None = None  # raised by the caller, after the parts
        self.events = 0  # the events so far that do more than keep the connection alive
        self.odd_fields: dict[str, int] = {}  # path → number of events

    @property
    def done(self) -> bool:
        """Whether nothing more need be read."""
        return self._response.done

    @property
    def finished(self) -> bool:
        """Whether the upstream reported that the answer is complete, and no text followed."""
        return self._response.finish_reason is not None and not self._is_contradicted

    @property
    def finish_is_sure(self) -> bool:
        """Whether the upstream reports the finish only at the end, as far as its events show.

        It is unknown while no part of the answer came in an event without a finish.
        """
        return self._is_sure

    @property
    def holds_text(self) -> bool:
        """Whether a half of a split character waits for the other half."""
        return self._joiner is not None and self._joiner.is_holding

    def reconnect(self) -> None:
        """Go on with another response. An event that was cut in the middle is forgotten."""
        self._decoder = self._new_decoder()

    def feed(self, chunk: bytes) -> list[Part]:
        """Return the parts of this chunk. An error behind them is kept in `failure`."""
        try:
            return self._read_all(self._decoder.feed(chunk))
        except StreamTooLarge as error:
            parts = self._read_all(error.events)
            message = f"the upstream sent an event that is too large: {error}"
            self._fail(UpstreamError("upstream_too_large", message, retryable=False))
            return parts

    def end(self) -> list[Part]:
        """Return the parts of events that the end of the stream completes.

        An event that is cut in the middle is ignored: `finish` reports the missing end.
        """
        failure = self.failure
        try:
            events = self._decoder.end()
        except StreamTooLarge as error:
            events = error.events
        parts = self._read_all(events)
        if failure is None and self.failure is not None:
            self.failure = None if self.failure.code == "upstream_protocol" else self.failure
        return parts

    def finish(self) -> list[Part]:
        """Return the last parts once everything is read.

        Raise UpstreamError when the upstream did not report the end: `upstream_protocol` if it sent
        something that is no event, else `upstream_truncated`.
        """
        reason = self._response.finish_reason or ("stop" if self._end_is_finish else None)
        if reason is None and extract_error_text(self._silent, self._secrets):
            raise self._reported(UpstreamStreamError(self._silent))
        if reason is None and self._skipped:
            raise self._unreadable(self._skipped)
        if reason is None:
            message = "the upstream closed the stream before the answer was finished"
            if not self._has_parts and (quote := quote_start(self._unread, self._secrets)):
                message += f"; it sent {quote}"
            raise UpstreamError("upstream_truncated", message, retryable=True)
        try:
            calls = self._tool_calls.finish()
        except UnnamedToolCall:
            message = "the upstream sent a tool call without a name"
            raise UpstreamError("upstream_protocol", message, retryable=False) from None
        if reason == "stop" and self._tool_calls.has_client_calls:
            reason = "tool_calls"
        text = self._joiner.flush() if self._joiner else ""
        parts: list[Part] = [Text(text)] if text else []
        return [*parts, *([ToolCallDelta(calls)] if calls else []), Finished(reason)]

    def _read_all(self, events: Sequence[ServerSentEvent]) -> list[Part]:
        parts: list[Part] = []
        response = self._response
        if events and not (self._has_parts or self._unread):
            self._unread = events[0].data
        for event in events:
            try:
                self._read_event(event, parts)
            except UnreadableEvent:
                self._fail(self._unreadable(event.data))
            except UpstreamStreamError as error:
                self._fail(self._reported(error))
            except UpstreamError as error:
                self._fail(error)
            if response.done or self.failure is not None:
                break
        if response.finish_reason == FAILED:
            response.finish_reason = None
            message = "the upstream ended the answer with an error"
            self._fail(UpstreamError("upstream_error", message, retryable=True))
        self._has_parts = self._has_parts or bool(parts)
        if self._joiner is None and _TEXT.issuperset(map(type, parts)):
            return parts  # nearly always
        parts = [normal for part in parts for normal in self._normalise(part)]
        return self._joiner.join(parts) if self._joiner else parts

    def _read_event(self, event: ServerSentEvent, parts: list[Part]) -> None:
        count, was_finished = len(parts), self._response.finish_reason is not None
        if len(event.data) > MAX_DEPTH and is_deeper_than(MAX_DEPTH, event.data.encode()):
            raise UnreadableEvent  # parts with such a value could not be read by clients
        if event.name == "error" and self._has_types:
            raise UpstreamStreamError(event.data)
        try:
            parts += self._response.read(event)
        except (msgspec.DecodeError, RecursionError):
            self._read_odd(event, parts)
        else:
            if len(parts) > count:
                self.events += 1
            else:
                self._silent = event.data
                self.events += not _is_ping(event)
        if len(parts) == count:
            return
        if self._response.finish_reason is None:
            self._is_sure = True
        elif was_finished and any(isinstance(part, _ANSWER) for part in parts[count:]):
            self._is_contradicted = True

    def _fail(self, error: UpstreamError) -> None:
        if not self.finished:  # a finished answer is complete
            self.failure = self.failure or error

    def _normalise(self, part: Part) -> Sequence[Part]:
        match part:
            case ToolCallDelta(calls):
                normal = self._tool_calls.feed(calls)
                if self._tool_calls.count > MAX_TOOL_CALLS:
                    self._response.finish_reason = None
                    message = f"the answer has more than {MAX_TOOL_CALLS} tool calls"
                    self._fail(UpstreamError("upstream_too_large", message, retryable=False))
                return [ToolCallDelta(normal)] if normal else []
            case Usage(tokens):
                usage, odd = read_usage(tokens)
                self._count_odd([f"usage.{name}" for name in odd])
                return [Usage(usage)] if usage else []
        return [part]

    def _read_odd(self, event: ServerSentEvent, parts: list[Part]) -> None:
        """Read an event that does not have the declared type. Raise like ResponseReader.read."""
        data = event.data.strip()
        if self._has_types and (events := split_event(data)):
            for each in events:
                if not self._response.done:
                    self._read_event(msgspec.structs.replace(event, data=each), parts)
            return
        if not data.startswith(self._starts_of_json) or data.upper().startswith("[DONE]"):
            self._skip(event, data)
            return
        was_finished, count = self.finished, len(parts)
        try:
            repaired = repair_event(data, self._response.event_type)
            if not repaired.is_readable and not repaired.lost:
                self._skip(event, data)
                return
            if has_surrogates(data):
                self._joiner = self._joiner or SurrogateJoiner()
            if repaired.is_readable:
                event = msgspec.structs.replace(event, data=repaired.data)
                parts += self._response.read(event)
        except (ValueError, RecursionError):
            raise UnreadableEvent from None
        self.events += 1
        self._count_odd(repaired.odd_fields)
        is_lost = repaired.lost and len(parts) == count
        if is_lost and not was_finished and self._may_hold_text(repaired, event.name):
            self._response.finish_reason = None
            raise UnreadableEvent

    def _may_hold_text(self, event: RepairedEvent, name: str) -> bool:
        text_events = self._response.text_events
        is_text = text_events is None or (event.type or name) in text_events
        return is_text or not event.is_readable

    def _skip(self, event: ServerSentEvent, data: str) -> None:
        """Skip data that is no object; it may be a comment, or say that the stream ends."""
        word = data.strip('"')
        if word.upper().startswith("[DONE]"):
            self._response.done = True
        elif is_empty_end(event):
            self._response.finish_reason = self._response.finish_reason or "stop"
            self._response.done = True
        elif not (data.startswith((":", '"')) or word.lower() in KEEPALIVES or _is_json(data)):
            self._skipped = self._skipped or data

    def _count_odd(self, paths: Sequence[str]) -> None:
        for path in paths:
            if path in self.odd_fields or len(self.odd_fields) < _MAX_ODD_FIELDS:
                self.odd_fields[path] = self.odd_fields.get(path, 0) + 1

    def _reported(self, error: UpstreamStreamError) -> UpstreamError:
        text = extract_error_text(error.args[0], self._secrets)
        message = f"the upstream reported an error: {text}" if text else "the upstream failed"
        report = read_error_report(error.args[0], self._secrets)
        return UpstreamError(
            "upstream_error",
            message,
            retryable=report.is_retryable,
            status=report.status,
            reported_code=report.code,
            param=report.param,
        )

    def _unreadable(self, data: str) -> UpstreamError:
        quote = quote_start(data, self._secrets)
        message = f"the upstream sent data that is not a valid event: {quote}"
        return UpstreamError("upstream_protocol", message, retryable=False)
