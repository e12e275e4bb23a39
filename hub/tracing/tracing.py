"""The entry to tracing: wraps the parts that wiring has built."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import aiohttp
from aiohttp import web
from opentelemetry import context
from opentelemetry.trace import Tracer

from hub.core.channel import Channel
from hub.ports.events import EventWriter, Subscriptions
from hub.ports.functions import Function
from hub.ports.generations import GenerationStore
from hub.ports.upstreams import Upstream
from hub.tracing.events import TracedEventWriter, TracedSubscriptions
from hub.tracing.functions import TracedFunction
from hub.tracing.generations import TracedGenerationStore
from hub.tracing.propagation import from_headers
from hub.tracing.requests import TracedRequests
from hub.tracing.upstream import TracedUpstream, http_spans


class OpenTelemetry:
    """Implements wiring.tracing.Tracing with one tracer."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    def watch(self, app: web.Application) -> None:
        TracedRequests(self._tracer).watch(app)

    def join(self) -> Callable[[Mapping[str, str]], None]:
        return _join_trace

    def events(self, events: EventWriter) -> EventWriter:
        return TracedEventWriter(events, self._tracer)

    def subscriptions(
        self, subscriptions: Subscriptions, subscriber_count: Callable[[Channel], int]
    ) -> Subscriptions:
        return TracedSubscriptions(subscriptions, self._tracer, subscriber_count)

    def generations(self, store: GenerationStore) -> GenerationStore:
        return TracedGenerationStore(store)

    def upstream(self, upstream: Upstream, kind: str) -> Upstream:
        return TracedUpstream(upstream, self._tracer, kind)

    def function(self, function: Function) -> Function:
        return TracedFunction(function, self._tracer)

    def http_spans(self) -> list[aiohttp.TraceConfig]:
        return [http_spans(self._tracer)]


def _join_trace(headers: Mapping[str, str]) -> None:
    context.attach(from_headers(headers))  # never detached: the context ends with the call
