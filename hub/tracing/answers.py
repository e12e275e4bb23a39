"""The span of an answer that a worker reads, and the spans of its steps."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Final, TypeVar

from opentelemetry.context import Context
from opentelemetry.trace import Span, StatusCode, Tracer, set_span_in_context, use_span

from hub.core.durable import AskInput, Restart, ResumePoint, Save, Store
from hub.core.parts import Finished, StepEnd, StepStart, Usage
from hub.errors import ProducerLost, UpstreamError

T = TypeVar("T")
MAX_CHARS: Final = 128
"""The length of a text in a span that a client, an upstream or a function chose."""
_TOKENS: Final = {
    "prompt_tokens": "gen_ai.usage.input_tokens",
    "completion_tokens": "gen_ai.usage.output_tokens",
}
_COMMANDS: Final = (AskInput, Restart, ResumePoint, Save, Store)


async def trace_answer(
    tracer: Tracer,
    start_span: Callable[[], Span],
    open_answer: Callable[[Span], AsyncGenerator[Sequence[T], None]],
) -> AsyncGenerator[Sequence[T], None]:
    """Yield an answer within a span, which ends with it. Each of its steps is a span below it."""
    span = start_span()
    recorder = _AnswerRecorder(span, tracer)
    try:
        async with aclosing(open_answer(span)) as stream:
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
        fail(span, error.code)
        raise
    except ProducerLost:
        fail(span, "producer_lost")
        raise
    except Exception as error:
        fail(span, type(error).__name__)
        raise
    finally:
        recorder.end()
        span.end()


def fail(span: Span, kind: str) -> None:
    """Mark a span as failed, without the text of the error, which may quote the request."""
    span.set_attribute("error.type", kind)
    span.set_status(StatusCode.ERROR)


class _AnswerRecorder:
    """Sets the attributes of a span from the parts of an answer, and makes the spans of steps."""

    def __init__(self, span: Span, tracer: Tracer) -> None:
        self._span = span
        self._tracer = tracer
        self._started_at = time.monotonic()
        self._has_content = False
        self._steps: list[tuple[str, Span]] = []  # those that have not ended

    def record(self, parts: Sequence[object]) -> None:
        for part in parts:
            match part:
                case Usage(tokens):
                    for name, attribute in _TOKENS.items():
                        if isinstance(count := tokens.get(name), int):
                            self._span.set_attribute(attribute, count)
                case Finished(reason):
                    self._span.set_attribute("gen_ai.response.finish_reasons", [reason[:MAX_CHARS]])
                case StepStart(name):
                    self._start_step(name)
                case StepEnd(name):
                    self._end_step(name)
                case _ if not self._has_content and not isinstance(part, _COMMANDS):
                    self._has_content = True
                    seconds = time.monotonic() - self._started_at
                    self._span.set_attribute("gen_ai.response.time_to_first_chunk", seconds)
                case _:
                    pass

    def end(self) -> None:
        """End the steps that the answer has left open."""
        for _, step in self._steps:
            step.end()

    def _start_step(self, name: str) -> None:
        below = set_span_in_context(self._span, Context())
        self._steps.append((name, self._tracer.start_span(f"step {name[:MAX_CHARS]}", below)))

    def _end_step(self, name: str) -> None:
        for index in reversed(range(len(self._steps))):
            if self._steps[index][0] == name:
                self._steps.pop(index)[1].end()
                return
