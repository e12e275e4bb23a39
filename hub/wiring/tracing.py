"""Tracing, where the settings ask for it. The only place that imports hub.tracing: it needs the
extra `otel`. Where it is off, nothing is wrapped and nothing imported.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from typing import Protocol

import aiohttp
from aiohttp import web

from hub import __version__
from hub.core.channel import Channel
from hub.errors import OperatorError
from hub.ports.events import EventWriter, Subscriptions
from hub.ports.generations import GenerationStore
from hub.ports.upstreams import Upstream
from hub.settings import Settings

Join = Callable[[Mapping[str, str]], None]
"""Lets what follows in this contextvars.Context belong to the trace that these headers name."""


class Tracing(Protocol):
    """The hub's parts, with spans around what they do."""

    def watch(self, app: web.Application) -> None:
        """The requests of a listener; before it serves."""
        ...

    def join(self) -> Join | None:
        """For calls that are no requests over HTTP."""
        ...

    def events(self, events: EventWriter) -> EventWriter:
        """Return a writer that makes a span of each publish."""
        ...

    def subscriptions(
        self, subscriptions: Subscriptions, subscriber_count: Callable[[Channel], int]
    ) -> Subscriptions:
        """Return subscriptions that make a span of each delivery.

        subscriber_count: the number of a channel's connections on this node.
        """
        ...

    def generations(self, store: GenerationStore) -> GenerationStore:
        """Return a store whose new records keep the trace of the request."""
        ...

    def upstream(self, upstream: Upstream, kind: str) -> Upstream:
        """Asking an LLM. kind: its wire format."""
        ...

    def http_spans(self) -> list[aiohttp.TraceConfig]:
        """The requests of a session."""
        ...


class NoTracing:
    """Implements Tracing: everything stays as it is."""

    def watch(self, app: web.Application) -> None:
        pass

    def join(self) -> Join | None:
        return None

    def events(self, events: EventWriter) -> EventWriter:
        return events

    def subscriptions(
        self, subscriptions: Subscriptions, subscriber_count: Callable[[Channel], int]
    ) -> Subscriptions:
        return subscriptions

    def generations(self, store: GenerationStore) -> GenerationStore:
        return store

    def upstream(self, upstream: Upstream, kind: str) -> Upstream:
        return upstream

    def http_spans(self) -> list[aiohttp.TraceConfig]:
        return []


async def start_tracing(settings: Settings, service: str, parts: AsyncExitStack) -> Tracing:
    """Ends with `parts`, which sends what is left. Raises OperatorError."""
    endpoint = settings.tracing.endpoint
    if endpoint is None:
        return NoTracing()
    try:
        from hub.tracing.export import exporting
        from hub.tracing.tracing import OpenTelemetry
    except ImportError as error:
        raise OperatorError(
            f"tracing.endpoint needs OpenTelemetry, which cannot be used here ({error}): "
            "install the hub with its extra otel (docs/tracing.md)"
        ) from error
    tracer = await parts.enter_async_context(
        exporting(
            endpoint,
            sample_ratio=settings.tracing.sample_ratio,
            service=service,
            instance=settings.node.name,
            version=__version__,
        )
    )
    return OpenTelemetry(tracer)
