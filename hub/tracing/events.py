"""Spans of publishes and deliveries.

A publish is a PRODUCER span. Each node with subscribers of the channel makes a CONSUMER span, which
is a child of the first and linked to it. One PRODUCER span covers all events of one call, and one
CONSUMER span all of them that a node receives in one iteration of the loop.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import msgspec
from opentelemetry.trace import (
    INVALID_SPAN,
    Link,
    Span,
    SpanKind,
    StatusCode,
    Tracer,
    get_current_span,
)

from hub.core.channel import ALL, Channel
from hub.core.event import Event
from hub.errors import BrokerUnavailable
from hub.ports.events import EventWriter, Publication, Published, Subscriptions
from hub.tracing.propagation import child_context, event_trace, parse_event_trace

_TEMPLATES: Final = {"user": "user:{id}", "topic": "topic:{name}", ALL: ALL}


class TracedEventWriter:
    """Implements ports.events.EventWriter around another writer."""

    def __init__(self, events: EventWriter, tracer: Tracer) -> None:
        self._events = events
        self._tracer = tracer

    async def publish(self, publications: Sequence[Publication]) -> list[Published]:
        with self._publishing(publications) as (_, traced):
            return await self._events.publish(traced)

    async def try_publish(
        self, publications: Sequence[Publication]
    ) -> list[Published | BrokerUnavailable]:
        with self._publishing(publications) as (span, traced):
            results = await self._events.try_publish(traced)
            if any(isinstance(result, BrokerUnavailable) for result in results):
                _fail(span)
            return results

    @contextmanager
    def _publishing(
        self, publications: Sequence[Publication]
    ) -> Iterator[tuple[Span, Sequence[Publication]]]:
        caller = get_current_span().get_span_context()
        if caller.is_valid and not caller.trace_flags.sampled:
            yield INVALID_SPAN, publications  # the usual case: the caller is not sampled
            return
        kind = _kind_of(publications)
        attributes: dict[str, str | int] = {
            "messaging.system": "redis",
            "messaging.operation.type": "send",
            "messaging.operation.name": "publish",
        }
        if kind:
            attributes["messaging.destination.template"] = _TEMPLATES[kind]
        if len(publications) != 1:
            attributes["messaging.batch.message_count"] = len(publications)
        span = self._tracer.start_span(
            f"publish {kind}".rstrip(), kind=SpanKind.PRODUCER, attributes=attributes
        )
        try:
            if span.is_recording():
                trace = event_trace(span)
                publications = [msgspec.structs.replace(p, trace=trace) for p in publications]
            yield span, publications
        except BrokerUnavailable:
            _fail(span)
            raise
        finally:
            span.end()


class TracedSubscriptions:
    """Implements ports.events.Subscriptions around others; only `listen` does something else.

    subscriber_count: the number of a channel's connections on this node.
    """

    def __init__(
        self,
        subscriptions: Subscriptions,
        tracer: Tracer,
        subscriber_count: Callable[[Channel], int],
    ) -> None:
        self.subscribe = subscriptions.subscribe
        self.unsubscribe = subscriptions.unsubscribe
        self.restore = subscriptions.restore
        self.run = subscriptions.run
        self._listen = subscriptions.listen
        self._tracer = tracer
        self._subscriber_count = subscriber_count

    def listen(
        self, on_events: Callable[[Sequence[Event]], None], on_resubscribed: Callable[[], None]
    ) -> None:
        def on_events_traced(events: Sequence[Event]) -> None:
            traced = [event for event in events if event.trace]
            started_ns = time.time_ns()
            on_events(events)
            if traced:
                self._record_deliveries(traced, started_ns)

        self._listen(on_events_traced, on_resubscribed)

    def _record_deliveries(self, events: Sequence[Event], started_ns: int) -> None:
        ended_ns = time.time_ns()
        by_trace: dict[str, list[Channel]] = {}
        for event in events:
            by_trace.setdefault(event.trace, []).append(event.channel)
        for trace, channels in by_trace.items():
            publisher = parse_event_trace(trace)
            connections = sum(map(self._subscriber_count, channels))
            if publisher is None or not connections:
                continue
            span = self._tracer.start_span(
                "deliver",
                child_context(publisher),
                kind=SpanKind.CONSUMER,
                links=[Link(publisher)],
                start_time=started_ns,
                attributes={
                    "messaging.system": "redis",
                    "messaging.operation.type": "process",
                    "messaging.operation.name": "deliver",
                    "messaging.batch.message_count": len(channels),
                    "hub.connections": connections,
                },
            )
            span.end(ended_ns)


def _kind_of(publications: Sequence[Publication]) -> str:
    """Return the kind of channel of all publications; empty when there are several kinds."""
    kinds = {publication.channel.partition(":")[0] for publication in publications}
    return kinds.pop() if len(kinds) == 1 else ""


def _fail(span: Span) -> None:
    span.set_attribute("error.type", BrokerUnavailable.__name__)
    span.set_status(StatusCode.ERROR)
