"""What the store of webhooks must do."""

from __future__ import annotations

from typing import Final

import msgspec

from hub.core.webhooks import Endpoint
from hub.ports.webhooks import PausePolicy
from hub.testing.contracts.node import BackendOptions, OpenBackend

FIRST: Final = Endpoint(id="w_000000000001", url="https://a.example/ü?x=1", secrets=("whsec_x",))
SECOND: Final = Endpoint(
    id="w_000000000002",
    url="https://b.example/",
    secrets=("whsec_y", "whsec_z"),
    events=("generation.done",),
    include="record",
)
AT_ONCE: Final = PausePolicy(failures=2, failing_seconds=0.0, min_seconds=60.0, max_seconds=100.0)


class WebhooksContract:
    """The suite for ports.webhooks."""

    async def test_endpoints(self, open_backend: OpenBackend) -> None:
        """Every process sees the same endpoints, of which there is a limited number."""
        first, second = [(await open_backend(BackendOptions())).webhooks for _ in range(2)]
        assert await first.put(FIRST, 2)
        assert await second.put(SECOND, 2)
        assert not await first.put(msgspec.structs.replace(FIRST, id="w_000000000003"), 2)
        changed = msgspec.structs.replace(FIRST, url="https://c.example/")
        assert await first.put(changed, 2)
        stored = await second.read([])
        assert sorted(stored.endpoints, key=lambda each: each.id) == [changed, SECOND]
        assert stored.states == {}
        assert await first.delete(FIRST.id)
        assert not await second.delete(FIRST.id)
        assert (await second.read([])).endpoints == [SECOND]

    async def test_pauses(self, open_backend: OpenBackend) -> None:
        """An endpoint that keeps failing is paused for every process until a success."""
        first, second = [(await open_backend(BackendOptions())).webhooks for _ in range(2)]
        await first.put(FIRST, 10)
        for endpoint in (FIRST.id, "s_000000000009"):
            state = await first.record_failure(endpoint, "down", AT_ONCE)
            assert (state.failures, state.paused_seconds, state.error) == (1, 0.0, "down")
            state = await second.record_failure(endpoint, "still down", AT_ONCE)
            assert 0 < state.paused_seconds <= 60
            again = await second.record_failure(endpoint, "x", AT_ONCE)  # no longer pause
            assert 0 < again.paused_seconds <= 60
        states = (await first.read(["s_000000000009"])).states
        assert {name: state.failures for name, state in states.items()} == {
            FIRST.id: 3,
            "s_000000000009": 3,
        }
        assert set((await first.read([])).states) == {FIRST.id}
        await second.record_success(FIRST.id)
        assert (await first.read([])).states == {}

    async def test_time_until_pause(self, open_backend: OpenBackend) -> None:
        """Failures within a short time do not pause an endpoint."""
        store = (await open_backend(BackendOptions())).webhooks
        policy = msgspec.structs.replace(AT_ONCE, failing_seconds=3600.0)
        for n in range(5):
            state = await store.record_failure(FIRST.id, "down", policy)
            assert (state.failures, state.paused_seconds) == (n + 1, 0.0)
