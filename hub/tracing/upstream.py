"""Asking an LLM: a span for the question, with all its tries, and one for each request over HTTP.

Names are those of OpenTelemetry's semantic conventions for generative AI. The request's span ends
with the answer's headers; the question's lasts until the answer is whole.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from types import SimpleNamespace
from typing import Final

import aiohttp
from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer, use_span

from hub.core.generation import GenerationRequest
from hub.core.stream_parts import Finished, StreamPart, Usage
from hub.errors import UpstreamError
from hub.ports.upstreams import Upstream
from hub.tracing.propagation import into_headers, of_question

_TOKENS: Final = {
    "prompt_tokens": "gen_ai.usage.input_tokens",
    "completion_tokens": "gen_ai.usage.output_tokens",
}
_MOST_CHARS: Final = 128  # of what a client or an upstream says


class TracedUpstream:
    """Implements ports.Upstream by another. kind: its wire format, as the settings name it."""

    def __init__(self, upstream: Upstream, tracer: Tracer, kind: str) -> None:
        self._upstream = upstream
        self._tracer = tracer
        self._provider = kind.partition("-")[0]  # openai-responses is OpenAI's as well

    async def stream(
        self, request: GenerationRequest
    ) -> AsyncGenerator[Sequence[StreamPart], None]:
        model = request.model[:_MOST_CHARS]
        span = self._tracer.start_span(
            f"chat {model}",
            of_question(request.trace),
            kind=SpanKind.CLIENT,
            attributes={
                "gen_ai.operation.name": "chat",
                "gen_ai.provider.name": self._provider,
                "gen_ai.request.model": model,
                "gen_ai.request.stream": True,
            },
        )
        answer = _Answer(span)
        try:
            async with aclosing(self._upstream.stream(request)) as stream:
                while True:
                    with use_span(
                        span,
                        end_on_exit=False,
                        record_exception=False,
                        set_status_on_exception=False,
                    ):
                        try:
                            pieces = await anext(stream)
                        except StopAsyncIteration:
                            return
                    answer.note(pieces)
                    yield pieces
        except UpstreamError as error:
            _fail(span, error.code)
            raise
        except Exception as error:
            _fail(span, type(error).__name__)
            raise
        finally:
            span.end()


class _Answer:
    """What a span says of an answer."""

    def __init__(self, span: Span) -> None:
        self._span = span
        self._asked_at = time.monotonic()
        self._begun = False

    def note(self, pieces: Sequence[StreamPart]) -> None:
        for piece in pieces:
            match piece:
                case Usage(tokens):
                    for name, attribute in _TOKENS.items():
                        if isinstance(count := tokens.get(name), int):
                            self._span.set_attribute(attribute, count)
                case Finished(reason):
                    self._span.set_attribute(
                        "gen_ai.response.finish_reasons", [reason[:_MOST_CHARS]]
                    )
                case _ if not self._begun:
                    self._begun = True
                    seconds = time.monotonic() - self._asked_at
                    self._span.set_attribute("gen_ai.response.time_to_first_chunk", seconds)
                case _:
                    pass


def http_spans(tracer: Tracer) -> aiohttp.TraceConfig:
    """A span for each request of a session, which carries it in `traceparent`."""

    async def begin(
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

    async def end(
        session: aiohttp.ClientSession,
        call: SimpleNamespace,
        request: aiohttp.TraceRequestEndParams,
    ) -> None:
        status = request.response.status
        call.span.set_attribute("http.response.status_code", status)
        if status >= 400:
            _fail(call.span, str(status))
        call.span.end()

    async def fail(
        session: aiohttp.ClientSession,
        call: SimpleNamespace,
        request: aiohttp.TraceRequestExceptionParams,
    ) -> None:
        _fail(call.span, type(request.exception).__name__)
        call.span.end()

    config = aiohttp.TraceConfig()
    config.on_request_start.append(begin)
    config.on_request_end.append(end)
    config.on_request_exception.append(fail)
    return config


def _fail(span: Span, kind: str) -> None:
    """Never with the error's text: it may quote the question."""
    span.set_attribute("error.type", kind)
    span.set_status(StatusCode.ERROR)
