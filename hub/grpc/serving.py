"""A gRPC server on a port, with every option that matters set on purpose."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import grpc
import msgspec
from grpc_health.v1 import health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from hub.engine.tasks import Supervisor
from hub.errors import OperatorError
from hub.grpc import health
from hub.grpc.health import Health
from hub.grpc.trace_interceptor import Join, TraceInterceptor
from hub.ports.clock import Clock

_CLEANUP_SECONDS: Final = 2.0
_PING_SECONDS: Final = 30.0
_LEAST_PING_SECONDS: Final = 5.0
_MARGIN: Final = 1000


class GrpcListenAddress(msgspec.Struct, frozen=True, kw_only=True):
    """Where to listen, and the setting that says so. shared: other processes listen there too.
    tls: paths of the certificate chain and its key.
    """

    host: str
    port: int
    setting: str
    shared: bool = False
    tls: tuple[str, str] | None = None


class GrpcLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What a client may take. max_calls: at once, beside some for probes; None: any number.
    peer_timeout_seconds: how long a peer that has vanished is waited for.
    """

    max_message_bytes: int
    max_calls: int | None = None
    peer_timeout_seconds: float | None = None


@asynccontextmanager
async def serve(
    name: str,
    handlers: grpc.GenericRpcHandler,
    address: GrpcListenAddress,
    bounds: GrpcLimits,
    *,
    informed: Health,
    clock: Clock,
    join: Join | None = None,
) -> AsyncIterator[int]:
    """Serves the service of this name, health and reflection inside the block; gives the port.
    join: of calls to their callers' traces. Raises OperatorError.
    """
    server = grpc.aio.server(
        interceptors=None if join is None else [TraceInterceptor(join)],
        options=_options(address, bounds),
        maximum_concurrent_rpcs=None if bounds.max_calls is None else bounds.max_calls + _MARGIN,
    )
    server.add_generic_rpc_handlers((handlers,))
    await informed.refresh()
    health_pb2_grpc.add_HealthServicer_to_server(informed, server)
    reflection.enable_server_reflection((name, health.NAME, reflection.SERVICE_NAME), server)
    port = _listen(server, address)
    await server.start()
    try:
        async with Supervisor(clock) as tasks:
            tasks.start("grpc health", informed.run)
            yield port
    finally:
        await server.stop(_CLEANUP_SECONDS)


def _options(place: GrpcListenAddress, bounds: GrpcLimits) -> Sequence[tuple[str, Any]]:
    """By their names in grpc/impl/channel_arg_names.h."""
    options: dict[str, Any] = {
        # Without it a port that is taken is an error, as it should be.
        "grpc.so_reuseport": int(place.shared),
        "grpc.max_receive_message_length": bounds.max_message_bytes,
        # Clients may look for a dead connection as often; the default cuts them off for it.
        "grpc.http2.min_ping_interval_without_data_ms": int(_LEAST_PING_SECONDS * 1000),
    }
    if bounds.peer_timeout_seconds is not None:  # also sets TCP_USER_TIMEOUT
        options["grpc.keepalive_time_ms"] = int(_PING_SECONDS * 1000)
        options["grpc.keepalive_timeout_ms"] = int(bounds.peer_timeout_seconds * 1000)
        options["grpc.keepalive_permit_without_calls"] = 1
    return list(options.items())


def _listen(server: grpc.aio.Server, place: GrpcListenAddress) -> int:
    host = f"[{place.host}]" if ":" in place.host else place.host
    address = f"{host}:{place.port}"
    try:
        if place.tls is None:
            return server.add_insecure_port(address)
        chain, key = (Path(path).read_bytes() for path in place.tls)
        return server.add_secure_port(address, grpc.ssl_server_credentials([(key, chain)]))
    except OSError as error:
        raise OperatorError(f"{place.setting}: the certificate cannot be read: {error}") from error
    except RuntimeError as error:
        raise OperatorError(f"cannot listen on {address} ({place.setting})") from error
