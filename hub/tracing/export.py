"""Where spans go: to a collector, by OTLP over HTTP, from a thread of the SDK's own.

The SDK reads its own variables besides (OTEL_EXPORTER_OTLP_HEADERS, OTEL_RESOURCE_ATTRIBUTES,
OTEL_BSP_SCHEDULE_DELAY …); where the hub has a setting, the setting holds.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final

import structlog
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import Tracer

_PATH: Final = "/v1/traces"
_log = structlog.get_logger(__name__)


@asynccontextmanager
async def exporting(
    endpoint: str,
    *,
    sample_ratio: float,
    service: str,
    instance: str,
    version: str,
    last_seconds: float = 3.0,
) -> AsyncIterator[Tracer]:
    """The tracer whose spans go to the collector at this base URL. What is left at the end is sent
    then, if the collector takes it within `last_seconds`.
    """
    provider = TracerProvider(
        sampler=ParentBased(TraceIdRatioBased(sample_ratio)),
        resource=Resource.create(
            {
                "service.name": service,
                "service.instance.id": instance,
                "service.version": version,
            }
        ),
        shutdown_on_exit=False,
    )
    exporter = OTLPSpanExporter(endpoint.rstrip("/") + _PATH)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    try:
        yield provider.get_tracer("hub", version)
    finally:
        await _within(last_seconds, provider.shutdown)


async def _within(seconds: float, work: Callable[[], None]) -> None:
    """Waits for a call that blocks, no longer than that; a thread that is late holds up nothing."""
    loop, done = asyncio.get_running_loop(), asyncio.Event()

    def run() -> None:
        work()
        with suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(done.set)

    threading.Thread(target=run, name="last spans", daemon=True).start()
    try:
        async with asyncio.timeout(seconds):
            await done.wait()
    except TimeoutError:
        _log.warning("tracing.spans_lost", after_seconds=seconds)
