"""A node: the fan-out behind two listeners."""

from __future__ import annotations

import ssl
from contextlib import AsyncExitStack, suppress

import aiohttp
import msgspec
import structlog

from hub.brokers.redis import RedisBroker, RedisGenerationStore
from hub.brokers.redis.control import RedisControlBus
from hub.brokers.redis.tickets import RedisTicketBook
from hub.brokers.redis.usage import RedisUsageLedger
from hub.engine.control import Control
from hub.engine.fanout import Fanout
from hub.engine.generations import Generations
from hub.engine.heartbeat import HeartbeatWheel
from hub.engine.presence import Presence
from hub.engine.publisher import Publisher
from hub.engine.supervise import Supervisor, SystemClock
from hub.engine.tickets import Tickets
from hub.errors import BrokerUnavailable
from hub.settings import Internal, Public, Settings
from hub.web.addresses import Addresses
from hub.web.auth import Door, GuardedDoor
from hub.web.connect import ConnectRoutes
from hub.web.demo import DemoRoutes
from hub.web.generations import GenerationRoutes, UpstreamChoice
from hub.web.health import HealthRoutes
from hub.web.internal import build_internal
from hub.web.listening import Place, SocketBounds, listening, tls_context
from hub.web.origins import Origins
from hub.web.public import build_public
from hub.web.publish import PublishLimits, PublishRoutes
from hub.web.publish_batch import PublishBatchRoutes
from hub.web.streaming import StreamLimits, Streams
from hub.web.tickets import TicketDoor, TicketRoutes
from hub.web.usage import UsageRoutes
from hub.web.users import UserRoutes
from hub.wiring.broker import reached_link, retention_of
from hub.wiring.doors import door_of, key_ring_of
from hub.wiring.jobs import queue_names, queue_of
from hub.wiring.stopping import Stopping

_log = structlog.get_logger(__name__)


class Sockets(msgspec.Struct, frozen=True):
    """Listening sockets that a supervisor opened and hands over, by file descriptor; or that the
    process opens itself, together with others.
    """

    public_fd: int | None = None
    internal_fd: int | None = None
    shared: bool = False


async def run_node(settings: Settings, stop: Stopping, sockets: Sockets) -> None:
    """Serves until `stop` is set, then drains. Raises OperatorError, BrokerUnavailable."""
    clock = SystemClock()
    async with AsyncExitStack() as parts:
        link = await parts.enter_async_context(reached_link(settings))
        tasks = await parts.enter_async_context(Supervisor(clock))
        broker = RedisBroker(link, retention_of(settings))
        wheel = HeartbeatWheel(clock, settings.stream.heartbeat_seconds)
        fanout = Fanout(
            broker,
            wheel,
            clock,
            node=settings.node.name,
            heartbeat_seconds=settings.stream.heartbeat_seconds,
            most_here=settings.stream.max_connections,
            most_of_a_user=settings.stream.max_per_user,
        )
        tasks.start("lifetimes", fanout.lifetimes.run)
        tasks.start("bus", broker.run)
        tasks.start("heartbeats", wheel.run)
        publisher = Publisher(broker, max_data_bytes=settings.publish.max_data_bytes)
        generations = Generations(
            broker,
            RedisGenerationStore(link, retention_of(settings)),
            queue_of(settings, link),
            queue_names(settings),
        )
        origins = Origins(settings.public.allowed_origins)
        session = await parts.enter_async_context(aiohttp.ClientSession(trust_env=True))
        orders = RedisControlBus(link)
        control = Control(orders, fanout)
        tasks.start("orders", orders.run)
        tasks.start("denials", control.keep_informed)
        presence = Presence(orders, fanout, clock, node=settings.node.name)
        tasks.start("beat", presence.beat)
        tasks.start("presence", presence.answer)
        entrance = door_of(settings, origins, session, clock)
        door = GuardedDoor(entrance, control.denials)
        tickets = Tickets(RedisTicketBook(link), broker)
        stream_door = GuardedDoor(TicketDoor(entrance, tickets), control.denials)
        streams = Streams(
            fanout, clock, _stream_limits(settings), Addresses(settings.public.trusted_proxies)
        )
        public = build_public(
            ConnectRoutes(streams, stream_door),
            _generation_routes(settings, generations, streams, door),
            _demo(settings, door, publisher),
            TicketRoutes(door, tickets),
            origins,
            max_body_bytes=settings.generations.max_prompt_bytes,
        )
        keys = key_ring_of(settings)
        limits = PublishLimits(
            max_body_bytes=settings.publish.max_body_bytes,
            max_recipients=settings.publish.max_recipients,
            max_per_second=settings.publish.max_per_second,
        )
        internal = build_internal(
            PublishRoutes(publisher, keys, limits),
            PublishBatchRoutes(publisher, keys, limits),
            HealthRoutes(broker, fanout, node=settings.node.name),
            UsageRoutes(
                RedisUsageLedger(link, keep_seconds=settings.generations.usage_seconds), keys
            ),
            UserRoutes(control, presence, broker, keys),
            max_body_bytes=settings.publish.max_body_bytes,
        )
        # A publish that is cut in the middle is worse than one that nobody waits for; a stream
        # whose client has gone is worth nothing.
        inside = Place(
            settings.internal.host,
            settings.internal.port,
            "internal.port",
            sockets.internal_fd,
            sockets.shared,
            settings.internal.socket,
            _tls(settings.internal, "internal.tls_cert"),
        )
        outside = Place(
            settings.public.host,
            settings.public.port,
            "public.port",
            sockets.public_fd,
            sockets.shared,
            tls=_tls(settings.public, "public.tls_cert"),
        )
        bounds = SocketBounds(
            send_buffer_bytes=settings.stream.send_buffer_bytes,
            user_timeout_seconds=settings.stream.tcp_user_timeout_seconds,
        )
        await parts.enter_async_context(listening(internal, inside, cancel_handlers=False))
        await parts.enter_async_context(
            listening(public, outside, cancel_handlers=True, bounds=bounds)
        )
        _log.info("node.started", node=settings.node.name, public=settings.public.port)
        await stop.asked.wait()
        _log.info("node.draining", connections=len(fanout))
        fanout.refuse()
        await stop.wait(settings.node.drain_wait_seconds)
        await fanout.drain(settings.node.drain_seconds, stop.hurried)
        await tasks.end("beat")
        with suppress(BrokerUnavailable):
            await orders.forget(settings.node.name)
    _log.info("node.stopped", node=settings.node.name)


def _tls(listener: Public | Internal, setting: str) -> ssl.SSLContext | None:
    if listener.tls_cert is None or listener.tls_key is None:
        return None
    return tls_context(listener.tls_cert, listener.tls_key, setting)


def _stream_limits(settings: Settings) -> StreamLimits:
    stream = settings.stream
    return StreamLimits(
        retry_ms=stream.retry_ms,
        max_age_seconds=stream.max_age_seconds,
        expiry_notice_seconds=stream.expiry_notice_seconds,
        max_per_address=stream.max_per_address,
        max_topics=stream.max_topics,
        outbox_max_events=stream.outbox_max_events,
        outbox_max_bytes=stream.outbox_max_bytes,
        write_buffer_bytes=stream.write_buffer_bytes,
    )


def _generation_routes(
    settings: Settings, generations: Generations, streams: Streams, door: Door
) -> GenerationRoutes:
    choices = {
        name: UpstreamChoice(default_model=upstream.default_model, models=upstream.models)
        for name, upstream in settings.upstreams.items()
    }
    return GenerationRoutes(
        generations,
        streams,
        door,
        choices,
        default_upstream=settings.default_upstream or next(iter(choices), None),
        max_prompt_bytes=settings.generations.max_prompt_bytes,
    )


def _demo(settings: Settings, door: Door, publisher: Publisher) -> DemoRoutes | None:
    if not settings.public.demo_page:
        return None
    return DemoRoutes(
        door,
        publisher if settings.auth.open else None,
        max_body_bytes=settings.publish.max_body_bytes,
    )
