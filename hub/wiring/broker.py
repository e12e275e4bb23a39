"""What every process needs of the broker: a link that was reached, and how much the log keeps."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from hub.backends.redis.client import RedisClient, open_client
from hub.backends.redis.events import ChannelRetention, Retention
from hub.errors import BrokerUnavailable, OperatorError
from hub.settings import ChannelRetention as KeepSettings
from hub.settings import Settings


@asynccontextmanager
async def connect_redis(settings: Settings) -> AsyncIterator[RedisClient]:
    """A process that never reached its broker says so and ends; one that lost it later waits."""
    server = settings.redis.url_without_password
    away = f"no Redis or Valkey at {server} (setting redis.url, HUB_REDIS__URL): "
    async with AsyncExitStack() as opened:
        try:
            link = await opened.enter_async_context(
                open_client(settings.redis.url, timeout_seconds=settings.redis.timeout_seconds)
            )
            await link.ping()
        except BrokerUnavailable as error:
            raise BrokerUnavailable(away + str(error)) from error
        except ValueError as error:
            raise OperatorError(
                f"the setting redis.url (HUB_REDIS__URL) is wrong: {error}"
            ) from error
        yield link


def build_retention(settings: Settings) -> Retention:
    """How much of each channel the log keeps, and for how long."""
    log = settings.log
    return Retention(
        user=_keep(log.user),
        topic=_keep(log.topic),
        all=_keep(log.all),
        position_ttl_seconds=log.position_ttl_seconds,
        idempotency_seconds=log.idempotency_seconds,
        generation_ttl_seconds=settings.generations.ttl_seconds,
    )


def _keep(keep: KeepSettings) -> ChannelRetention:
    return ChannelRetention(
        max_events=keep.max_events, max_bytes=keep.max_bytes, ttl_seconds=keep.ttl_seconds
    )
