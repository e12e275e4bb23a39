"""The publisher counts what it publishes, and waits only for what is stored."""

from __future__ import annotations

import pytest

from hub.core.channel import user_channel
from hub.engine.metrics.node_metrics import NodeMetrics
from hub.engine.publisher import Publisher, PublishRequest
from hub.testing.backend import MemoryBackend

ALICE = user_channel("alice")


def request(*, ephemeral: bool = False) -> PublishRequest:
    return PublishRequest(to=[ALICE], event="n", data=b"1", ephemeral=ephemeral)


@pytest.mark.parametrize(
    ("wait_replicas", "replicas", "counted"),
    [(0, None, 0), (1, 0, 2), (1, 1, 0), (2, 1, 2), (2, 3, 0)],
)
async def test_too_few_replicas_are_counted(
    wait_replicas: int, replicas: int | None, counted: int
) -> None:
    """Each stored event with fewer replicas than the setting counts, also in a batch."""
    backend, metrics = MemoryBackend(), NodeMetrics()
    publisher = Publisher(
        backend.events, max_data_bytes=100, wait_replicas=wait_replicas, metrics=metrics
    )
    backend.events.replicas = replicas
    await publisher.publish(request())
    await publisher.try_publish([request(), request(ephemeral=True)])
    assert sum(metrics.under_replicated.values()) == counted
    assert metrics.published["written"] == 3
