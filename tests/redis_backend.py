"""The Redis backend with the defaults of the settings, for tests."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from hub.backends.redis import RedisBackend
from hub.backends.redis.client import RedisClient
from hub.backends.redis.events import Retention
from hub.core.deliveries import DeliveryLimits
from hub.core.fair_queue import QueueLimits
from hub.settings import Settings
from hub.wiring.backend import build_delivery_limits, build_queue_limits, build_retention


def retention(**log: Any) -> Retention:
    """Return the default retention, changed as the table `log` of the settings would."""
    return build_retention(Settings(log=log))


@cache
def _default_settings() -> Settings:
    return Settings()


def redis_backend(
    client: RedisClient,
    *,
    log: dict[str, Any] | None = None,
    inbox: dict[str, Any] | None = None,
    queue_limits: QueueLimits | None = None,
    delivery_limits: DeliveryLimits | None = None,
    lease_seconds: float = 60.0,
    queues: Sequence[str] = ("default",),
    **push: Any,
) -> RedisBackend:
    """Return a backend over the client."""
    settings = _default_settings()
    return RedisBackend(
        client,
        build_retention(Settings(log=log or {}, inbox=inbox or {}) if log or inbox else settings),
        queue_limits or build_queue_limits(settings),
        lease_seconds=lease_seconds,
        queues=queues,
        delivery_limits=delivery_limits or build_delivery_limits(settings),
        usage_seconds=settings.generations.usage_seconds,
        **push,
    )
