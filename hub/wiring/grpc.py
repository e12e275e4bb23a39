"""The gRPC listeners of a node, if the settings enable them.

Only this module imports hub.grpc, which needs the extra `grpc`.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import aiohttp

from hub.api.api_keys import ApiKeys
from hub.api.authentication import Authenticator, DenylistAuthenticator
from hub.api.client_address import ClientAddresses
from hub.api.job_requests import JobRequests
from hub.api.origins import AllowedOrigins
from hub.api.streams import Streams
from hub.errors import OperatorError
from hub.settings import Internal, Public, Settings
from hub.wiring.applications import (
    build_generation_requests,
    build_producer_requests,
    build_publish_requests,
    stream_limits,
    streamed_post_limits,
)
from hub.wiring.auth import build_api_keys, build_authenticator
from hub.wiring.node_parts import NodeParts
from hub.wiring.tracing import Join, Tracing

if TYPE_CHECKING:
    from hub.grpc.event_streams import EventStreams
    from hub.grpc.internal import HubInternalService
    from hub.grpc.public import HubService


def check_installed(settings: Settings) -> None:
    """Raise OperatorError when a listener is set and gRPC is not installed."""
    for section, listener in (("public", settings.public), ("internal", settings.internal)):
        if listener.grpc_port is None:
            continue
        try:
            import hub.grpc.public
            import hub.grpc.serving  # noqa: F401 - these two import all others
        except ImportError as error:
            raise OperatorError(
                f"{section}.grpc_port needs gRPC, which cannot be used here ({error}): "
                "install ssehub[grpc] (docs/reference/grpc.md)"
            ) from error


async def serve_grpc(
    settings: Settings,
    node: NodeParts,
    session: aiohttp.ClientSession,
    opened: AsyncExitStack,
    tracing: Tracing,
    *,
    shared: bool,
) -> None:
    """Start the gRPC listeners that are set; they end with `opened`. Raise OperatorError."""
    join = tracing.join()
    if settings.internal.grpc_port is not None:
        await _serve_internal(settings, node, opened, join, shared=shared)
    if settings.public.grpc_port is not None:
        await _serve_public(settings, node, session, opened, join, shared=shared)


def build_public_service(
    settings: Settings, node: NodeParts, authenticator: Authenticator
) -> HubService:
    """Build the service for users."""
    from hub.grpc.public import HubService

    return HubService(
        _build_event_streams(settings, node, ClientAddresses(settings.public.trusted_proxies)),
        DenylistAuthenticator(authenticator, node.admin_commands.denylist),
        node.generations,
        build_generation_requests(settings, node.generations),
        node.metrics,
    )


def build_internal_service(
    settings: Settings, node: NodeParts, api_keys: ApiKeys
) -> HubInternalService:
    """Build the service for backends."""
    from hub.grpc.internal import HubInternalService
    from hub.grpc.producers import ProducerCalls
    from hub.grpc.statuses import StatusMapper

    statuses = StatusMapper(node.metrics, "internal")
    producers = ProducerCalls(
        build_producer_requests(settings, node, api_keys),
        JobRequests(node.claims, node.producers),
        _build_event_streams(settings, node, ClientAddresses([])),
        statuses,
        clock=node.clock,
        limits=streamed_post_limits(settings),
    )
    return HubInternalService(build_publish_requests(settings, node, api_keys), producers, statuses)


def _build_event_streams(
    settings: Settings, node: NodeParts, addresses: ClientAddresses
) -> EventStreams:
    from hub.grpc.event_streams import EventStreams

    streams = Streams(node.connections, node.clock, stream_limits(settings), addresses)
    return EventStreams(streams, buffer_bytes=settings.stream.send_buffer_bytes)


async def _serve_public(
    settings: Settings,
    node: NodeParts,
    session: aiohttp.ClientSession,
    opened: AsyncExitStack,
    join: Join | None,
    *,
    shared: bool,
) -> None:
    from hub.grpc import public
    from hub.grpc.health import Health
    from hub.grpc.serving import GrpcLimits, GrpcListenAddress, serve

    # Browsers do not speak gRPC, so there is no origin to check.
    authenticator = build_authenticator(settings, AllowedOrigins([]), session, node.clock)
    listener = settings.public
    address = GrpcListenAddress(
        host=listener.host,
        port=listener.grpc_port or 0,
        setting="public.grpc_port",
        shared=shared,
        tls=_tls(listener),
    )
    limits = GrpcLimits(
        max_message_bytes=settings.generations.max_prompt_bytes,
        max_calls=settings.stream.max_connections,
        peer_timeout_seconds=settings.stream.tcp_user_timeout_seconds,
    )
    await opened.enter_async_context(
        serve(
            public.NAME,
            build_public_service(settings, node, authenticator).handlers(),
            address,
            limits,
            health=Health(node.backend.health, node.connections, node.clock, [public.NAME]),
            clock=node.clock,
            join_trace=join,
        )
    )


async def _serve_internal(
    settings: Settings, node: NodeParts, opened: AsyncExitStack, join: Join | None, *, shared: bool
) -> None:
    from hub.grpc import internal
    from hub.grpc.health import Health
    from hub.grpc.serving import GrpcLimits, GrpcListenAddress, serve

    listener = settings.internal
    address = GrpcListenAddress(
        host=listener.host,
        port=listener.grpc_port or 0,
        setting="internal.grpc_port",
        shared=shared,
        tls=_tls(listener),
    )
    await opened.enter_async_context(
        serve(
            internal.NAME,
            build_internal_service(settings, node, build_api_keys(settings)).handlers(),
            address,
            GrpcLimits(
                max_message_bytes=settings.publish.max_body_bytes,
                max_calls=None,
                peer_timeout_seconds=None,
            ),
            health=Health(node.backend.health, node.connections, node.clock, [internal.NAME]),
            clock=node.clock,
            join_trace=join,
        )
    )


def _tls(listener: Public | Internal) -> tuple[str, str] | None:
    if listener.tls_cert is None or listener.tls_key is None:
        return None
    return listener.tls_cert, listener.tls_key
