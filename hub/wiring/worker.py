"""A worker: the relay between the queue and the upstreams."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import aiohttp
import structlog

from hub.brokers.redis import RedisBroker, RedisGenerationStore
from hub.engine.relay import Relay, RelayLimits
from hub.engine.supervise import Supervisor, SystemClock
from hub.engine.worker import Worker
from hub.queues.redis import RedisGenerationQueue
from hub.settings import Settings
from hub.wiring.broker import reached_link, retention_of
from hub.wiring.upstreams import upstreams_of

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
            upstreams_of(settings, session, clock, settings.worker.queues),
            clock,
            RelayLimits(
                max_attempts=settings.generations.max_attempts,
                max_text_bytes=settings.generations.max_text_bytes,
                flush_seconds=settings.generations.flush_seconds,
                broker_patience_seconds=settings.worker.lease_seconds,
                max_queued_seconds=settings.generations.max_queued_seconds,
            ),
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
