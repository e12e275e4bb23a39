"""Does a worker serve the queue of each upstream? Without one, requests only wait.

A worker reads its queues at least every few seconds, as a consumer of a Redis stream. So a consumer
that has read lately is a worker that runs.
"""

from __future__ import annotations

from collections.abc import Sequence

from hub.backends.redis.queue import count_workers, list_waiting_versions
from hub.cli.doctor.probe import CheckResult, ok, warn
from hub.errors import BrokerUnavailable
from hub.ports.queue import WaitingVersion
from hub.settings import Settings
from hub.wiring.backend import open_redis_client


async def check_workers(settings: Settings) -> list[CheckResult]:
    """Check the queues of all upstreams. Return nothing if the broker cannot be reached."""
    by_queue: dict[str, list[str]] = {}
    for name, upstream in settings.upstreams.items():
        by_queue.setdefault(upstream.queue, []).append(name)
    results = []
    try:
        async with open_redis_client(settings) as client:
            for queue, upstreams in by_queue.items():
                count = await count_workers(client, queue)
                if count is not None:  # the login may ask for it
                    results.append(_judge(queue, upstreams, count))
            results += map(_judge_version, await list_waiting_versions(client))
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


def _judge_version(waiting: WaitingVersion) -> CheckResult:
    version = f"of the version {waiting.version!r}" if waiting.version else "without a version"
    runs = f"{waiting.jobs} of the runs in the queue {waiting.queue!r}"
    if waiting.workers != 0:
        return ok("workers", f"{runs} are continued by workers {version}")
    option = f" --version {waiting.version}" if waiting.version else ""
    return warn(
        "workers",
        f"{runs} wait for a worker {version}, and none runs",
        f"start `hub worker{option}` with the code of that version until they have ended",
    )
