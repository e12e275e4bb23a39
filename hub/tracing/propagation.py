"""How a trace goes on where no call does: through Redis, and to an upstream.

A question carries the `traceparent` of W3C Trace Context, sampled or not, so that the worker does
not decide again. An event carries the two ids only, and only when it is sampled: it is heard on
every node and costs bytes there.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import Final

from opentelemetry.context import Context
from opentelemetry.trace import (
    NonRecordingSpan,
    Span,
    SpanContext,
    TraceFlags,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

_W3C: Final = TraceContextTextMapPropagator()
_TRACE_ID_CHARS: Final = 32
_SPAN_ID_CHARS: Final = 16


def from_headers(headers: Mapping[str, str]) -> Context:
    """Who asks, as `traceparent` and `tracestate` say it; an empty context when they do not."""
    return _W3C.extract(headers, Context())


def into_headers(headers: MutableMapping[str, str], span: Span) -> None:
    """The same for whom this process asks."""
    _W3C.inject(headers, set_span_in_context(span, Context()))


def question_trace(context: Context | None = None) -> str:
    """What a question carries of the current (or given) context; empty when there is no trace."""
    carrier: dict[str, str] = {}
    _W3C.inject(carrier, context)
    return carrier.get("traceparent", "")


def of_question(trace: str) -> Context:
    """The context of who asked."""
    return from_headers({"traceparent": trace}) if trace else Context()


def event_trace(span: Span) -> str:
    """What an event carries of the span that publishes it: 48 hexadecimal digits."""
    own = span.get_span_context()
    return f"{own.trace_id:032x}{own.span_id:016x}"


def of_event(trace: str) -> SpanContext | None:
    """The span that published it; None for what is no trace."""
    if len(trace) != _TRACE_ID_CHARS + _SPAN_ID_CHARS:
        return None
    try:
        trace_id, span_id = int(trace[:_TRACE_ID_CHARS], 16), int(trace[_TRACE_ID_CHARS:], 16)
    except ValueError:
        return None
    flags = TraceFlags(TraceFlags.SAMPLED)
    found = SpanContext(trace_id, span_id, is_remote=True, trace_flags=flags)
    return found if found.is_valid else None


def below(parent: SpanContext) -> Context:
    """A context whose spans are the parent's children."""
    return set_span_in_context(NonRecordingSpan(parent), Context())
