"""SyncHubClient: publishing from scripts, Django and Celery, without an event loop."""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType
from typing import Any, Self

from hub.client.errors import HubClientError
from hub.client.presence import (
    Node,
    Presence,
    StoredEvents,
    disconnect_call,
    nodes_call,
    presence_call,
    revoke_call,
    stored_events_call,
)
from hub.client.publishing import (
    Publication,
    Published,
    PublishResult,
    To,
    publish_call,
    publish_many_steps,
)
from hub.client.retry_policy import RetryPolicy
from hub.client.sync_http import SyncHttpClient


class SyncHubClient:
    """`hub = SyncHubClient(internal_url, key)`, one for the program, its threads and forks; its
    calls block, and raise HubClientError. In a view that must not wait:
    `patience=Patience(tries=1, timeout_seconds=2)`.
    """

    def __init__(
        self, internal_url: str, key: str | None = None, *, retry: RetryPolicy | None = None
    ) -> None:
        self._link = SyncHttpClient(internal_url, key, retry or RetryPolicy())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections that wait; a later call opens another."""
        self._link.close()

    def publish(
        self,
        to: To,
        event: str = "notification",
        data: Any = None,
        *,
        idempotency_key: str | None = None,
        ephemeral: bool = False,
        ttl_seconds: float | None = None,
    ) -> list[Published]:
        """As HubClient.publish."""
        item = Publication(to, event, data, idempotency_key, ephemeral, ttl_seconds)
        return self._link.send(publish_call(item))

    def publish_many(self, items: Iterable[Publication]) -> list[PublishResult]:
        """As HubClient.publish_many."""
        steps = publish_many_steps(items, self._link.patience)
        try:
            call = next(steps)
            while True:
                try:
                    results = self._link.send(call)
                except HubClientError as error:
                    call = steps.throw(error)
                else:
                    call = steps.send(results)
        except StopIteration as end:
            every: list[PublishResult] = end.value
            return every

    def presence(self, user: str | None = None, *, limit: int = 100) -> Presence:
        """As HubClient.presence."""
        return self._link.send(presence_call(user, limit))

    def nodes(self) -> list[Node]:
        """As HubClient.nodes."""
        return self._link.send(nodes_call())

    def stored_events(
        self, user: str, *, after: str | None = None, limit: int = 100
    ) -> StoredEvents:
        """As HubClient.stored_events."""
        return self._link.send(stored_events_call(user, after, limit))

    def disconnect(self, user: str, *, block_seconds: float = 0.0) -> float | None:
        """As HubClient.disconnect."""
        return self._link.send(disconnect_call(user, block_seconds))

    def revoke(self, jti: str, expires_at: float) -> None:
        """As HubClient.revoke."""
        self._link.send(revoke_call(jti, expires_at))
