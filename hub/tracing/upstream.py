"""Spans of LLM requests: one for each generation, with all attempts, and one for each HTTP request.

Names follow OpenTelemetry's semantic conventions for generative AI. The span of an HTTP request
ends with the response headers; the span of a generation ends with the answer.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from types import SimpleNamespace
from typing import Final, TypeVar

import aiohttp
from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer, use_span

from hub.core.durable import Checkpoint, Restart, ResumePoint, StreamOutput
from hub.core.generation import GenerationRequest
from hub.core.generation_context import GenerationContext
from hub.core.parts import Finished, Part, Usage
from hub.engine.resumable import cancel_answer, open_stream
from hub.errors import UpstreamError
from hub.ports.upstreams import Upstream
from hub.tracing.propagation import into_headers, parse_request_trace

T = TypeVar("T")
_TOKENS: Final = {
    "prompt_tokens": "gen_ai.usage.input_tokens",
    "completion_tokens": "gen_ai.usage.output_tokens",
}
_MAX_CHARS: Final = 128  # of a text that a client or an upstream chose


class TracedUpstream:
    """Implements ports.upstreams.ResumableUpstream around another upstream.

    kind: its wire format, as the settings name it.
    """

    def __init__(self, upstream: Upstream, tracer: Tracer, kind: str) -> None:
        self._upstream = upstream
        self._tracer = tracer
        self._provider = kind.partition("-")[0]  # openai-responses is also OpenAI

    def stream(
        self, request: GenerationRequest, context: GenerationContext | None = None
    ) -> AsyncGenerator[Sequence[Part], None]:
        return self._traced(request, lambda: self._upstream.stream(request, context))

    def resumable_stream(
        self,
        request: GenerationRequest,
        context: GenerationContext | None,
        checkpoint: Checkpoint | None,
    ) -> AsyncGenerator[Sequence[StreamOutput], None]:
        return self._traced(
            request, lambda: open_stream(self._upstream, request, context, checkpoint)
        )

    async def cancel(self, request: GenerationRequest, checkpoint: Checkpoint) -> None:
        await cancel_answer(self._upstream, request, checkpoint)

    async def _traced(
        self,
        request: GenerationRequest,
        open_answer: Callable[[], AsyncGenerator[Sequence[T], None]],
    ) -> AsyncGenerator[Sequence[T], None]:
        """Yield an answer within a span."""
        model = request.model[:_MAX_CHARS]
        span = self._tracer.start_span(
            f"chat {model}",
            parse_request_trace(request.trace),
            kind=SpanKind.CLIENT,
            attributes={
                "gen_ai.operation.name": "chat",
                "gen_ai.provider.name": self._provider,
                "gen_ai.request.model": model,
                "gen_ai.request.stream": True,
            },
        )
        recorder = _AnswerRecorder(span)
        try:
            async with aclosing(open_answer()) as stream:
                while True:
                    with use_span(
                        span,
                        end_on_exit=False,
                        record_exception=False,
                        set_status_on_exception=False,
                    ):
                        try:
                            parts = await anext(stream)
                        except StopAsyncIteration:
                            return
                    recorder.record(parts)
                    yield parts
        except UpstreamError as error:
            _fail(span, error.code)
            raise
        except Exception as error:
            _fail(span, type(error).__name__)
            raise
        finally:
            span.end()


class _AnswerRecorder:
    """Sets the attributes of a span from the parts of an answer."""

    def __init__(self, span: Span) -> None:
        self._span = span
        self._started_at = time.monotonic()
        self._has_content = False

    def record(self, parts: Sequence[object]) -> None:
        for part in parts:
            match part:
                case Usage(tokens):
                    for name, attribute in _TOKENS.items():
                        if isinstance(count := tokens.get(name), int):
                            self._span.set_attribute(attribute, count)
                case Finished(reason):
                    self._span.set_attribute(
                        "gen_ai.response.finish_reasons", [reason[:_MAX_CHARS]]
                    )
                case ResumePoint() | Restart():
                    pass
                case _ if not self._has_content:
                    self._has_content = True
                    seconds = time.monotonic() - self._started_at
                    self._span.set_attribute("gen_ai.response.time_to_first_chunk", seconds)
                case _:
                    pass


def http_spans(tracer: Tracer) -> aiohttp.TraceConfig:
    """Return a trace configuration: a span for each request, sent as `traceparent`."""

    async def on_start(
        session: aiohttp.ClientSession,
        call: SimpleNamespace,
        request: aiohttp.TraceRequestStartParams,
    ) -> None:
        host, port = request.url.host or "", request.url.port or 0
        call.span = tracer.start_span(
            request.method,
            kind=SpanKind.CLIENT,
            attributes={
                "http.request.method": request.method,
                "server.address": host,
                "server.port": port,
            },
        )
        into_headers(request.headers, call.span)

    async def on_end(
        session: aiohttp.ClientSession,
        call: SimpleNamespace,
        request: aiohttp.TraceRequestEndParams,
    ) -> None:
        status = request.response.status
        call.span.set_attribute("http.response.status_code", status)
        if status >= 400:
            _fail(call.span, str(status))
        call.span.end()

    async def on_exception(
        session: aiohttp.ClientSession,
        call: SimpleNamespace,
        request: aiohttp.TraceRequestExceptionParams,
    ) -> None:
        _fail(call.span, type(request.exception).__name__)
        call.span.end()

    config = aiohttp.TraceConfig()
    config.on_request_start.append(on_start)
    config.on_request_end.append(on_end)
    config.on_request_exception.append(on_exception)
    return config


def _fail(span: Span, kind: str) -> None:
    """Mark a span as failed, without the text of the error, which may quote the request."""
    span.set_attribute("error.type", kind)
    span.set_status(StatusCode.ERROR)
