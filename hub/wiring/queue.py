"""The queue of questions, as the settings have it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hub.backends.redis.client import RedisClient
from hub.backends.redis.queue import RedisGenerationQueue
from hub.core.fair_queue import QueueLimits, UpstreamLimits
from hub.settings import Settings


def build_queue(
    settings: Settings, link: RedisClient, queues: Sequence[str]
) -> RedisGenerationQueue:
    """queues: those that this end takes from, or lists."""
    caps = QueueLimits(
        max_user_running=settings.generations.max_running_per_user,
        max_user_queued=settings.generations.max_queued_per_user,
        upstreams={
            name: UpstreamLimits(max_running=each.max_running, max_queued=each.max_queued)
            for name, each in settings.upstreams.items()
        },
    )
    return RedisGenerationQueue(
        link, caps, lease_seconds=settings.worker.lease_seconds, queues=queues
    )


def queue_names(settings: Settings) -> Mapping[str, str]:
    """The queue of each upstream."""
    return {name: each.queue for name, each in settings.upstreams.items()}
