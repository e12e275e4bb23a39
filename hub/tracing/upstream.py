"""Spans of LLM requests: one for each generation, with all attempts, and one for each HTTP request.

Names follow OpenTelemetry's semantic conventions for generative AI. The span of an HTTP request
ends with the response headers; the span of a generation ends with the answer.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from functools import partial
from types import SimpleNamespace
from typing import TypeVar

import aiohttp
from opentelemetry.trace import SpanKind, Tracer

from hub.core.durable import Checkpoint, StreamOutput
from hub.core.generation import GenerationRequest
from hub.core.generation_context import GenerationContext
from hub.core.parts import Part
from hub.engine.worker.resumable import cancel_answer, open_stream
from hub.ports.upstreams import Upstream
from hub.tracing.answers import MAX_CHARS, fail, trace_answer
from hub.tracing.propagation import into_headers, parse_request_trace

T = TypeVar("T")


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

    def _traced(
        self,
        request: GenerationRequest,
        open_answer: Callable[[], AsyncGenerator[Sequence[T], None]],
    ) -> AsyncGenerator[Sequence[T], None]:
        model = request.model[:MAX_CHARS]
        start_span = partial(
            self._tracer.start_span,
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
        return trace_answer(self._tracer, start_span, lambda _: open_answer())


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
            fail(call.span, str(status))
        call.span.end()

    async def on_exception(
        session: aiohttp.ClientSession,
        call: SimpleNamespace,
        request: aiohttp.TraceRequestExceptionParams,
    ) -> None:
        fail(call.span, type(request.exception).__name__)
        call.span.end()

    config = aiohttp.TraceConfig()
    config.on_request_start.append(on_start)
    config.on_request_end.append(on_end)
    config.on_request_exception.append(on_exception)
    return config
