"""The node's gRPC listeners, where the settings ask for them. The only place that imports hub.grpc:
it needs the extra `grpc`.
"""

from __future__ import annotations

from contextlib import AsyncExitStack

import aiohttp

from hub.api.authentication import DenylistAuthenticator
from hub.api.client_address import ClientAddresses
from hub.errors import OperatorError
from hub.http.cors import AllowedOrigins
from hub.http.streams import Streams
from hub.settings import Internal, Public, Settings
from hub.wiring.applications import build_generation_requests, publish_limits, stream_limits
from hub.wiring.auth import build_api_keys, build_authenticator
from hub.wiring.node_parts import NodeParts
from hub.wiring.tracing import Join, Tracing


def check_installed(settings: Settings) -> None:
    """Raises OperatorError when a listener is set and cannot be had."""
    for section, listener in (("public", settings.public), ("internal", settings.internal)):
        if listener.grpc_port is None:
            continue
        try:
            import hub.grpc.public
            import hub.grpc.serving  # noqa: F401 - the two need all that the others need
        except ImportError as error:
            raise OperatorError(
                f"{section}.grpc_port needs gRPC, which cannot be used here ({error}): "
                "install the hub with its extra grpc (docs/grpc.md)"
            ) from error


async def serve_grpc(
    settings: Settings,
    engine: NodeParts,
    session: aiohttp.ClientSession,
    parts: AsyncExitStack,
    tracing: Tracing,
    *,
    shared: bool,
) -> None:
    """Starts those that are set; they end with `parts`. Raises OperatorError."""
    join = tracing.join()
    if settings.internal.grpc_port is not None:
        await _serve_internal(settings, engine, parts, join, shared=shared)
    if settings.public.grpc_port is not None:
        await _serve_public(settings, engine, session, parts, join, shared=shared)


async def _serve_public(
    settings: Settings,
    engine: NodeParts,
    session: aiohttp.ClientSession,
    parts: AsyncExitStack,
    join: Join | None,
    *,
    shared: bool,
) -> None:
    from hub.grpc import public
    from hub.grpc.health import Health
    from hub.grpc.serving import GrpcLimits, GrpcListenAddress, serve

    # No browser comes here, so no other site's page does.
    entrance = build_authenticator(settings, AllowedOrigins([]), session, engine.clock)
    service = public.HubService(
        Streams(
            engine.connections,
            engine.clock,
            stream_limits(settings),
            ClientAddresses(settings.public.trusted_proxies),
        ),
        DenylistAuthenticator(entrance, engine.admin_commands.denylist),
        engine.generations,
        build_generation_requests(settings, engine.generations),
        engine.metrics,
        buffer_bytes=settings.stream.send_buffer_bytes,
    )
    listener = settings.public
    place = GrpcListenAddress(
        host=listener.host,
        port=listener.grpc_port or 0,
        setting="public.grpc_port",
        shared=shared,
        tls=_tls(listener),
    )
    bounds = GrpcLimits(
        max_message_bytes=settings.generations.max_prompt_bytes,
        max_calls=settings.stream.max_connections,
        peer_timeout_seconds=settings.stream.tcp_user_timeout_seconds,
    )
    health = Health(engine.broker, engine.connections, engine.clock, [public.NAME])
    await parts.enter_async_context(
        serve(
            public.NAME,
            service.handlers(),
            place,
            bounds,
            informed=health,
            clock=engine.clock,
            join=join,
        )
    )


async def _serve_internal(
    settings: Settings, engine: NodeParts, parts: AsyncExitStack, join: Join | None, *, shared: bool
) -> None:
    from hub.grpc import internal
    from hub.grpc.health import Health
    from hub.grpc.serving import GrpcLimits, GrpcListenAddress, serve

    service = internal.HubInternalService(
        engine.publisher,
        build_api_keys(settings),
        publish_limits(settings),
        engine.rate_limits,
        engine.metrics,
    )
    listener = settings.internal
    place = GrpcListenAddress(
        host=listener.host,
        port=listener.grpc_port or 0,
        setting="internal.grpc_port",
        shared=shared,
        tls=_tls(listener),
    )
    bounds = GrpcLimits(max_message_bytes=settings.publish.max_body_bytes)
    health = Health(engine.broker, engine.connections, engine.clock, [internal.NAME])
    await parts.enter_async_context(
        serve(
            internal.NAME,
            service.handlers(),
            place,
            bounds,
            informed=health,
            clock=engine.clock,
            join=join,
        )
    )


def _tls(listener: Public | Internal) -> tuple[str, str] | None:
    if listener.tls_cert is None or listener.tls_key is None:
        return None
    return listener.tls_cert, listener.tls_key
