"""Spans in memory."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased


class Spans:
    """The ended spans, and the tracers that make them."""

    def __init__(self) -> None:
        self._ended = InMemorySpanExporter()
        self.tracer, self.unsampled = (
            self._tracer(ParentBased(root)) for root in (ALWAYS_ON, ALWAYS_OFF)
        )

    def _tracer(self, sampler: ParentBased) -> Any:
        provider = TracerProvider(sampler=sampler, shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self._ended))
        return provider.get_tracer("test")

    @property
    def ended(self) -> list[ReadableSpan]:
        return list(self._ended.get_finished_spans())

    @property
    def names(self) -> list[str]:
        return [span.name for span in self.ended]

    def only(self, name: str) -> tuple[ReadableSpan, dict[str, Any]]:
        """Return the only span of that name, and its attributes."""
        (matching,) = [span for span in self.ended if span.name == name]
        return matching, dict(matching.attributes or {})


@pytest.fixture
def spans() -> Spans:
    return Spans()
