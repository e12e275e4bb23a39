"""A node's engine: everything behind its listeners, running."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial

import msgspec

from hub.brokers.redis import RedisBroker, RedisGenerationStore
from hub.brokers.redis.attendance import RedisAttendanceBook
from hub.brokers.redis.control import RedisControlBus
from hub.brokers.redis.tickets import RedisTicketBook
from hub.brokers.redis.usage import RedisUsageLedger
from hub.core.channel import Channel
from hub.engine.attendance import Attendance
from hub.engine.control import Control
from hub.engine.counts import Counts
from hub.engine.fanout import Fanout, FanoutLimits
from hub.engine.generations import Generations
from hub.engine.heartbeat import HeartbeatWheel
from hub.engine.presence import Presence
from hub.engine.probe import Probe
from hub.engine.publisher import Publisher
from hub.engine.reports import REPORTS, Reports
from hub.engine.supervise import Supervisor, SystemClock
from hub.engine.tickets import Tickets
from hub.metrics import Family, node_families
from hub.ports import GenerationQueue, GenerationStore, UsageLedger
from hub.settings import Settings
from hub.web.publish import PublishRates
from hub.wiring.broker import reached_link, retention_of
from hub.wiring.jobs import queue_names, queue_of
from hub.wiring.tracing import Tracing


class Engine(msgspec.Struct, frozen=True, kw_only=True):
    """Its parts."""

    clock: SystemClock
    tasks: Supervisor
    broker: RedisBroker
    fanout: Fanout
    publisher: Publisher
    rates: PublishRates
    generations: Generations
    orders: RedisControlBus
    control: Control
    presence: Presence
    tickets: Tickets
    usage: UsageLedger
    counts: Counts
    queue: GenerationQueue
    store: GenerationStore
    families: Callable[[], Sequence[Family]]


async def engine_of(settings: Settings, parts: AsyncExitStack, tracing: Tracing) -> Engine:
    """Starts it; it ends with `parts`. Raises OperatorError, BrokerUnavailable."""

    def followers(channel: Channel) -> int:
        return fanout.followers(channel)

    clock = SystemClock()
    link = await parts.enter_async_context(reached_link(settings))
    tasks = await parts.enter_async_context(Supervisor(clock))
    broker = RedisBroker(link, retention_of(settings))
    traced = tracing.broker(broker, followers)
    counts = Counts()
    wheel = HeartbeatWheel(clock, settings.stream.heartbeat_seconds, counts)
    attendance = Attendance(
        RedisAttendanceBook(link), broker, clock, settings.presence.topics, node=settings.node.name
    )
    fanout = Fanout(
        traced,
        wheel,
        clock,
        node=settings.node.name,
        heartbeat_seconds=settings.stream.heartbeat_seconds,
        limits=FanoutLimits(
            max_connections=settings.stream.max_connections,
            max_per_user=settings.stream.max_per_user,
            joins_per_second=settings.stream.max_joins_per_second,
        ),
        attendance=attendance,
        counts=counts,
    )
    queues = queue_names(settings)
    queue = queue_of(settings, link, sorted({"default", *queues.values()}))
    store = RedisGenerationStore(link, retention_of(settings))
    orders = RedisControlBus(link)

    def families() -> Sequence[Family]:
        breaks = {"commands": link.breaks, "events": broker.breaks}
        return node_families(fanout, counts, redis_calls=link.calls, link_breaks=breaks)

    reports = Reports(
        orders,
        broker,
        clock,
        name=settings.node.name,
        say=families,
        looked_at=lambda: fanout.is_followed(REPORTS),
    )
    control = Control(orders, fanout)
    presence = Presence(orders, fanout, clock, node=settings.node.name)
    tasks.start("bus", broker.run)
    tasks.start("heartbeats", wheel.run)
    tasks.start("lifetimes", fanout.lifetimes.run)
    tasks.start("orders", orders.run)
    tasks.start("denials", control.keep_informed)
    tasks.start("beat", presence.beat)
    tasks.start("presence", presence.answer)
    tasks.start("attendance", attendance.keep)
    tasks.start("probe", Probe(broker, fanout, clock, counts).run)
    tasks.start("reports", reports.run)
    tasks.start("loop lag", partial(counts.watch_loop, clock))
    return Engine(
        clock=clock,
        tasks=tasks,
        broker=broker,
        fanout=fanout,
        publisher=Publisher(traced, max_data_bytes=settings.publish.max_data_bytes, counts=counts),
        rates=PublishRates(settings.publish.max_per_second),
        generations=Generations(broker, tracing.store(store), queue, queues),
        orders=orders,
        control=control,
        presence=presence,
        tickets=Tickets(RedisTicketBook(link), broker),
        usage=RedisUsageLedger(link, keep_seconds=settings.generations.usage_seconds),
        counts=counts,
        families=families,
        queue=queue,
        store=store,
    )
