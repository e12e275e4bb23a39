"""Builds the functions of a worker from the settings."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

from hub.core.channel import user_channel
from hub.engine.functions.askable_upstreams import AskableUpstreams
from hub.engine.functions.function import ApplicationFunction
from hub.engine.functions.user_feeds import UserFeeds
from hub.engine.publisher import PublishRequest
from hub.errors import OperatorError
from hub.ports.backend import Backend
from hub.producer.protocol import FunctionOptions
from hub.producer.run import Notification
from hub.settings import Settings
from hub.settings import Upstream as UpstreamSettings
from hub.upstreams.functions.pool import FunctionPool
from hub.upstreams.functions.process import FunctionProcess, ProcessOptions
from hub.wiring.backend import build_publisher


@asynccontextmanager
async def open_functions(
    settings: Settings,
    backend: Backend,
    askable: AskableUpstreams,
    feeds: UserFeeds,
    pools: list[FunctionPool],
) -> AsyncIterator[Mapping[str, ApplicationFunction]]:
    """Start the processes of the functions whose queues this worker reads; yield them by name.

    Functions with `isolation = "run"` have processes of their own.

    askable: the upstreams that they may ask. feeds: what users send to them. pools: those of the
    processes are added.
    Raise OperatorError when the application cannot be loaded, or contradicts the settings.
    """
    upstreams = select_functions(settings)
    if not upstreams:
        yield {}
        return
    publisher = build_publisher(settings, backend.events)

    async def publish(user: str, notification: Notification) -> None:
        await publisher.publish(
            PublishRequest(
                to=[user_channel(user)],
                event=notification.event,
                data=bytes(notification.data),
                idempotency_key=notification.id,
                ephemeral=notification.ephemeral,
                ttl_seconds=notification.ttl_seconds,
            )
        )

    functions: dict[str, ApplicationFunction] = {}
    async with AsyncExitStack() as opened:
        for isolation in ("none", "run"):
            group = {name: each for name, each in upstreams.items() if each.isolation == isolation}
            if group:
                options = _process_options(settings, group)
                pool = _build_pool(
                    settings,
                    partial(FunctionProcess, options, publish, askable),
                    one_run_each=isolation == "run",
                )
                pools.append(await opened.enter_async_context(pool))
                _check_options(group, pool.options)
                functions |= _build_functions(settings, group, pool, feeds)
        yield functions


def select_functions(settings: Settings) -> dict[str, UpstreamSettings]:
    """Return the settings of the functions whose queues this worker reads, by name."""
    return {
        name: each
        for name, each in settings.upstreams.items()
        if each.is_function and each.queue in settings.worker.queues
    }


def reload_on_signal(pools: Sequence[FunctionPool]) -> None:
    """Load the application again whenever the process gets SIGHUP."""

    def reload() -> None:
        for pool in pools:
            pool.reload()

    if pools:
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reload)


def _process_options(
    settings: Settings, upstreams: Mapping[str, UpstreamSettings]
) -> ProcessOptions:
    producers = settings.producers
    return ProcessOptions(
        targets={name: each.target or "" for name, each in upstreams.items()},
        max_part_bytes=settings.generations.max_record_bytes,
        stop_timeout_seconds=producers.stop_timeout_seconds,
        block_warning_seconds=producers.block_warning_seconds,
        block_limit_seconds=producers.block_limit_seconds,
    )


def _build_pool(
    settings: Settings, new_process: Callable[[], FunctionProcess], *, one_run_each: bool
) -> FunctionPool:
    producers = settings.producers
    count = producers.spare_processes if one_run_each else producers.processes
    return FunctionPool(new_process, count, one_run_each=one_run_each)


def _build_functions(
    settings: Settings,
    upstreams: Mapping[str, UpstreamSettings],
    pool: FunctionPool,
    feeds: UserFeeds,
) -> dict[str, ApplicationFunction]:
    return {
        name: ApplicationFunction(
            name,
            pool,
            feeds.inputs,
            retries=each.retries if "retries" in each.model_fields_set else None,
            timeout_seconds=each.total_seconds,
            shows_errors=settings.producers.show_errors,
            steering=feeds.steering,
        )
        for name, each in upstreams.items()
    }


def _check_options(
    upstreams: Mapping[str, UpstreamSettings], options: Mapping[str, FunctionOptions]
) -> None:
    """Raise OperatorError for a limit that only the function has: every node must know it."""
    for name, upstream in upstreams.items():
        max_running = options[name].max_running
        if max_running is not None and "max_running" not in upstream.model_fields_set:
            raise OperatorError(
                f"the function {upstream.target} declares max_running = {max_running}, which nodes "
                "and workers must know; add this line to the settings of all of them, below "
                f"[upstreams.{name}]:\nmax_running = {max_running}"
            )
