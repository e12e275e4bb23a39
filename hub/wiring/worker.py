"""A worker: the relay between the queue and the upstreams."""

from __future__ import annotations

from contextlib import AsyncExitStack

import aiohttp
import structlog

from hub.brokers.redis import RedisBroker, RedisGenerationStore
from hub.brokers.redis.control import RedisControlBus
from hub.brokers.redis.usage import RedisUsageLedger
from hub.engine.relay import Ended, Relay, RelayLimits
from hub.engine.reports import Reports
from hub.engine.supervise import Supervisor, SystemClock
from hub.engine.usage import Accounts
from hub.engine.worker import Worker
from hub.metrics import WorkerMetrics
from hub.settings import Settings
from hub.web.listening import Place, listening
from hub.web.worker import build_worker
from hub.wiring.broker import reached_link, retention_of
from hub.wiring.jobs import queue_of
from hub.wiring.stopping import Stopping
from hub.wiring.tracing import tracing_of
from hub.wiring.upstreams import upstreams_of

_log = structlog.get_logger(__name__)


async def run_worker(settings: Settings, stop: Stopping) -> None:
    """Relays until `stop` is set, then finishes or hands over what runs."""
    clock = SystemClock()
    async with AsyncExitStack() as parts:
        tracing = await tracing_of(settings, "hub-worker", parts)
        link = await parts.enter_async_context(reached_link(settings))
        session = await parts.enter_async_context(
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),
                auto_decompress=True,
                trust_env=True,
                trace_configs=tracing.http_spans(),
            )
        )
        broker = RedisBroker(link, retention_of(settings))
        store = RedisGenerationStore(link, retention_of(settings))
        queue = queue_of(settings, link, settings.worker.queues)
        upstreams = {
            name: tracing.upstream(upstream, settings.upstreams[name].kind)
            for name, upstream in upstreams_of(
                settings, session, clock, settings.worker.queues
            ).items()
        }
        models = {
            name: {*upstream.models, upstream.default_model or ""}
            for name, upstream in settings.upstreams.items()
        }
        metrics = WorkerMetrics(models, running=lambda: len(worker))
        accounts = Accounts(RedisUsageLedger(link, keep_seconds=settings.generations.usage_seconds))

        async def note(ended: Ended) -> None:
            metrics.note(ended)
            await accounts.note(ended)

        worker = Worker(
            queue,
            store,
            Relay(
                broker,
                store,
                upstreams,
                clock,
                RelayLimits(
                    max_attempts=settings.generations.max_attempts,
                    max_text_bytes=settings.generations.max_text_bytes,
                    flush_seconds=settings.generations.flush_seconds,
                    broker_patience_seconds=settings.worker.lease_seconds,
                    max_queued_seconds=settings.generations.max_queued_seconds,
                ),
            ),
            clock,
            concurrency=settings.worker.concurrency,
            lease_seconds=settings.worker.lease_seconds,
            note=note,
        )
        if settings.worker.port is not None:
            app = build_worker(
                link.ping, lambda: "draining" if stop.asked.is_set() else "running", metrics.text
            )
            place = Place(settings.worker.host, settings.worker.port, "worker.port")
            await parts.enter_async_context(listening(app, place, cancel_handlers=False))
        orders = RedisControlBus(link)
        name = f"worker {settings.node.name}"
        reports = Reports(orders, broker, clock, name=name, say=metrics.families)
        async with Supervisor(clock) as tasks:
            tasks.start("orders", orders.run)
            tasks.start("reports", reports.run)
            tasks.start("queue", queue.run)
            tasks.start("leases", worker.keep_leases)
            tasks.start("stops", worker.hear_stops)
            async with Supervisor(clock) as intake:
                intake.start("fetch", worker.fetch)
                _log.info(
                    "worker.started", upstreams=sorted(upstreams), queues=settings.worker.queues
                )
                await stop.asked.wait()
            await worker.shut_down(settings.worker.drain_seconds, stop.hurried)
    _log.info("worker.stopped")
