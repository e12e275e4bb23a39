"""Export of spans to a collector, by OTLP over HTTP, from a thread of the SDK.

The SDK also reads its own variables (OTEL_EXPORTER_OTLP_HEADERS, OTEL_RESOURCE_ATTRIBUTES,
OTEL_BSP_SCHEDULE_DELAY …). Where the hub has a setting, the setting counts.
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
    shutdown_timeout_seconds: float = 3.0,
) -> AsyncIterator[Tracer]:
    """Return a tracer whose spans go to the collector at the base URL `endpoint`.

    sample_ratio: the share of the traces that begin here. service, instance, version: the resource.
    shutdown_timeout_seconds: how long the remaining spans may take at the end.
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
    base, mark, query = endpoint.partition("?")
    exporter = OTLPSpanExporter(base.rstrip("/") + _PATH + mark + query)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    try:
        yield provider.get_tracer("hub", version)
    finally:
        await _run_with_timeout(shutdown_timeout_seconds, provider.shutdown)


async def _run_with_timeout(seconds: float, work: Callable[[], None]) -> None:
    """Wait for a blocking call, but not longer than `seconds`; its thread is a daemon."""
    loop, done = asyncio.get_running_loop(), asyncio.Event()

    def run() -> None:
        work()
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(done.set)

    threading.Thread(target=run, name="span export", daemon=True).start()
    try:
        async with asyncio.timeout(seconds):
            await done.wait()
    except TimeoutError:
        _log.warning("tracing.spans_lost", after_seconds=seconds)
