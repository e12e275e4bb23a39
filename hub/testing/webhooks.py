"""The endpoints of webhooks in memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from hub.core.webhooks import Endpoint
from hub.ports.webhooks import EndpointState, PausePolicy, StoredWebhooks


class _State:
    def __init__(self, now: float) -> None:
        self.failures = self.pauses = 0
        self.since = now
        self.paused_until = 0.0
        self.error = ""

    def view(self, now: float) -> EndpointState:
        return EndpointState(
            failures=self.failures,
            failing_seconds=now - self.since,
            paused_seconds=max(0.0, self.paused_until - now),
            error=self.error,
        )


class MemoryWebhookStore:
    """Implements ports.webhooks.WebhookStore. now: Unix time in seconds."""

    def __init__(
        self,
        *,
        check_available: Callable[[], None] = lambda: None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._check_available = check_available
        self._now = now
        self._endpoints: dict[str, Endpoint] = {}
        self._states: dict[str, _State] = {}

    async def put(self, endpoint: Endpoint, max_endpoints: int) -> bool:
        self._check_available()
        if endpoint.id not in self._endpoints and len(self._endpoints) >= max_endpoints:
            return False
        self._endpoints[endpoint.id] = endpoint
        return True

    async def delete(self, endpoint: str) -> bool:
        self._check_available()
        self._states.pop(endpoint, None)
        return self._endpoints.pop(endpoint, None) is not None

    async def read(self, known: Sequence[str]) -> StoredWebhooks:
        self._check_available()
        names = {*self._endpoints, *known}
        states = {
            name: state.view(self._now()) for name, state in self._states.items() if name in names
        }
        return StoredWebhooks([*self._endpoints.values()], states)

    async def record_failure(self, endpoint: str, error: str, policy: PausePolicy) -> EndpointState:
        self._check_available()
        now = self._now()
        state = self._states.setdefault(endpoint, _State(now))
        state.failures += 1
        state.error = error
        is_failing = (
            state.failures >= policy.failures and now - state.since >= policy.failing_seconds
        )
        if is_failing and state.paused_until <= now:
            step = policy.min_seconds * 2 ** min(state.pauses, 30)
            state.paused_until = now + min(policy.max_seconds, step)
            state.pauses += 1
        return state.view(now)

    async def record_success(self, endpoint: str) -> None:
        self._check_available()
        self._states.pop(endpoint, None)
