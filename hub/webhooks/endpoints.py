"""The endpoints of webhooks, as this process knows them.

Those of the settings are known from the start. Those of the API are read again every few seconds,
so every process knows a new one within REFRESH_SECONDS, and the process that created it at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from hub.core.webhooks import (
    MAX_ENDPOINTS,
    Endpoint,
    new_endpoint_id,
    new_secret,
)
from hub.error_codes import TOO_MANY_WEBHOOKS, WEBHOOK_IN_SETTINGS, WEBHOOK_NOT_FOUND
from hub.errors import Conflict, NotFound
from hub.ports.clock import Clock
from hub.ports.webhooks import EndpointState, WebhookStore

REFRESH_SECONDS: Final = 5.0


class Endpoints:
    """All endpoints.

    fixed: those of the settings. on_read: called after each look at the store.
    """

    def __init__(
        self,
        store: WebhookStore,
        clock: Clock,
        fixed: Sequence[Endpoint] = (),
        *,
        on_read: Callable[[], None] = lambda: None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._fixed = {endpoint.id: endpoint for endpoint in fixed}
        self._by_id: Mapping[str, Endpoint] = dict(self._fixed)
        self._by_event: dict[str, list[Endpoint]] = {}
        self._states: Mapping[str, EndpointState] = {}
        self._read_at = float("-inf")
        self._on_read = on_read
        self._index()

    def all(self) -> Sequence[Endpoint]:
        """Return all endpoints, those of the settings first."""
        return list(self._by_id.values())

    def of_event(self, event: str) -> Sequence[Endpoint]:
        """Return the endpoints that get an event."""
        return self._by_event.get(event, ())

    def has_event(self, *events: str) -> bool | None:
        """Return whether an endpoint gets one of the events; None while those of the API are not
        known, and no endpoint of the settings does.
        """
        if any(self._by_event.get(event) for event in events):
            return True
        return None if self._read_at == float("-inf") else False

    def get(self, endpoint: str) -> Endpoint | None:
        """Return an endpoint, None if this process knows none with the id."""
        return self._by_id.get(endpoint)

    def state_of(self, endpoint: str) -> EndpointState | None:
        """Return the state of an endpoint as it was read last; None if it does not fail."""
        return self._states.get(endpoint)

    def paused_seconds(self, endpoint: str) -> float:
        """Return for how long nothing is sent to an endpoint; 0 if it is not paused."""
        state = self._states.get(endpoint)
        if state is None:
            return 0.0
        return max(0.0, state.paused_seconds - (self._clock.now() - self._read_at))

    def count_paused(self) -> int:
        """Return the number of endpoints to which nothing is sent now."""
        return sum(self.paused_seconds(endpoint) > 0 for endpoint in self._by_id)

    async def refresh(self) -> None:
        """Read the endpoints of the API and all states. Raise BrokerUnavailable."""
        stored = await self._store.read(list(self._fixed))
        by_id = {endpoint.id: endpoint for endpoint in stored.endpoints}
        self._by_id = {**self._fixed, **by_id}
        self._states, self._read_at = stored.states, self._clock.now()
        self._index()
        self._on_read()

    async def run(self) -> None:
        """Read them at intervals, until cancelled. Raise BrokerUnavailable."""
        while True:
            await self.refresh()
            await self._clock.sleep(REFRESH_SECONDS)

    async def create(self, url: str, events: Sequence[str], include: str | None) -> Endpoint:
        """Create an endpoint with a new secret. Raise Conflict, BrokerUnavailable."""
        endpoint = Endpoint(
            id=new_endpoint_id(),
            url=url,
            secrets=(new_secret(),),
            events=tuple(events),
            include=include,
        )
        if not await self._store.put(endpoint, MAX_ENDPOINTS):
            raise Conflict(
                f"there are {MAX_ENDPOINTS} webhooks already; delete one", code=TOO_MANY_WEBHOOKS
            )
        await self.refresh()
        return endpoint

    async def delete(self, endpoint: str) -> None:
        """Delete an endpoint of the API. Raise NotFound, Conflict, BrokerUnavailable."""
        if endpoint in self._fixed:
            raise Conflict(
                "this webhook is in the settings; remove it there", code=WEBHOOK_IN_SETTINGS
            )
        is_deleted = await self._store.delete(endpoint)
        await self.refresh()
        if not is_deleted:
            raise NotFound(f"there is no webhook {endpoint}", code=WEBHOOK_NOT_FOUND)

    def _index(self) -> None:
        by_event: dict[str, list[Endpoint]] = {}
        for endpoint in self._by_id.values():
            for event in endpoint.events:
                by_event.setdefault(event, []).append(endpoint)
        self._by_event = by_event
