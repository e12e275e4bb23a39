"""The real applications on a broker and a queue in memory, served as production serves them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import aiohttp
import msgspec

from hub.api.api_keys import ApiKeys
from hub.api.authentication import Authenticator, DenylistAuthenticator, DevAuthenticator
from hub.api.client_address import ClientAddresses
from hub.api.generation_requests import GenerationRequests, UpstreamModels
from hub.compat.requests import CompatRequests
from hub.compat.templates.encoder import BUILT_IN_TEMPLATES
from hub.compat.templates.selection import TemplateSelection
from hub.core.channel import Channel
from hub.core.sse_decoder import ServerSentEvent, SseDecoder
from hub.core.system_events import SYSTEM_EVENTS
from hub.engine.admin_commands import AdminCommands
from hub.engine.connection_query import ConnectionQuery
from hub.engine.connections import Connections
from hub.engine.generations import Generations
from hub.engine.heartbeat import HeartbeatWheel
from hub.engine.live_metrics import LIVE_METRICS_CHANNEL, LiveMetrics
from hub.engine.node_metrics import NodeMetrics
from hub.engine.publisher import Publisher
from hub.engine.tasks import SystemClock
from hub.engine.tickets import Tickets
from hub.grpc import internal as grpc_internal
from hub.grpc import public as grpc_public
from hub.grpc.health import Health
from hub.grpc.serving import GrpcLimits, GrpcListenAddress, serve
from hub.http.active_generations import ActiveGenerationRoutes
from hub.http.connect import ConnectRoutes
from hub.http.console import ConsoleRoutes
from hub.http.cors import AllowedOrigins
from hub.http.demo import DemoRoutes
from hub.http.generations import GenerationRoutes
from hub.http.health import HealthRoutes
from hub.http.internal import build_internal
from hub.http.js_client import JsClientRoutes
from hub.http.metrics import MetricsRoutes
from hub.http.public import build_public
from hub.http.publish import PublishLimits, PublishRateLimits, PublishRoutes
from hub.http.publish_batch import PublishBatchRoutes
from hub.http.request_metrics import RequestMetrics
from hub.http.server import ListenAddress, listen
from hub.http.static_files import StaticFiles
from hub.http.streams import StreamLimits, Streams
from hub.http.tickets import TicketAuthenticator, TicketRoutes
from hub.http.usage import UsageRoutes
from hub.http.users import UserRoutes
from hub.http.websocket import WebSocketRoutes
from hub.metrics import render_prometheus
from hub.testing.broker import MemoryBroker
from hub.testing.queue import MemoryGenerationQueue
from hub.testing.stores import MemoryCommandBus, MemoryTicketStore, MemoryUsageStore
from hub.wiring.route_table import build_openapi, compat_routes
from hub.wiring.tracing import NoTracing, Tracing

LIMITS = StreamLimits(
    retry_ms=3000,
    max_topics=3,
    outbox_max_events=256,
    outbox_max_bytes=256 * 1024,
    write_buffer_bytes=64 * 1024,
)
TEMPLATES = TemplateSelection(BUILT_IN_TEMPLATES, default=None)
MAX_BODY = 64 * 1024
ORIGINS = ["https://app.example"]


class Hub:
    """A node in this process."""

    def __init__(
        self,
        door: Authenticator,
        keys: ApiKeys,
        limits: StreamLimits,
        rate: float | None,
        tracing: Tracing,
    ) -> None:
        self.broker = MemoryBroker()
        self.queue = MemoryGenerationQueue()
        self.usage = MemoryUsageStore()
        clock = SystemClock()
        wheel = self.wheel = HeartbeatWheel(clock, 8.0)
        self.counts = NodeMetrics()
        self._join = tracing.join()
        traced = tracing.broker(self.broker, self._followers)
        self.fanout = Connections(
            traced, wheel, clock, node="n1", heartbeat_seconds=8.0, metrics=self.counts
        )
        self.orders = MemoryCommandBus()
        self.control = AdminCommands(self.orders, self.fanout)
        self.reports = LiveMetrics(
            self.orders,
            self.broker,
            clock,
            name="n1",
            collect=self.counts.families,
            has_viewers=lambda: self.fanout.has_subscribers(LIVE_METRICS_CHANNEL),
        )
        self.presence = ConnectionQuery(self.orders, self.fanout, clock, node="n1")
        guarded = DenylistAuthenticator(door, self.control.denylist)
        self.tickets = Tickets(MemoryTicketStore(), self.broker)
        stream_door = DenylistAuthenticator(
            TicketAuthenticator(door, self.tickets), self.control.denylist
        )
        self.publisher = Publisher(traced, max_data_bytes=32 * 1024, metrics=self.counts)
        upstreams = {
            "main": UpstreamModels(default_model="m1", models=("m1", "m2")),
            "open": UpstreamModels(default_model=None),
        }
        streams = Streams(self.fanout, clock, limits, ClientAddresses(["127.0.0.2"]))
        self.generations = Generations(self.broker, tracing.store(self.broker), self.queue)
        questions = GenerationRequests(
            self.generations, upstreams, default_upstream="main", max_prompt_bytes=MAX_BODY
        )
        origins = AllowedOrigins(ORIGINS)
        self.public = build_public(
            [
                ConnectRoutes(streams, stream_door),
                WebSocketRoutes(
                    streams, stream_door, origins, self.generations, questions, counts=self.counts
                ),
                GenerationRoutes(self.generations, streams, guarded, questions, TEMPLATES.select),
                *compat_routes(
                    CompatRequests(self.generations, streams, guarded, questions, origins)
                ),
                TicketRoutes(guarded, self.tickets),
                JsClientRoutes(),
                DemoRoutes(
                    door,
                    self.publisher if isinstance(door, DevAuthenticator) else None,
                    max_body_bytes=MAX_BODY,
                ),
            ],
            origins,
            RequestMetrics(self.counts, "public"),
            max_body_bytes=MAX_BODY,
        )
        publish_limits = PublishLimits(max_body_bytes=MAX_BODY, max_recipients=3)
        rates = PublishRateLimits(rate)
        self.internal = build_internal(
            [
                PublishRoutes(self.publisher, keys, publish_limits, rates),
                PublishBatchRoutes(self.publisher, keys, publish_limits, rates),
                HealthRoutes(self.broker, self.fanout, node="n1"),
                UsageRoutes(self.usage, keys),
                UserRoutes(self.control, self.presence, self.broker, keys),
                ActiveGenerationRoutes(self.queue, self.broker, keys),
                ConsoleRoutes(streams, keys, StaticFiles("console")),
                MetricsRoutes(self.metrics),
            ],
            RequestMetrics(self.counts, "internal"),
            build_openapi,
            max_body_bytes=MAX_BODY,
        )
        for app in (self.public, self.internal):
            tracing.watch(app)
        self.grpc = grpc_public.HubService(
            streams, guarded, self.generations, questions, self.counts, buffer_bytes=128 * 1024
        )
        self.grpc_internal = grpc_internal.HubInternalService(
            self.publisher, keys, publish_limits, rates, self.counts
        )
        self.session: aiohttp.ClientSession
        self.port = self.internal_port = 0
        self.grpc_port = self.grpc_internal_port = 0

    def _followers(self, channel: Channel) -> int:
        return self.fanout.subscriber_count(channel)

    async def metrics(self) -> bytes:
        """What /metrics says."""
        return render_prometheus({"n1": self.counts.families()})

    async def call(
        self, method: str, path: str, *, internal: bool = False, **more: Any
    ) -> tuple[int, Any]:
        """One exchange: status and decoded JSON."""
        async with self.ask(method, path, internal=internal, **more) as response:
            return response.status, await response.json(content_type=None)

    def ask(self, method: str, path: str, *, internal: bool = False, **more: Any) -> Any:
        """One exchange, to be entered."""
        port = self.internal_port if internal else self.port
        return self.session.request(method, f"http://127.0.0.1:{port}{path}", **more)

    async def publish(self, **body: Any) -> tuple[int, Any]:
        return await self.call("POST", "/publish", internal=True, json=body)

    @asynccontextmanager
    async def serving_grpc(self, tls: tuple[str, str] | None = None) -> AsyncIterator[None]:
        """Its gRPC listeners, too."""
        clock = SystemClock()
        bounds = GrpcLimits(max_message_bytes=MAX_BODY, max_calls=50, peer_timeout_seconds=10)
        async with AsyncExitStack() as parts:
            ports = []
            for name, service in (
                (grpc_public.NAME, self.grpc),
                (grpc_internal.NAME, self.grpc_internal),
            ):
                health = Health(self.broker, self.fanout, clock, [name])
                place = GrpcListenAddress(
                    host="127.0.0.1", port=0, setting="public.grpc_port", tls=tls
                )
                served = serve(
                    name,
                    service.handlers(),
                    place,
                    bounds,
                    informed=health,
                    clock=clock,
                    join=self._join,
                )
                ports.append(await parts.enter_async_context(served))
            self.grpc_port, self.grpc_internal_port = ports
            yield

    @asynccontextmanager
    async def stream(self, path: str, **more: Any) -> AsyncIterator[Stream]:
        """An open stream, past its hub.open."""
        async with self.ask("GET", path, **more) as response:
            stream = Stream(response)
            stream.opened = await stream.next()
            yield stream


class Stream:
    """The events of an open response."""

    opened: ServerSentEvent

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response
        self.bytes = b""
        self._decoder = SseDecoder()
        self._ready: list[ServerSentEvent] = []

    async def next(self) -> ServerSentEvent:
        async with asyncio.timeout(30):
            while not self._ready:
                chunk = await self.response.content.readany()
                if not chunk:
                    raise EOFError
                self.bytes += chunk
                self._ready += self._decoder.feed(chunk)
        return self._ready.pop(0)


def check_described(name: str, data: Any) -> None:
    """Raises for a field of the hub's own event that is missing, of another type, or unknown."""
    assert msgspec.to_builtins(msgspec.convert(data, SYSTEM_EVENTS[name])) == data, name


@asynccontextmanager
async def running_hub(
    door: Authenticator | None = None,
    keys: ApiKeys | None = None,
    *,
    limits: StreamLimits = LIMITS,
    rate: float | None = None,
    tracing: Tracing | None = None,
) -> AsyncIterator[Hub]:
    """A node that listens on free ports, with the runners' production options."""
    hub = Hub(door or DevAuthenticator(), keys or ApiKeys([]), limits, rate, tracing or NoTracing())
    async with AsyncExitStack() as parts:
        hub.port = await parts.enter_async_context(
            listen(hub.public, ListenAddress("127.0.0.1", 0, "public.port"), cancel_handlers=True)
        )
        hub.internal_port = await parts.enter_async_context(
            listen(
                hub.internal, ListenAddress("127.0.0.1", 0, "internal.port"), cancel_handlers=False
            )
        )
        hub.session = await parts.enter_async_context(
            aiohttp.ClientSession(auto_decompress=False, timeout=aiohttp.ClientTimeout(total=60))
        )
        yield hub
