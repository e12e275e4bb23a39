"""Does a worker serve the queue of each upstream? Without one, requests only wait.

A worker reads its queues at least every few seconds, as a consumer of a Redis stream. So a consumer
that has read lately is a worker that runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from hub.backends.redis.client import RedisClient
from hub.backends.redis.keys import JOBS_GROUP, JOBS_PARTITION, jobs_stream
from hub.cli.doctor.probe import CheckResult, ok, warn
from hub.errors import BrokerUnavailable
from hub.settings import Settings
from hub.wiring.backend import open_redis_client

_MAX_IDLE_MS: Final = 30_000


async def check_workers(settings: Settings) -> list[CheckResult]:
    """Check the queues of all upstreams. Return nothing if the broker cannot be reached."""
    by_queue: dict[str, list[str]] = {}
    for name, upstream in settings.upstreams.items():
        by_queue.setdefault(upstream.queue, []).append(name)
    results = []
    try:
        async with open_redis_client(settings) as client:
            for queue, upstreams in by_queue.items():
                results.append(_judge(queue, upstreams, await _count_workers(client, queue)))
    except (BrokerUnavailable, ValueError):
        pass  # check_broker reports it
    return results


def _judge(queue: str, upstreams: Sequence[str], count: int) -> CheckResult:
    served = f"the queue {queue!r} ({', '.join(upstreams)})"
    if count:
        return ok("workers", f"{count} of `hub worker` serve {served}")
    return warn(
        "workers",
        f"no worker serves {served}: requests wait in it",
        "start `hub worker` with the same redis.url and [upstreams] as the node"
        + ("" if queue == "default" else f", and --queues {queue}"),
    )


async def _count_workers(client: RedisClient, queue: str) -> int:
    try:
        name = client.name(jobs_stream(queue))
        consumers = await client.call(JOBS_PARTITION, "XINFO", "CONSUMERS", name, JOBS_GROUP)
    except BrokerUnavailable as error:
        if "no such key" in str(error) or "NOGROUP" in str(error):
            return 0  # no worker has ever run
        raise
    return sum(_idle_ms(consumer) <= _MAX_IDLE_MS for consumer in consumers)


def _idle_ms(consumer: Any) -> int:
    """Return the time since the consumer last read, from a map or a flat list of its fields."""
    fields = (
        consumer if isinstance(consumer, dict) else dict(zip(*[iter(consumer)] * 2, strict=True))
    )
    return int(fields[b"idle"])
