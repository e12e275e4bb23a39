"""A node with an in-memory backend, built and served as in production."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import aiohttp
import msgspec

from hub.api.api_keys import ApiKeys
from hub.api.authentication import Authenticator, DevAuthenticator
from hub.api.origins import AllowedOrigins
from hub.api.streams import StreamLimits
from hub.compat.errors import COMPAT_PREFIX
from hub.core.sse_decoder import ServerSentEvent, SseDecoder
from hub.core.system_events import SYSTEM_EVENTS
from hub.engine.tasks import SystemClock
from hub.grpc import internal as grpc_internal
from hub.grpc import public as grpc_public
from hub.grpc.health import Health
from hub.grpc.serving import GrpcLimits, GrpcListenAddress, serve
from hub.http.applications import introduce
from hub.http.routes.probes import MetricsRoutes
from hub.http.server import ListenAddress, listen
from hub.metrics import render_prometheus
from hub.settings import Settings
from hub.testing.backend import MemoryBackend
from hub.wiring.applications import internal_application, public_application, stream_limits
from hub.wiring.grpc import build_internal_service, build_public_service
from hub.wiring.node_parts import build_node_parts
from hub.wiring.tracing import NoTracing, Tracing
from tests.described_responses import DescribedResponses

MAX_BODY = 64 * 1024
ORIGINS = ["https://app.example"]
SETTINGS = Settings.model_validate(
    {
        "node": {"name": "n1"},
        "public": {
            "demo_page": True,
            "trusted_proxies": ["127.0.0.2"],
            "allowed_origins": ORIGINS,
        },
        "stream": {"max_topics": 3},
        "publish": {
            "max_body_bytes": MAX_BODY,
            "max_data_bytes": 32 * 1024,
            "max_recipients": 3,
        },
        "generations": {"max_prompt_bytes": MAX_BODY},
        "upstreams": {
            "main": {
                "base_url": "http://127.0.0.1:1",
                "default_model": "m1",
                "models": ["m1", "m2"],
            },
            "open": {"base_url": "http://127.0.0.1:1"},
            "support": {"kind": "queue"},
        },
        "default_upstream": "main",
    }
)
LIMITS = stream_limits(SETTINGS)


class Hub:
    """A node in this process. None of its background tasks runs."""

    def __init__(
        self,
        authenticator: Authenticator,
        api_keys: ApiKeys,
        limits: StreamLimits,
        max_publishes_per_second: float | None,
        tracing: Tracing,
        backend: Any = None,
        tables: Mapping[str, Any] | None = None,
    ) -> None:
        self.settings = settings = _settings(
            limits,
            max_publishes_per_second,
            auth_disabled=isinstance(authenticator, DevAuthenticator),
        ).model_copy(update=tables or {})
        self.backend = backend or MemoryBackend()
        self.node = node = build_node_parts(settings, self.backend, SystemClock(), tracing)
        self._join_trace = tracing.join()
        origins = AllowedOrigins(settings.public.allowed_origins)
        self.public = public_application(settings, node, authenticator, origins)
        self.internal = internal_application(settings, node, api_keys, MetricsRoutes(self.metrics))
        introduce(self.public, self.internal)
        self.described = [DescribedResponses("public"), DescribedResponses("internal")]
        for app, described in zip((self.public, self.internal), self.described, strict=True):
            app.middlewares.insert(0, described.check)
        for app in (self.public, self.internal):
            tracing.watch(app)
        self.grpc = build_public_service(settings, node, authenticator)
        self.grpc_internal = build_internal_service(settings, node, api_keys)
        self.session: aiohttp.ClientSession
        self.port = self.internal_port = 0
        self.grpc_port = self.grpc_internal_port = 0

    async def metrics(self) -> bytes:
        """Return the text of /metrics."""
        return render_prometheus({"n1": self.node.metrics.families()})

    async def call(
        self, method: str, path: str, *, internal: bool = False, **more: Any
    ) -> tuple[int, Any]:
        """Send a request and return the status and the decoded JSON."""
        async with self.ask(method, path, internal=internal, **more) as response:
            return response.status, await response.json(content_type=None)

    def ask(self, method: str, path: str, *, internal: bool = False, **more: Any) -> Any:
        """Send a request; use the result in `async with`."""
        port = self.internal_port if internal else self.port
        return self.session.request(method, f"http://127.0.0.1:{port}{path}", **more)

    async def publish(self, **body: Any) -> tuple[int, Any]:
        return await self.call("POST", "/publish", internal=True, json=body)

    @asynccontextmanager
    async def serving_grpc(self, tls: tuple[str, str] | None = None) -> AsyncIterator[None]:
        """Serve the gRPC listeners too."""
        clock = SystemClock()
        limits = GrpcLimits(max_message_bytes=MAX_BODY, max_calls=50, peer_timeout_seconds=10)
        async with AsyncExitStack() as parts:
            ports = []
            for name, service in (
                (grpc_public.NAME, self.grpc),
                (grpc_internal.NAME, self.grpc_internal),
            ):
                health = Health(self.backend.health, self.node.connections, clock, [name])
                address = GrpcListenAddress(
                    host="127.0.0.1", port=0, setting="public.grpc_port", tls=tls
                )
                served = serve(
                    name,
                    service.handlers(),
                    address,
                    limits,
                    health=health,
                    clock=clock,
                    join_trace=self._join_trace,
                )
                ports.append(await parts.enter_async_context(served))
            self.grpc_port, self.grpc_internal_port = ports
            yield

    @asynccontextmanager
    async def stream(self, path: str, **more: Any) -> AsyncIterator[Stream]:
        """Open a stream and read its hub.open."""
        async with self.ask("GET", path, **more) as response:
            stream = Stream(response)
            stream.opened = await stream.next()
            yield stream


class Stream:
    """Reads the events of an open response."""

    opened: ServerSentEvent

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response
        self.bytes = b""
        self._decoder = SseDecoder()
        self._ready: list[ServerSentEvent] = []

    async def next(self) -> ServerSentEvent:
        async with asyncio.timeout(60):
            while not self._ready:
                chunk = await self.response.content.readany()
                if not chunk:
                    raise EOFError
                self.bytes += chunk
                self._ready += self._decoder.feed(chunk)
        return self._ready.pop(0)


def _settings(
    limits: StreamLimits, max_publishes_per_second: float | None, *, auth_disabled: bool
) -> Settings:
    def changed(table: Any, values: dict[str, Any]) -> Any:
        return table.model_copy(update=values)

    return SETTINGS.model_copy(
        update={
            "stream": changed(SETTINGS.stream, msgspec.structs.asdict(limits)),
            "publish": changed(SETTINGS.publish, {"max_per_second": max_publishes_per_second}),
            "auth": changed(SETTINGS.auth, {"disabled": auth_disabled}),
        }
    )


def check_described(name: str, data: Any) -> None:
    """Raise an exception if a field of a system event is missing, unknown or of another type."""
    assert msgspec.to_builtins(msgspec.convert(data, SYSTEM_EVENTS[name])) == data, name


@asynccontextmanager
async def running_hub(
    authenticator: Authenticator | None = None,
    keys: ApiKeys | None = None,
    *,
    limits: StreamLimits = LIMITS,
    rate: float | None = None,
    tracing: Tracing | None = None,
    backend: Any = None,
    tables: Mapping[str, Any] | None = None,
) -> AsyncIterator[Hub]:
    """Run a node on free ports, with the production options of aiohttp's runner.

    backend: None means one in memory. tables: further tables of the settings, by name.
    """
    hub = Hub(
        authenticator or DevAuthenticator(AllowedOrigins(ORIGINS), [COMPAT_PREFIX]),
        keys or ApiKeys([]),
        limits,
        rate,
        tracing or NoTracing(),
        backend,
        tables,
    )
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
    if differences := [each for described in hub.described for each in described.differences]:
        raise AssertionError("\n".join(differences))
