"""How a trace continues where no call does: through Redis, and to an upstream.

A generation request carries the `traceparent` of W3C Trace Context, sampled or not, so that the
worker does not decide again. An event carries only the two ids, and only when its trace is sampled,
because every node receives these bytes.
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
    """Return the context of the caller by `traceparent` and `tracestate`; empty without them."""
    return _W3C.extract(headers, Context())


def into_headers(headers: MutableMapping[str, str], span: Span) -> None:
    """Write the context of a span into the headers of a request."""
    _W3C.inject(headers, set_span_in_context(span, Context()))


def request_trace(context: Context | None = None) -> str:
    """Return the `traceparent` of the current (or given) context; empty without a trace."""
    carrier: dict[str, str] = {}
    _W3C.inject(carrier, context)
    return carrier.get("traceparent", "")


def parse_request_trace(trace: str) -> Context:
    """Return the context that a `traceparent` names."""
    return from_headers({"traceparent": trace}) if trace else Context()


def event_trace(span: Span) -> str:
    """Return the trace id and the span id of a publish as 48 hexadecimal digits."""
    context = span.get_span_context()
    return f"{context.trace_id:032x}{context.span_id:016x}"


def parse_event_trace(trace: str) -> SpanContext | None:
    """Return the span that published an event; None for a malformed trace."""
    if len(trace) != _TRACE_ID_CHARS + _SPAN_ID_CHARS:
        return None
    try:
        trace_id, span_id = int(trace[:_TRACE_ID_CHARS], 16), int(trace[_TRACE_ID_CHARS:], 16)
    except ValueError:
        return None
    flags = TraceFlags(TraceFlags.SAMPLED)
    publisher = SpanContext(trace_id, span_id, is_remote=True, trace_flags=flags)
    return publisher if publisher.is_valid else None


def child_context(parent: SpanContext) -> Context:
    """Return a context whose spans are children of the parent."""
    return set_span_in_context(NonRecordingSpan(parent), Context())
