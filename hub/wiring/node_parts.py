"""A node's engine: everything behind its listeners, running."""

from __future__ import annotations

from contextlib import AsyncExitStack
from functools import partial

import msgspec

from hub.backends.redis import RedisBroker, RedisGenerationStore
from hub.backends.redis.commands import RedisCommandBus
from hub.backends.redis.tickets import RedisTicketStore
from hub.backends.redis.topic_presence import RedisPresenceStore
from hub.backends.redis.usage import RedisUsageStore
from hub.core.channel import Channel
from hub.engine.admin_commands import AdminCommands
from hub.engine.connection_query import ConnectionQuery
from hub.engine.connections import ConnectionLimits, Connections
from hub.engine.generations import Generations
from hub.engine.heartbeat import HeartbeatWheel
from hub.engine.latency_probe import LatencyProbe
from hub.engine.live_metrics import LIVE_METRICS_CHANNEL, LiveMetrics
from hub.engine.node_metrics import NodeMetrics
from hub.engine.publisher import Publisher
from hub.engine.tasks import Supervisor, SystemClock
from hub.engine.tickets import Tickets
from hub.engine.topic_presence import TopicPresence
from hub.http.publish import PublishRateLimits
from hub.ports.generations import GenerationStore
from hub.ports.queue import GenerationQueue
from hub.ports.usage import UsageStore
from hub.settings import Settings
from hub.wiring.broker import build_retention, connect_redis
from hub.wiring.queue import build_queue, queue_names
from hub.wiring.tracing import Tracing


class NodeParts(msgspec.Struct, frozen=True, kw_only=True):
    """Its parts."""

    clock: SystemClock
    tasks: Supervisor
    broker: RedisBroker
    connections: Connections
    publisher: Publisher
    rate_limits: PublishRateLimits
    generations: Generations
    command_bus: RedisCommandBus
    admin_commands: AdminCommands
    connection_query: ConnectionQuery
    tickets: Tickets
    usage: UsageStore
    metrics: NodeMetrics
    queue: GenerationQueue
    store: GenerationStore


async def start_engine(settings: Settings, parts: AsyncExitStack, tracing: Tracing) -> NodeParts:
    """Starts it; it ends with `parts`. Raises OperatorError, BrokerUnavailable."""

    def followers(channel: Channel) -> int:
        return fanout.subscriber_count(channel)

    clock = SystemClock()
    link = await parts.enter_async_context(connect_redis(settings))
    tasks = await parts.enter_async_context(Supervisor(clock))
    broker = RedisBroker(link, build_retention(settings))
    traced = tracing.broker(broker, followers)
    counts = NodeMetrics()
    counts.redis_calls.set_function(lambda: link.calls)
    counts.redis_disconnects.set_function(
        lambda: {"commands": link.disconnects, "events": broker.disconnects}
    )
    wheel = HeartbeatWheel(clock, settings.stream.heartbeat_seconds, counts)
    attendance = TopicPresence(
        RedisPresenceStore(link), broker, clock, settings.presence.topics, node=settings.node.name
    )
    fanout = Connections(
        traced,
        wheel,
        clock,
        node=settings.node.name,
        heartbeat_seconds=settings.stream.heartbeat_seconds,
        limits=ConnectionLimits(
            max_connections=settings.stream.max_connections,
            max_per_user=settings.stream.max_per_user,
            joins_per_second=settings.stream.max_joins_per_second,
        ),
        topic_presence=attendance,
        metrics=counts,
    )
    queues = queue_names(settings)
    queue = build_queue(settings, link, sorted({"default", *queues.values()}))
    store = RedisGenerationStore(link, build_retention(settings))
    orders = RedisCommandBus(link)

    reports = LiveMetrics(
        orders,
        broker,
        clock,
        name=settings.node.name,
        collect=counts.families,
        has_viewers=lambda: fanout.has_subscribers(LIVE_METRICS_CHANNEL),
    )
    control = AdminCommands(orders, fanout)
    presence = ConnectionQuery(orders, fanout, clock, node=settings.node.name)
    tasks.start("bus", broker.run)
    tasks.start("heartbeats", wheel.run)
    tasks.start("lifetimes", fanout.expiry_timer.run)
    tasks.start("orders", orders.run)
    tasks.start("denials", control.run)
    tasks.start("beat", presence.keep_node_state)
    tasks.start("presence", presence.answer_requests)
    tasks.start("attendance", attendance.run)
    tasks.start("probe", LatencyProbe(broker, fanout, clock, counts).run)
    tasks.start("reports", reports.run)
    tasks.start("loop lag", partial(counts.measure_loop_lag, clock))
    return NodeParts(
        clock=clock,
        tasks=tasks,
        broker=broker,
        connections=fanout,
        publisher=Publisher(traced, max_data_bytes=settings.publish.max_data_bytes, metrics=counts),
        rate_limits=PublishRateLimits(settings.publish.max_per_second),
        generations=Generations(broker, tracing.store(store), queue, queues),
        command_bus=orders,
        admin_commands=control,
        connection_query=presence,
        tickets=Tickets(RedisTicketStore(link), broker),
        usage=RedisUsageStore(link, keep_seconds=settings.generations.usage_seconds),
        metrics=counts,
        queue=queue,
        store=store,
    )
