"""Spans of the application's functions: one for each attempt. What a function asks with `run.ask`
belongs to its span.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from functools import partial

import msgspec
from opentelemetry.context import Context
from opentelemetry.trace import Span, Tracer, set_span_in_context

from hub.core.durable import DurableState, PartOrCommand
from hub.core.generation import Generation
from hub.ports.functions import Function
from hub.tracing.answers import trace_answer
from hub.tracing.propagation import parse_request_trace, request_trace


class TracedFunction:
    """Implements ports.functions.Function around another function."""

    def __init__(self, function: Function, tracer: Tracer) -> None:
        self._function = function
        self._tracer = tracer

    @property
    def retries(self) -> int:
        return self._function.retries

    def stream(
        self, record: Generation, attempt: int, state: DurableState
    ) -> AsyncGenerator[Sequence[PartOrCommand], None]:
        request = record.request
        start_span = partial(
            self._tracer.start_span,
            f"invoke_agent {request.upstream}",
            parse_request_trace(request.trace),
            attributes={
                "gen_ai.operation.name": "invoke_agent",
                "gen_ai.agent.name": request.upstream,
                "hub.attempt": attempt,
            },
        )

        def call(span: Span) -> AsyncGenerator[Sequence[PartOrCommand], None]:
            trace = request_trace(set_span_in_context(span, Context()))
            traced = msgspec.structs.replace(request, trace=trace)
            return self._function.stream(
                msgspec.structs.replace(record, request=traced), attempt, state
            )

        return trace_answer(self._tracer, start_span, call)
