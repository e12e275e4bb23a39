"""A worker: the relay between the queue and the upstreams."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import aiohttp
import structlog

from hub.engine.attempts.attempt import GenerationResult
from hub.engine.functions.askable_upstreams import AskableUpstreams
from hub.engine.functions.user_feeds import UserFeeds
from hub.engine.metrics.live_metrics import LiveMetrics
from hub.engine.metrics.worker_metrics import WorkerMetrics
from hub.engine.tasks import Supervisor, SystemClock, run_unless
from hub.engine.usage import UsageRecorder
from hub.engine.worker.relay import Relay, RelayLimits
from hub.engine.worker.worker import Worker
from hub.http.applications import build_worker
from hub.http.server import ListenAddress, listen
from hub.metrics import render_prometheus
from hub.ports.backend import Backend
from hub.settings import Settings
from hub.upstreams.functions.pool import FunctionPool
from hub.upstreams.http.connector import UpstreamConnector
from hub.wiring.backend import (
    build_jobs,
    build_parts_limits,
    build_reconciler,
    known_models,
    open_backend,
    pinned_upstreams,
    worker_queues,
)
from hub.wiring.deliveries import open_delivery_loops
from hub.wiring.functions import open_functions, reload_on_signal, select_functions
from hub.wiring.guards import open_guards
from hub.wiring.outbox import build_outbox
from hub.wiring.push import open_push_worker
from hub.wiring.settings_warnings import warn_of_worker
from hub.wiring.shutdown import Shutdown
from hub.wiring.tracing import start_tracing
from hub.wiring.upstreams import build_upstream_models, build_upstreams
from hub.wiring.webhooks import open_webhooks

_log = structlog.get_logger(__name__)


async def run_worker(settings: Settings, stop: Shutdown) -> None:
    """Relay until `stop` is requested, then complete the running jobs or release them."""
    clock = SystemClock()
    async with AsyncExitStack() as opened:
        tracing = await start_tracing(settings, "hub-worker", opened)
        backend = await opened.enter_async_context(open_backend(settings, worker_queues(settings)))
        webhooks = await open_webhooks(settings, backend, clock)
        backend = webhooks.backend
        session = await opened.enter_async_context(
            aiohttp.ClientSession(
                connector=UpstreamConnector(),
                auto_decompress=True,
                trace_configs=tracing.http_spans(),
            )
        )
        metrics = WorkerMetrics(known_models(settings), backend.statistics)
        endpoints = {
            name: tracing.upstream(upstream, settings.upstreams[name].kind)
            for name, upstream in build_upstreams(
                settings, session, clock, on_odd_fields=metrics.record_odd_fields
            ).items()
        }
        feeds = UserFeeds.build(
            backend.events,
            backend.generations,
            clock,
            interval_seconds=settings.worker.lease_seconds / 3,
        )
        upstreams = {
            name: upstream
            for name, upstream in endpoints.items()
            if settings.upstreams[name].queue in settings.worker.queues
        }
        pools, called = list[FunctionPool](), select_functions(settings)
        guards = await run_unless(
            stop.requested,
            "start of guards",
            opened.enter_async_context(
                open_guards(
                    settings,
                    # A function may ask each upstream, also those of other workers.
                    {**(endpoints if called else upstreams), **called},
                    session,
                    clock,
                    metrics=metrics.guards,
                    pools=pools,
                )
            ),
        )
        if guards is None:
            return
        askable = AskableUpstreams(endpoints, build_upstream_models(settings), guards)
        functions = await run_unless(
            stop.requested,
            "start of functions",
            opened.enter_async_context(open_functions(settings, backend, askable, feeds, pools)),
        )
        if functions is None:
            return
        reload_on_signal(pools)
        warn_of_worker(settings, [*upstreams, *functions])
        usage_recorder = UsageRecorder(backend.usage)

        async def on_result(result: GenerationResult) -> None:
            metrics.record(result)
            await usage_recorder.record(result)

        jobs = build_jobs(settings, backend, on_result)

        async def on_relayed(result: GenerationResult) -> None:
            await on_result(result)
            await jobs.go_on_after(result.generation)

        worker = Worker(
            backend.queue,
            backend.generations,
            Relay(
                backend.events,
                backend.generations,
                upstreams,
                clock,
                RelayLimits(
                    max_attempts=settings.generations.max_attempts,
                    parts=build_parts_limits(settings),
                    flush_seconds=settings.generations.flush_seconds,
                    broker_timeout_seconds=settings.worker.lease_seconds,
                    max_queued_seconds=settings.generations.max_queued_seconds,
                ),
                functions={name: tracing.function(each) for name, each in functions.items()},
                guards=guards,
                version=settings.worker.version,
                pinned=pinned_upstreams(settings),
                remembering={
                    name for name, each in settings.upstreams.items() if each.remembers_chats
                },
            ),
            clock,
            concurrency=settings.worker.concurrency,
            lease_seconds=settings.worker.lease_seconds,
            on_result=on_relayed,
            on_notice=feeds.on_notice,
            on_released=jobs.check_released,
        )
        metrics.running.set_function(lambda: len(worker))
        await _serve_probes(settings, backend, metrics, stop, opened)
        loops = await open_delivery_loops(settings, webhooks, clock, metrics.deliveries, opened)
        live_metrics = LiveMetrics(
            backend.commands,
            backend.events,
            clock,
            name=f"worker {settings.node.name}",
            collect=metrics.families,
        )
        push = await open_push_worker(
            settings, backend, clock, metrics, opened, webhooks=webhooks.deliveries
        )
        async with Supervisor(clock) as tasks:
            tasks.start("commands", backend.commands.run)
            tasks.start("live metrics", live_metrics.run)
            tasks.start("queue", backend.queue.run)
            tasks.start("leases", worker.run_leases)
            tasks.start("notices", worker.run_notices)
            tasks.start("steering", feeds.steering.run)
            tasks.start("reconciler", build_reconciler(settings, backend, clock, jobs).run)
            async with (
                build_outbox(settings, backend, clock, metrics.outbox).running(clock),
                Supervisor(clock) as intake,
            ):
                loops.start(tasks, intake)
                intake.start("fetch", worker.run_fetch)
                push.start(tasks, intake)
                _log.info(
                    "worker.started",
                    upstreams=sorted([*upstreams, *functions]),
                    queues=settings.worker.queues,
                    version=settings.worker.version,
                )
                await stop.requested.wait()
            await asyncio.gather(
                worker.shut_down(settings.worker.drain_seconds, stop.forced),
                push.shut_down(settings.worker.drain_seconds, stop.forced),
                loops.shut_down(settings.worker.drain_seconds, stop),
            )
    _log.info("worker.stopped")


async def _serve_probes(
    settings: Settings,
    backend: Backend,
    metrics: WorkerMetrics,
    stop: Shutdown,
    opened: AsyncExitStack,
) -> None:
    """Serve /healthz and /metrics, if the settings have a port for them, until `opened` closes."""
    if settings.worker.port is None:
        return
    app = build_worker(
        backend.health.check_writable,
        lambda: "draining" if stop.requested.is_set() else "running",
        lambda: render_prometheus({"": metrics.families()}),
    )
    address = ListenAddress(settings.worker.host, settings.worker.port, "worker.port")
    await opened.enter_async_context(listen(app, address, cancel_handlers=False))
