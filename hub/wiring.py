"""The composition root: settings become running parts. The only file that names adapters.

A node: broker (log and bus) → fan-out, heartbeat wheel → two listeners. A worker: broker (log
only), queue, upstreams → relay. Start order is dependency order; stop is its reverse, with a
deadline at every wait.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

import aiohttp
import msgspec
import structlog
from aiohttp import web

from hub.brokers.redis import RedisBroker, RedisGenerationStore
from hub.brokers.redis.log import Retention
from hub.core.close import CloseReason
from hub.engine.fanout import Fanout
from hub.engine.generations import Generations
from hub.engine.heartbeat import HeartbeatWheel
from hub.engine.publisher import Publisher
from hub.engine.relay import Relay
from hub.engine.supervise import Supervisor, SystemClock
from hub.engine.worker import Worker
from hub.errors import BrokerUnavailable, OperatorError
from hub.ports import Upstream
from hub.queues.redis import RedisGenerationQueue
from hub.redislink import RedisLink, open_link
from hub.settings import Settings
from hub.settings import Upstream as UpstreamSettings
from hub.upstreams.http import Patience
from hub.upstreams.openai import OpenAiUpstream
from hub.upstreams.simulated import SimulatedUpstream, Simulation
from hub.web.auth import Door, KeyRing, OpenDoor, TokenDoor
from hub.web.connect import ConnectRoutes, StreamLimits
from hub.web.demo import DemoRoutes
from hub.web.generations import GenerationRoutes, UpstreamChoice
from hub.web.health import HealthRoutes
from hub.web.internal import build_internal
from hub.web.public import build_public
from hub.web.publish import PublishRoutes

_BACKLOG: Final = 4096
_CLEANUP_SECONDS: Final = 2.0
_KEEPALIVE_SECONDS: Final = 75.0
_log = structlog.get_logger(__name__)


class Sockets(msgspec.Struct, frozen=True):
    """Listening sockets that a supervisor opened and hands over, by file descriptor."""

    public_fd: int | None = None
    internal_fd: int | None = None


async def run_node(settings: Settings, stop: asyncio.Event, sockets: Sockets) -> None:
    """Serves until `stop` is set, then drains. Raises OperatorError, BrokerUnavailable."""
    clock = SystemClock()
    async with AsyncExitStack() as parts:
        link = await parts.enter_async_context(_reached_link(settings))
        tasks = await parts.enter_async_context(Supervisor(clock))
        broker = RedisBroker(link, _retention(settings))
        wheel = HeartbeatWheel(clock, settings.stream.heartbeat_seconds)
        fanout = Fanout(
            broker,
            wheel,
            node=settings.node.name,
            heartbeat_seconds=settings.stream.heartbeat_seconds,
        )
        tasks.start("bus", broker.run)
        tasks.start("heartbeats", wheel.run)
        publisher = Publisher(broker, max_data_bytes=settings.publish.max_data_bytes)
        generations = Generations(
            broker,
            RedisGenerationStore(link, _retention(settings)),
            RedisGenerationQueue(link, lease_seconds=settings.worker.lease_seconds),
        )
        door = _door(settings)
        public = build_public(
            ConnectRoutes(fanout, door, clock, _stream_limits(settings)),
            _generation_routes(settings, generations, door),
            _demo(settings, door, publisher),
            max_body_bytes=settings.generations.max_prompt_bytes,
        )
        internal = build_internal(
            PublishRoutes(
                publisher,
                KeyRing({k.key.get_secret_value(): k.scopes for k in settings.auth.api_keys}),
                max_body_bytes=settings.publish.max_body_bytes,
                max_recipients=settings.publish.max_recipients,
            ),
            HealthRoutes(broker, fanout, node=settings.node.name),
            max_body_bytes=settings.publish.max_body_bytes,
        )
        # A publish that is cut in the middle is worse than one that nobody waits for; a stream
        # whose client has gone is worth nothing.
        inside = Place(
            settings.internal.host, settings.internal.port, "internal.port", sockets.internal_fd
        )
        outside = Place(
            settings.public.host, settings.public.port, "public.port", sockets.public_fd
        )
        await parts.enter_async_context(listening(internal, inside, cancel_handlers=False))
        await parts.enter_async_context(listening(public, outside, cancel_handlers=True))
        _log.info("node.started", node=settings.node.name, public=settings.public.port)
        await stop.wait()
        _log.info("node.draining", connections=len(fanout))
        await fanout.close_all(CloseReason.DRAINING)
    _log.info("node.stopped", node=settings.node.name)


async def run_worker(settings: Settings, stop: asyncio.Event) -> None:
    """Relays until `stop` is set, then finishes or hands over what runs."""
    clock = SystemClock()
    async with AsyncExitStack() as parts:
        link = await parts.enter_async_context(_reached_link(settings))
        session = await parts.enter_async_context(
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0), auto_decompress=True, trust_env=True
            )
        )
        store = RedisGenerationStore(link, _retention(settings))
        queue = RedisGenerationQueue(link, lease_seconds=settings.worker.lease_seconds)
        relay = Relay(
            RedisBroker(link, _retention(settings)),
            store,
            _upstreams(settings, session),
            clock,
            max_attempts=settings.generations.max_attempts,
            max_text_bytes=settings.generations.max_text_bytes,
            broker_patience_seconds=settings.worker.lease_seconds,
        )
        worker = Worker(
            queue,
            store,
            relay,
            clock,
            concurrency=settings.worker.concurrency,
            lease_seconds=settings.worker.lease_seconds,
        )
        async with Supervisor(clock) as tasks:
            tasks.start("stops", worker.hear_stops)
            async with Supervisor(clock) as intake:
                intake.start("fetch", worker.fetch)
                _log.info("worker.started", upstreams=sorted(settings.upstreams))
                await stop.wait()
            await worker.shut_down(settings.worker.drain_seconds)
    _log.info("worker.stopped")


async def run_simulated(
    simulation: Simulation,
    stop: asyncio.Event,
    port: int,
    fd: int | None,
    say: Callable[[str], None],
) -> None:
    """Serves the simulated LLM until `stop` is set; `say` is told its base URL."""
    async with listening(
        SimulatedUpstream(simulation).app(),
        Place("127.0.0.1", port, "--port", fd),
        cancel_handlers=True,
        patience_seconds=0.1,
    ) as taken:
        say(f"http://127.0.0.1:{taken}/v1")
        await stop.wait()


@asynccontextmanager
async def _reached_link(settings: Settings) -> AsyncIterator[RedisLink]:
    """A process that never reached its broker says so and ends; one that lost it later waits."""
    timeout_seconds = settings.redis.timeout_seconds
    async with open_link(settings.redis.url, timeout_seconds=timeout_seconds) as link:
        try:
            async with link.call() as client:
                await client.ping()
        except BrokerUnavailable as error:
            raise BrokerUnavailable(
                f"no Redis or Valkey at {settings.redis.place} "
                f"(setting redis.url, HUB_REDIS__URL): {error}"
            ) from error
        yield link


class Place(msgspec.Struct, frozen=True):
    """Where to listen: host and port and the setting that says so, or a descriptor handed over."""

    host: str
    port: int
    setting: str
    fd: int | None = None


@asynccontextmanager
async def listening(
    app: web.Application,
    place: Place,
    *,
    cancel_handlers: bool,
    patience_seconds: float = _CLEANUP_SECONDS,
) -> AsyncIterator[int]:
    """Serves the application inside the block; gives the port. Raises OperatorError."""
    runner = web.AppRunner(
        app,
        handle_signals=False,
        handler_cancellation=cancel_handlers,
        access_log=None,
        keepalive_timeout=_KEEPALIVE_SECONDS,
        shutdown_timeout=patience_seconds,
        max_line_size=8190,
        max_field_size=8190,
    )
    await runner.setup()
    try:
        check_options(runner)
        try:
            await _site(runner, place).start()
        except OSError as error:
            at = f"{place.host}:{place.port}"
            reason = error.strerror or str(error)
            raise OperatorError(f"cannot listen on {at} ({place.setting}): {reason}") from error
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def check_options(runner: web.AppRunner) -> None:
    """aiohttp drops all options, with a log line at each connection, when it does not know one."""
    server = runner.server
    if server is None or server().keepalive_timeout != _KEEPALIVE_SECONDS:
        raise RuntimeError("this aiohttp does not take the runner's options")


def _site(runner: web.AppRunner, place: Place) -> web.BaseSite:
    if place.fd is not None:
        return web.SockSite(runner, socket.socket(fileno=place.fd), backlog=_BACKLOG)
    return web.TCPSite(runner, place.host, place.port, backlog=_BACKLOG)


def _retention(settings: Settings) -> Retention:
    return Retention(
        max_events=settings.log.max_events,
        ttl_seconds=settings.log.ttl_seconds,
        position_ttl_seconds=settings.log.position_ttl_seconds,
        idempotency_seconds=settings.log.idempotency_seconds,
        generation_ttl_seconds=settings.generations.ttl_seconds,
    )


def _stream_limits(settings: Settings) -> StreamLimits:
    stream = settings.stream
    return StreamLimits(
        retry_ms=stream.retry_ms,
        max_topics=stream.max_topics,
        outbox_max_events=stream.outbox_max_events,
        outbox_max_bytes=stream.outbox_max_bytes,
        write_buffer_bytes=stream.write_buffer_bytes,
        tcp_user_timeout_seconds=stream.tcp_user_timeout_seconds,
    )


def _door(settings: Settings) -> Door:
    auth = settings.auth
    if auth.open:
        return OpenDoor()
    if auth.hmac_secret is None:
        raise OperatorError("auth.hmac_secret is missing (HUB_AUTH__HMAC_SECRET)")
    return TokenDoor(
        auth.hmac_secret.get_secret_value(),
        audience=auth.audience,
        issuer=auth.issuer,
        leeway_seconds=auth.leeway_seconds,
    )


def _generation_routes(
    settings: Settings, generations: Generations, door: Door
) -> GenerationRoutes:
    choices = {
        name: UpstreamChoice(default_model=upstream.default_model, models=upstream.models)
        for name, upstream in settings.upstreams.items()
    }
    return GenerationRoutes(
        generations,
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


def _upstreams(settings: Settings, session: aiohttp.ClientSession) -> Mapping[str, Upstream]:
    return {name: _upstream(each, session) for name, each in settings.upstreams.items()}


def _upstream(settings: UpstreamSettings, session: aiohttp.ClientSession) -> Upstream:
    key = settings.api_key
    return OpenAiUpstream(
        session,
        base_url=settings.base_url,
        api_key=key.get_secret_value() if key else None,
        headers=settings.headers,
        patience=Patience(
            connect_seconds=settings.connect_seconds,
            first_byte_seconds=settings.first_byte_seconds,
            idle_seconds=settings.idle_seconds,
            total_seconds=settings.total_seconds,
        ),
    )
