"""Webhooks of a process: the endpoints, and the event log that writes their deliveries."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any, cast

import msgspec

from hub.core.webhooks import EVENT_NAMES, Endpoint, settings_endpoint_id
from hub.http.outgoing import open_public_client
from hub.ports.backend import Backend
from hub.ports.clock import Clock
from hub.ports.events import EventLog
from hub.settings import Settings
from hub.webhooks.endpoints import Endpoints
from hub.webhooks.events import WebhookDeliveries, WebhookEventLog
from hub.webhooks.sender import WebhookSender


class Webhooks(msgspec.Struct, frozen=True):
    """The parts of webhooks that every process has.

    backend: the backend whose event log writes deliveries.
    """

    endpoints: Endpoints
    deliveries: WebhookDeliveries
    backend: Backend


class _BackendWithEvents:
    """A backend with another event log."""

    def __init__(self, backend: Backend, events: EventLog) -> None:
        self._backend = backend
        self.events = events

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)


def build_webhooks(settings: Settings, backend: Backend, clock: Clock) -> Webhooks:
    """Build the parts of webhooks. Nothing runs yet; `endpoints.run` reads those of the API."""
    fixed = [
        Endpoint(
            id=settings_endpoint_id(each.url),
            url=each.url,
            secrets=tuple(secret.get_secret_value() for secret in each.secrets),
            events=tuple(each.events) or EVENT_NAMES,
            include=each.include,
            allow_private=each.allow_private,
        )
        for each in settings.webhooks
    ]
    endpoints = Endpoints(backend.webhooks, clock, fixed)
    deliveries = WebhookDeliveries(endpoints)
    events = WebhookEventLog(backend.events, backend.generations, endpoints, deliveries)
    wrapped = cast(Backend, _BackendWithEvents(backend, events))
    return Webhooks(endpoints, deliveries, wrapped)


async def open_webhooks(settings: Settings, backend: Backend, clock: Clock) -> Webhooks:
    """Build the parts of webhooks, and read the endpoints of the API. Raise BrokerUnavailable."""
    webhooks = build_webhooks(settings, backend, clock)
    await webhooks.endpoints.refresh()
    return webhooks


async def open_webhook_sender(
    settings: Settings, webhooks: Webhooks, opened: AsyncExitStack
) -> tuple[WebhookSender, float]:
    """Open the sender, which closes with `opened`. Return it and the length of its leases."""
    concurrency = settings.deliveries.concurrency
    public, private = [
        await opened.enter_async_context(
            open_public_client(
                allow_private=allow_private,
                timeout_seconds=settings.deliveries.timeout_seconds,
                max_connections=concurrency,
            )
        )
        for allow_private in (False, True)
    ]
    sender = WebhookSender(
        webhooks.endpoints,
        webhooks.backend.webhooks,
        public,
        private,
        max_per_endpoint=max(1, concurrency * 3 // 4),
    )
    return sender, 3 * settings.deliveries.timeout_seconds
