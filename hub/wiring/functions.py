"""Builds the functions of a worker from the settings."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from hub.core.channel import user_channel
from hub.engine.askable_upstreams import AskableUpstreams
from hub.engine.publisher import Publisher, PublishRequest
from hub.errors import OperatorError
from hub.ports.backend import Backend
from hub.producer.protocol import FunctionOptions
from hub.producer.run import Notification
from hub.settings import Settings
from hub.settings import Upstream as UpstreamSettings
from hub.upstreams.function import ApplicationFunction
from hub.upstreams.function_pool import FunctionPool
from hub.upstreams.function_process import FunctionProcess, ProcessOptions


@asynccontextmanager
async def open_functions(
    settings: Settings, backend: Backend, askable: AskableUpstreams
) -> AsyncIterator[Mapping[str, ApplicationFunction]]:
    """Start the processes of the functions whose queues this worker reads; yield them by name.

    askable: the upstreams that they may ask.
    Raise OperatorError when the application cannot be loaded, or contradicts the settings.
    """
    upstreams = {
        name: each
        for name, each in settings.upstreams.items()
        if each.is_function and each.queue in settings.worker.queues
    }
    if not upstreams:
        yield {}
        return
    producers = settings.producers
    options = ProcessOptions(
        targets={name: each.target or "" for name, each in upstreams.items()},
        max_part_bytes=settings.generations.max_record_bytes,
        stop_timeout_seconds=producers.stop_timeout_seconds,
        block_warning_seconds=producers.block_warning_seconds,
        block_limit_seconds=producers.block_limit_seconds,
    )
    publisher = Publisher(
        backend.events,
        max_data_bytes=settings.publish.max_data_bytes,
        wait_replicas=settings.redis.wait_replicas,
    )

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

    def new_process() -> FunctionProcess:
        return FunctionProcess(options, publish, askable)

    async with FunctionPool(new_process, producers.processes) as pool:
        _check_options(upstreams, pool.options)
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, pool.reload)
        yield {
            name: ApplicationFunction(
                name,
                pool,
                retries=each.retries if "retries" in each.model_fields_set else None,
                timeout_seconds=each.total_seconds,
                shows_errors=producers.show_errors,
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
