"""Builds the guards of a worker from the settings."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

import aiohttp

from hub.engine.functions.askable_upstreams import AskableUpstreams
from hub.engine.metrics.guard_metrics import GuardMetrics
from hub.engine.worker.text_guard import GuardOptions, TextGuard
from hub.errors import BadRequest
from hub.ports.clock import Clock
from hub.ports.guards import Guard
from hub.producer.run import Notification
from hub.settings import Guard as GuardSettings
from hub.settings import Settings
from hub.upstreams.dialect import BEARER
from hub.upstreams.functions.guard import FunctionGuard
from hub.upstreams.functions.pool import FunctionPool
from hub.upstreams.functions.process import FunctionProcess, ProcessOptions
from hub.upstreams.http.guard import HttpGuard
from hub.wiring.outgoing_requests import check_credentials, find_environment_proxy


@asynccontextmanager
async def open_guards(
    settings: Settings,
    upstreams: Collection[str],
    session: aiohttp.ClientSession,
    clock: Clock,
    *,
    metrics: GuardMetrics,
    pools: list[FunctionPool],
) -> AsyncIterator[Mapping[str, TextGuard]]:
    """Start the processes of guards that are functions; yield the guards by name of the upstream.

    upstreams: those whose answers this worker produces or its functions ask for. pools: the one of
    the guards is added.
    Raise OperatorError when a function cannot be loaded.
    """
    guards = {name: settings.upstreams[name].guard for name in upstreams}
    targets = {name: each.target for name, each in guards.items() if each.target is not None}
    async with AsyncExitStack() as opened:
        functions: dict[str, Guard] = {}
        if targets:
            pool = await opened.enter_async_context(_build_pool(settings, targets))
            pools.append(pool)
            functions = {name: FunctionGuard(name, pool) for name in targets}
        yield {
            name: TextGuard(
                name,
                functions.get(name) or build_http_guard(name, each, session),
                _build_options(each),
                clock,
                metrics.observer(name),
            )
            for name, each in guards.items()
            if each.is_set
        }


def _build_pool(settings: Settings, targets: Mapping[str, str]) -> FunctionPool:
    producers = settings.producers
    options = ProcessOptions(
        targets={},
        guards=targets,
        max_part_bytes=settings.generations.max_record_bytes,
        stop_timeout_seconds=producers.stop_timeout_seconds,
        block_warning_seconds=producers.block_warning_seconds,
        block_limit_seconds=producers.block_limit_seconds,
    )
    askable = AskableUpstreams({}, {})

    async def publish(user: str, notification: Notification) -> None:
        raise BadRequest("a guard publishes nothing")

    return FunctionPool(
        lambda: FunctionProcess(options, publish, askable), producers.guard_processes
    )


def build_http_guard(name: str, settings: GuardSettings, session: aiohttp.ClientSession) -> Guard:
    """Return the guard of settings with a url. name: that of the upstream. Raise OperatorError."""
    api_key = None if settings.api_key is None else settings.api_key.get_secret_value()
    headers = {**BEARER.build(api_key), **settings.headers}
    url = settings.url or ""
    check_credentials(f"upstreams.{name}.guard.url", url, headers)
    return HttpGuard(session, url, headers, proxy=find_environment_proxy(url))


def _build_options(settings: GuardSettings) -> GuardOptions:
    return GuardOptions(
        checks=settings.checks,
        hold_back_characters=settings.hold_back_characters,
        check_every_characters=settings.check_every_characters,
        timeout_seconds=settings.timeout_seconds,
        on_slow=settings.on_slow,
        max_wait_seconds=settings.max_wait_seconds,
        on_error=settings.on_error,
    )
