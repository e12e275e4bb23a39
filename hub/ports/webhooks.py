"""The endpoints of webhooks that the API has created, and the state of all endpoints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import msgspec

from hub.core.channel import Channel
from hub.core.deliveries import Delivery
from hub.core.webhooks import Endpoint


class EndpointState(msgspec.Struct, frozen=True, kw_only=True):
    """The state of an endpoint whose last attempt failed.

    failures: attempts in a row that failed. failing_seconds: the time since the first one.
    paused_seconds: for how long nothing is sent; 0 if it is not paused. error: the newest one.
    """

    failures: int
    failing_seconds: float
    paused_seconds: float
    error: str


class PausePolicy(msgspec.Struct, frozen=True, kw_only=True):
    """When an endpoint is paused.

    failures, failing_seconds: an endpoint is paused after so many failures in a row over at least
    this time. min_seconds, max_seconds: the first pause; each one that follows is twice as long, up
    to the longest.
    """

    failures: int
    failing_seconds: float
    min_seconds: float
    max_seconds: float


class StoredWebhooks(NamedTuple):
    """All endpoints of the API, and the states of those that fail, by id."""

    endpoints: Sequence[Endpoint]
    states: Mapping[str, EndpointState]


class WebhookStore(Protocol):
    """Endpoints and states, shared by all processes. Every method raises BrokerUnavailable."""

    async def put(self, endpoint: Endpoint, max_endpoints: int) -> bool:
        """Add or replace an endpoint. Return False, and do nothing, if there are too many."""
        ...

    async def delete(self, endpoint: str) -> bool:
        """Delete an endpoint and its state; return whether there was one."""
        ...

    async def read(self, known: Sequence[str]) -> StoredWebhooks:
        """Return all endpoints, and their states. known: endpoints that the store does not have,
        whose states are returned too.
        """
        ...

    async def record_failure(self, endpoint: str, error: str, policy: PausePolicy) -> EndpointState:
        """Count a failed attempt; return the state after it."""
        ...

    async def record_success(self, endpoint: str) -> None:
        """Forget the failures of an endpoint, which is not paused any more."""
        ...


class EventDeliveries(Protocol):
    """Makes the deliveries of an event for the endpoints that want it."""

    def build(self, event: str, channel: Channel, data: Mapping[str, Any]) -> Sequence[Delivery]:
        """Return one delivery for each endpoint that gets the event.

        channel: the channel that the deliveries belong to. data: JSON that follows `user` or
        `topic` in the body.
        """
        ...
