"""The backend of a process, as the settings describe it. The only module that chooses one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

from hub.backends.redis import RedisBackend
from hub.backends.redis.client import (
    PasswordCommand,
    PasswordFile,
    PasswordSource,
    RedisClient,
    open_client,
)
from hub.backends.redis.events import (
    ChannelRetention,
    InboxRetention,
    ReplicaWait,
    Retention,
)
from hub.core.deliveries import DeliveryLimits, RetryPolicy
from hub.core.fair_queue import QueueLimits, UpstreamLimits, versioned_queue
from hub.core.parts_journal import PartsLimits
from hub.engine.attempts.attempt import GenerationResult
from hub.engine.generations.generation_jobs import GenerationJobs
from hub.engine.generations.reconciler import Reconciler, ReconcilerTimes
from hub.engine.metrics.node_metrics import NodeMetrics
from hub.engine.publisher import Publisher
from hub.errors import BrokerUnavailable, OperatorError
from hub.inbox.expiry import ItemExpiry
from hub.ports.backend import Backend
from hub.ports.clock import Clock
from hub.ports.events import EventWriter
from hub.settings import ChannelRetention as ChannelRetentionSettings
from hub.settings import Redis as RedisSettings
from hub.settings import Settings


@asynccontextmanager
async def open_backend(settings: Settings, queues: Sequence[str]) -> AsyncIterator[Backend]:
    """Connect to the backend.

    queues: the job queues that this process reserves from or lists.
    Raise BrokerUnavailable when the backend does not answer now: a process that never reached it
    ends, while one that loses it later waits. Raise OperatorError for a URL that is wrong.
    """
    async with AsyncExitStack() as opened:
        try:
            client = await opened.enter_async_context(open_redis_client(settings))
            await client.ping()
            replica_wait = None
            if settings.redis.wait_replicas:
                waiting_client = await opened.enter_async_context(open_redis_client(settings))
                replica_wait = ReplicaWait(waiting_client, settings.redis.wait_replicas)
        except BrokerUnavailable as error:
            raise BrokerUnavailable(
                f"no Redis or Valkey at {settings.redis.url_without_password} "
                f"(setting redis.url, HUB_REDIS__URL): {error}"
            ) from error
        except ValueError as error:
            raise OperatorError(
                f"the setting redis.url (HUB_REDIS__URL) is wrong: {error}"
            ) from error
        yield RedisBackend(
            client,
            build_retention(settings),
            build_queue_limits(settings),
            lease_seconds=settings.worker.lease_seconds,
            queues=queues,
            delivery_limits=build_delivery_limits(settings),
            usage_seconds=settings.generations.usage_seconds,
            replica_wait=replica_wait,
            max_push_subscriptions=settings.push.max_subscriptions_per_user,
            push_ttl_seconds=settings.push.subscription_ttl_seconds,
        )


def open_redis_client(settings: Settings) -> AbstractAsyncContextManager[RedisClient]:
    """Return the client of the broker, to be entered; see open_client for what it raises."""
    redis = settings.redis
    return open_client(
        redis.url,
        timeout_seconds=redis.timeout_seconds,
        prefix=redis.prefix,
        password=_password_source(redis),
    )


def _password_source(redis: RedisSettings) -> PasswordSource | None:
    if redis.password_command is not None:
        return PasswordCommand(redis.password_command)
    return None if redis.password_file is None else PasswordFile(redis.password_file)


def build_retention(settings: Settings) -> Retention:
    """Return how much of each channel the log keeps, and for how long."""
    log = settings.log
    return Retention(
        user=_channel_retention(log.user),
        topic=_channel_retention(log.topic),
        all=_channel_retention(log.all),
        position_ttl_seconds=log.position_ttl_seconds,
        idempotency_seconds=log.idempotency_seconds,
        generation_ttl_seconds=settings.generations.ttl_seconds,
        inbox=InboxRetention(
            max_items=settings.inbox.max_items,
            ttl_seconds=settings.inbox.ttl_seconds,
            settings_ttl_seconds=settings.inbox.settings_ttl_seconds,
        ),
    )


def _channel_retention(settings: ChannelRetentionSettings) -> ChannelRetention:
    return ChannelRetention(
        max_events=settings.max_events,
        max_bytes=settings.max_bytes,
        ttl_seconds=settings.ttl_seconds,
    )


def build_publisher(
    settings: Settings,
    events: EventWriter,
    metrics: NodeMetrics | None = None,
    expiry: ItemExpiry | None = None,
) -> Publisher:
    """Build what publishes messages of backends. metrics: see Publisher. expiry: announces that the
    items of inboxes expire; None if there will be no items.
    """
    return Publisher(
        events,
        max_data_bytes=settings.publish.max_data_bytes,
        max_item_bytes=settings.inbox.max_item_bytes,
        wait_replicas=settings.redis.wait_replicas,
        metrics=metrics,
        push_after_seconds=settings.push.after_seconds if settings.push.is_set else None,
        on_item=expiry.add if expiry is not None else None,
    )


def build_queue_limits(settings: Settings) -> QueueLimits:
    """Return how many jobs of each user and each upstream may run and wait."""
    return QueueLimits(
        max_user_running=settings.generations.max_running_per_user,
        max_user_queued=settings.generations.max_queued_per_user,
        upstreams={
            name: UpstreamLimits(max_running=each.max_running, max_queued=each.max_queued)
            for name, each in settings.upstreams.items()
        },
    )


def build_delivery_limits(settings: Settings) -> DeliveryLimits:
    """Return how much of each queue of deliveries is stored.

    One that nobody sends is stored for a day longer than a worker would try.
    """
    deliveries = settings.deliveries
    return DeliveryLimits(
        max_per_lane=deliveries.max_per_lane,
        max_bytes=deliveries.max_partition_bytes,
        ttl_seconds=deliveries.retry_seconds + 86400.0,
        max_dead=deliveries.max_partition_dead_letters,
        dead_seconds=deliveries.dead_letter_seconds,
    )


def build_retry_policy(settings: Settings) -> RetryPolicy:
    """Return when deliveries that failed are tried again."""
    deliveries = settings.deliveries
    return RetryPolicy(
        min_seconds=deliveries.min_retry_seconds,
        max_seconds=deliveries.max_retry_seconds,
        max_age_seconds=deliveries.retry_seconds,
    )


def build_reconciler(
    settings: Settings, backend: Backend, clock: Clock, jobs: GenerationJobs
) -> Reconciler:
    """Build what ends or queues again the generations that no worker attends to."""
    return Reconciler(
        jobs,
        backend.generations,
        backend.queue,
        clock,
        ReconcilerTimes(
            lease_seconds=settings.worker.lease_seconds,
            max_queued_seconds=settings.generations.max_queued_seconds,
        ),
    )


def build_jobs(
    settings: Settings,
    backend: Backend,
    on_result: Callable[[GenerationResult], Awaitable[None]],
) -> GenerationJobs:
    """Build what adds and ends the jobs of generations. on_result: see GenerationJobs."""
    return GenerationJobs(
        backend.events,
        backend.generations,
        backend.queue,
        queue_by_upstream(settings),
        claims=backend.claims,
        retries=claim_retries(settings),
        cancelling=cancelling_upstreams(settings),
        on_result=on_result,
    )


def known_models(settings: Settings) -> Mapping[str, Collection[str]]:
    """Return the models of each upstream that metrics may name."""
    return {
        name: {*upstream.models, upstream.default_model or ""}
        for name, upstream in settings.upstreams.items()
    }


def claim_retries(settings: Settings) -> Mapping[str, int]:
    """Return how often each upstream of the kind `queue` lets another producer have a lost job."""
    return {
        name: each.retries if "retries" in each.model_fields_set else 0
        for name, each in settings.upstreams.items()
        if each.is_queue
    }


def build_parts_limits(settings: Settings) -> PartsLimits:
    """Return how large an answer and one part of it may be."""
    return PartsLimits(
        max_part_bytes=settings.generations.max_part_bytes,
        max_record_bytes=settings.generations.max_record_bytes,
        max_suspended=settings.generations.max_waiting_per_user,
    )


def worker_queues(settings: Settings) -> list[str]:
    """Return the queues that a worker reads: its own, and those of pinned jobs of its version."""
    own, version = settings.worker.queues, settings.worker.version
    pinned = {settings.upstreams[name].queue for name in pinned_upstreams(settings)}
    return [*own, *(versioned_queue(queue, version) for queue in own if queue in pinned)]


def pinned_upstreams(settings: Settings) -> Collection[str]:
    """Return the upstreams whose runs only workers of the same version continue."""
    return {name for name, each in settings.upstreams.items() if each.version_policy == "pinned"}


def cancelling_upstreams(settings: Settings) -> Collection[str]:
    """Return the upstreams with an endpoint whose answer goes on without a worker.

    It is a task that stays open while an answer is suspended, or an answer in the background.
    """
    going_on = {
        name for name, each in settings.upstreams.items() if each.keeps_tasks or each.background
    }
    return {
        name
        for name, each in settings.upstreams.items()
        if going_on.intersection((name, *each.fallbacks))
    }


def steerable_upstreams(settings: Settings) -> Collection[str]:
    """Return the upstreams whose answers take messages while they run: functions and queues."""
    return {name for name, each in settings.upstreams.items() if not each.is_endpoint}


def queue_by_upstream(settings: Settings) -> Mapping[str, str]:
    """Return the name of each upstream's queue."""
    return {name: each.find_queue(name) for name, each in settings.upstreams.items()}
