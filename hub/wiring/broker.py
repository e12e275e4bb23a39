"""What every process needs of the broker: a link that was reached, and how much the log keeps."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from hub.brokers.redis.log import Keep, Retention
from hub.errors import BrokerUnavailable, OperatorError
from hub.redislink import RedisLink, open_link
from hub.settings import Keep as KeepSettings
from hub.settings import Settings


@asynccontextmanager
async def reached_link(settings: Settings) -> AsyncIterator[RedisLink]:
    """A process that never reached its broker says so and ends; one that lost it later waits."""
    away = f"no Redis or Valkey at {settings.redis.place} (setting redis.url, HUB_REDIS__URL): "
    async with AsyncExitStack() as opened:
        try:
            link = await opened.enter_async_context(
                open_link(settings.redis.url, timeout_seconds=settings.redis.timeout_seconds)
            )
            await link.ping()
        except BrokerUnavailable as error:
            raise BrokerUnavailable(away + str(error)) from error
        except ValueError as error:
            raise OperatorError(
                f"the setting redis.url (HUB_REDIS__URL) is wrong: {error}"
            ) from error
        yield link


def retention_of(settings: Settings) -> Retention:
    """How much of each channel the log keeps, and for how long."""
    log = settings.log
    return Retention(
        user=_keep(log.user),
        topic=_keep(log.topic),
        everyone=_keep(log.everyone),
        position_ttl_seconds=log.position_ttl_seconds,
        idempotency_seconds=log.idempotency_seconds,
        generation_ttl_seconds=settings.generations.ttl_seconds,
    )


def _keep(keep: KeepSettings) -> Keep:
    return Keep(max_events=keep.max_events, max_bytes=keep.max_bytes, ttl_seconds=keep.ttl_seconds)
