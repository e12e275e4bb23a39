"""Tracing, if the settings enable it.

Only this module imports hub.tracing, which needs the extra `otel`. While tracing is off, nothing is
wrapped and nothing is imported.
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
from hub.ports.functions import Function
from hub.ports.generations import GenerationStore
from hub.ports.upstreams import Upstream
from hub.settings import Settings

Join = Callable[[Mapping[str, str]], None]
"""Makes the current contextvars.Context part of the trace that the headers name."""


class Tracing(Protocol):
    """Wraps parts of the hub so that they make spans."""

    def watch(self, app: web.Application) -> None:
        """Make spans of the requests to an application; call it before the application serves."""
        ...

    def join(self) -> Join | None:
        """Return how a gRPC call joins the trace of its caller; None when tracing is off."""
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
        """Return an upstream that makes a span of each request. kind: its wire format."""
        ...

    def function(self, function: Function) -> Function:
        """Return a function of the application that makes a span of each attempt."""
        ...

    def http_spans(self) -> list[aiohttp.TraceConfig]:
        """Return the trace configurations for an HTTP session."""
        ...


class NoTracing:
    """Implements Tracing without any span: every part stays as it is."""

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

    def function(self, function: Function) -> Function:
        return function

    def http_spans(self) -> list[aiohttp.TraceConfig]:
        return []


async def start_tracing(settings: Settings, service: str, opened: AsyncExitStack) -> Tracing:
    """Start tracing; it ends with `opened`, when the remaining spans are sent.

    Raise OperatorError when OpenTelemetry is not installed.
    """
    endpoint = settings.tracing.endpoint
    if endpoint is None:
        return NoTracing()
    try:
        from hub.tracing.export import exporting
        from hub.tracing.tracing import OpenTelemetry
    except ImportError as error:
        raise OperatorError(
            f"tracing.endpoint needs OpenTelemetry, which cannot be used here ({error}): "
            "install ssehub[otel] (docs/guides/tracing.md)"
        ) from error
    tracer = await opened.enter_async_context(
        exporting(
            endpoint,
            sample_ratio=settings.tracing.sample_ratio,
            service=service,
            instance=settings.node.name,
            version=__version__,
        )
    )
    return OpenTelemetry(tracer)
