"""A node: its parts behind its listeners, until a signal ends it."""

from __future__ import annotations

import ssl
from contextlib import AsyncExitStack, suppress

import aiohttp
import msgspec
import structlog

from hub.api.origins import AllowedOrigins
from hub.core.fair_queue import DEFAULT_QUEUE
from hub.engine.tasks import Supervisor, SystemClock
from hub.errors import BrokerUnavailable
from hub.http.applications import introduce
from hub.http.routes.probes import MetricsRoutes
from hub.http.server import ListenAddress, RequestLimits, SocketOptions, listen, tls_context
from hub.settings import Internal, Public, Settings
from hub.wiring.applications import internal_application, public_application
from hub.wiring.auth import build_api_keys, build_authenticator
from hub.wiring.backend import open_backend, queue_by_upstream
from hub.wiring.grpc import check_installed, serve_grpc
from hub.wiring.multiprocess_metrics import PeerMetrics
from hub.wiring.node_parts import NODE_STATE_TASK, build_node_parts, start_node_tasks
from hub.wiring.settings_warnings import warn_of_node
from hub.wiring.shutdown import Shutdown
from hub.wiring.tracing import start_tracing

_log = structlog.get_logger(__name__)


class Sockets(msgspec.Struct, frozen=True):
    """The listening sockets of a node.

    public_fd, internal_fd: descriptors of sockets that the parent process has opened.
    shared: whether the process opens its sockets together with other processes.
    faults_path: the socket on which `hub dev` takes faults for the demo page.
    """

    public_fd: int | None = None
    internal_fd: int | None = None
    shared: bool = False
    faults_path: str | None = None


async def run_node(settings: Settings, stop: Shutdown, sockets: Sockets) -> None:
    """Serve until `stop` is requested, then drain. Raise OperatorError, BrokerUnavailable."""
    check_installed(settings)
    warn_of_node(settings)
    clock = SystemClock()
    async with AsyncExitStack() as opened:
        tracing = await start_tracing(settings, "hub-node", opened)
        queues = sorted({DEFAULT_QUEUE, *queue_by_upstream(settings).values()})
        backend = await opened.enter_async_context(open_backend(settings, queues))
        tasks = await opened.enter_async_context(Supervisor(clock))
        node = build_node_parts(settings, backend, clock, tracing)
        await node.webhooks.endpoints.refresh()
        start_node_tasks(node, tasks)
        session = await opened.enter_async_context(aiohttp.ClientSession())
        peers = PeerMetrics(settings.node.metrics_dir, settings.node.name, node.metrics.families)
        await opened.enter_async_context(peers.serve())
        # gRPC first: a client that sees /readyz can use it.
        await serve_grpc(settings, node, session, opened, tracing, shared=sockets.shared)
        origins = AllowedOrigins(settings.public.allowed_origins)
        authenticator = build_authenticator(settings, origins, session, clock)
        internal = internal_application(
            settings, node, build_api_keys(settings), MetricsRoutes(peers.collect)
        )
        public = public_application(
            settings, node, authenticator, origins, faults_path=sockets.faults_path
        )
        introduce(public, internal)
        for app in (internal, public):
            tracing.watch(app)
        # Handlers of streams end when their clients disconnect; a publish goes on, as do all
        # changes on the public listener (http/dispatch.py), without the cost of a task.
        internal_address = _internal_address(settings.internal, sockets)
        await opened.enter_async_context(
            listen(
                internal,
                internal_address,
                cancel_handlers=False,
                limits=_request_limits(settings.internal),
            )
        )
        options = SocketOptions(
            send_buffer_bytes=settings.stream.send_buffer_bytes,
            user_timeout_seconds=settings.stream.tcp_user_timeout_seconds,
        )
        public_address = _public_address(settings.public, sockets)
        await opened.enter_async_context(
            listen(
                public,
                public_address,
                cancel_handlers=True,
                options=options,
                limits=_request_limits(settings.public),
            )
        )
        _log.info("node.started", node=settings.node.name, public=settings.public.port)
        await stop.requested.wait()
        _log.info("node.draining", connections=len(node.connections))
        node.connections.mark_unready()
        node.producers.draining.set()
        await stop.wait(settings.node.drain_wait_seconds)
        await node.connections.drain(settings.node.drain_seconds, stop.forced)
        await tasks.end(NODE_STATE_TASK)
        with suppress(BrokerUnavailable):
            await backend.commands.remove_node_state(settings.node.name)
    _log.info("node.stopped", node=settings.node.name)


def _request_limits(listener: Public | Internal) -> RequestLimits:
    return RequestLimits(
        max_header_bytes=listener.max_header_bytes, keepalive_seconds=listener.keepalive_seconds
    )


def _internal_address(listener: Internal, sockets: Sockets) -> ListenAddress:
    return ListenAddress(
        listener.host,
        listener.port,
        "internal.port",
        sockets.internal_fd,
        sockets.shared,
        listener.socket,
        _tls(listener, "internal.tls_cert"),
    )


def _public_address(listener: Public, sockets: Sockets) -> ListenAddress:
    return ListenAddress(
        listener.host,
        listener.port,
        "public.port",
        sockets.public_fd,
        sockets.shared,
        tls=_tls(listener, "public.tls_cert"),
    )


def _tls(listener: Public | Internal, setting: str) -> ssl.SSLContext | None:
    if listener.tls_cert is None or listener.tls_key is None:
        return None
    return tls_context(listener.tls_cert, listener.tls_key, setting)
