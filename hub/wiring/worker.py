"""A worker: the relay between the queue and the upstreams."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack

import aiohttp
import structlog

from hub.brokers.redis import RedisBroker, RedisGenerationStore
from hub.engine.relay import Relay
from hub.engine.supervise import Supervisor, SystemClock
from hub.engine.worker import Worker
from hub.ports import Upstream
from hub.queues.redis import RedisGenerationQueue
from hub.settings import Settings
from hub.settings import Upstream as UpstreamSettings
from hub.upstreams.http import Patience
from hub.upstreams.openai import OpenAiUpstream
from hub.wiring.broker import reached_link, retention_of

_log = structlog.get_logger(__name__)


async def run_worker(settings: Settings, stop: asyncio.Event) -> None:
    """Relays until `stop` is set, then finishes or hands over what runs."""
    clock = SystemClock()
    async with AsyncExitStack() as parts:
        link = await parts.enter_async_context(reached_link(settings))
        session = await parts.enter_async_context(
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0), auto_decompress=True, trust_env=True
            )
        )
        store = RedisGenerationStore(link, retention_of(settings))
        queue = RedisGenerationQueue(link, lease_seconds=settings.worker.lease_seconds)
        relay = Relay(
            RedisBroker(link, retention_of(settings)),
            store,
            _upstreams(settings, session),
            clock,
            max_attempts=settings.generations.max_attempts,
            max_text_bytes=settings.generations.max_text_bytes,
            broker_patience_seconds=settings.worker.lease_seconds,
        )
        worker = Worker(
            queue,
            store,
            relay,
            clock,
            concurrency=settings.worker.concurrency,
            lease_seconds=settings.worker.lease_seconds,
        )
        async with Supervisor(clock) as tasks:
            tasks.start("queue", queue.run)
            tasks.start("stops", worker.hear_stops)
            async with Supervisor(clock) as intake:
                intake.start("fetch", worker.fetch)
                _log.info("worker.started", upstreams=sorted(settings.upstreams))
                await stop.wait()
            await worker.shut_down(settings.worker.drain_seconds)
    _log.info("worker.stopped")


def _upstreams(settings: Settings, session: aiohttp.ClientSession) -> Mapping[str, Upstream]:
    return {name: _upstream(each, session) for name, each in settings.upstreams.items()}


def _upstream(settings: UpstreamSettings, session: aiohttp.ClientSession) -> Upstream:
    key = settings.api_key
    return OpenAiUpstream(
        session,
        base_url=settings.base_url,
        api_key=key.get_secret_value() if key else None,
        headers=settings.headers,
        patience=Patience(
            connect_seconds=settings.connect_seconds,
            first_byte_seconds=settings.first_byte_seconds,
            idle_seconds=settings.idle_seconds,
            total_seconds=settings.total_seconds,
        ),
    )
