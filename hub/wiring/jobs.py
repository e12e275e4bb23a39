"""The queue of questions, as the settings have it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hub.core.job import JobCaps, UpstreamCaps
from hub.queues.redis import RedisGenerationQueue
from hub.redislink import RedisLink
from hub.settings import Settings


def queue_of(settings: Settings, link: RedisLink, queues: Sequence[str]) -> RedisGenerationQueue:
    """queues: those that this end takes from, or lists."""
    caps = JobCaps(
        user_running=settings.generations.max_running_per_user,
        user_queued=settings.generations.max_queued_per_user,
        upstreams={
            name: UpstreamCaps(running=each.max_running, queued=each.max_queued)
            for name, each in settings.upstreams.items()
        },
    )
    return RedisGenerationQueue(
        link, caps, lease_seconds=settings.worker.lease_seconds, queues=queues
    )


def queue_names(settings: Settings) -> Mapping[str, str]:
    """The queue of each upstream."""
    return {name: each.queue for name, each in settings.upstreams.items()}
