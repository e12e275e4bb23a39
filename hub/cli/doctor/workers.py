"""Does a worker serve the queue of each upstream? Without one, requests only wait.

A worker reads its queues at least every few seconds, as a consumer of a Redis stream. So a consumer
that has read lately is a worker that runs. Webhooks and pushes have no consumers: those that have
been due for a while show that no worker sends them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from hub.backends.redis.deliveries import count_overdue
from hub.backends.redis.queue import count_workers, list_waiting_versions
from hub.cli.doctor.probe import CheckResult, ok, warn
from hub.core.deliveries import DELIVERY_QUEUES, PUSH_QUEUE
from hub.errors import BrokerUnavailable
from hub.ports.queue import WaitingVersion
from hub.settings import Settings
from hub.wiring.backend import open_redis_client

_OVERDUE_SECONDS: Final = 60.0


async def check_workers(settings: Settings) -> list[CheckResult]:
    """Check the queues of all upstreams, and of webhooks and pushes.

    Return nothing if the broker cannot be reached.
    """
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
            for queue in DELIVERY_QUEUES:
                overdue = await count_overdue(client, queue, _OVERDUE_SECONDS)
                results += [_judge_overdue(queue, overdue)] if overdue else []
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


def _judge_overdue(queue: str, overdue: int) -> CheckResult:
    advice = "start `hub worker` with the same redis.url as the node"
    if queue == PUSH_QUEUE:
        advice += ", and with the keys of [push]"
    return warn(
        "workers",
        f"deliveries of the queue {queue!r} to {overdue} receivers have been due for more than "
        f"{_OVERDUE_SECONDS:g} seconds: no worker sends them",
        advice,
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
