"""What every process needs of the broker: a link that was reached, and how much the log keeps."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from hub.brokers.redis.log import Retention
from hub.errors import BrokerUnavailable
from hub.redislink import RedisLink, open_link
from hub.settings import Settings


@asynccontextmanager
async def reached_link(settings: Settings) -> AsyncIterator[RedisLink]:
    """A process that never reached its broker says so and ends; one that lost it later waits."""
    timeout_seconds = settings.redis.timeout_seconds
    async with open_link(settings.redis.url, timeout_seconds=timeout_seconds) as link:
        try:
            async with link.call() as client:
                await client.ping()
        except BrokerUnavailable as error:
            raise BrokerUnavailable(
                f"no Redis or Valkey at {settings.redis.place} "
                f"(setting redis.url, HUB_REDIS__URL): {error}"
            ) from error
        yield link


def retention_of(settings: Settings) -> Retention:
    """How much of each channel the log keeps, and for how long."""
    return Retention(
        max_events=settings.log.max_events,
        ttl_seconds=settings.log.ttl_seconds,
        position_ttl_seconds=settings.log.position_ttl_seconds,
        idempotency_seconds=settings.log.idempotency_seconds,
        generation_ttl_seconds=settings.generations.ttl_seconds,
    )
