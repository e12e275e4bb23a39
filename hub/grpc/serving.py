"""The gRPC server on a port. Every option that matters is set on purpose."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import grpc
import msgspec
from grpc_health.v1 import health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from hub.engine.tasks import Supervisor
from hub.errors import OperatorError
from hub.grpc.health import NAME as HEALTH_NAME
from hub.grpc.health import Health
from hub.ports.clock import Clock

_CLEANUP_TIMEOUT_SECONDS: Final = 2.0
_PING_SECONDS: Final = 30.0
_MIN_PING_SECONDS: Final = 5.0
_SPARE_CALLS: Final = 1000  # for probes, beyond the limit for calls

JoinTrace = Callable[[Mapping[str, str]], None]
"""Is called with the metadata of a call before its handler runs, in the contextvars.Context that
grpc.aio keeps for the whole call.
"""


class GrpcListenAddress(msgspec.Struct, frozen=True, kw_only=True):
    """Where to listen.

    setting: the setting that names the port, for errors. shared: other processes listen on the same
    port. tls: the paths of the certificate chain and its key; None serves without TLS.
    """

    host: str
    port: int
    setting: str
    shared: bool = False
    tls: tuple[str, str] | None = None


class GrpcLimits(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of the server.

    max_calls: the number of concurrent calls, not counting some for probes; None means no limit.
    peer_timeout_seconds: how long the server waits for a peer that does not acknowledge data.
    """

    max_message_bytes: int
    max_calls: int | None
    peer_timeout_seconds: float | None


class TraceInterceptor(grpc.aio.ServerInterceptor):
    """Lets each call join the trace of its caller, as a middleware does for HTTP."""

    def __init__(self, join_trace: JoinTrace) -> None:
        self._join_trace = join_trace

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        metadata = handler_call_details.invocation_metadata or ()
        self._join_trace({name: value for name, value in metadata if isinstance(value, str)})
        return await continuation(handler_call_details)


@asynccontextmanager
async def serve(
    name: str,
    handlers: grpc.GenericRpcHandler,
    address: GrpcListenAddress,
    limits: GrpcLimits,
    *,
    health: Health,
    clock: Clock,
    join_trace: JoinTrace | None = None,
) -> AsyncIterator[int]:
    """Serve a service, its health and server reflection inside the block.

    name: the full name of the service. join_trace: None without tracing.
    Yield the port. Raise OperatorError.
    """
    server = grpc.aio.server(
        interceptors=None if join_trace is None else [TraceInterceptor(join_trace)],
        options=_options(address, limits),
        maximum_concurrent_rpcs=(
            None if limits.max_calls is None else limits.max_calls + _SPARE_CALLS
        ),
    )
    server.add_generic_rpc_handlers((handlers,))
    await health.refresh()
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    reflection.enable_server_reflection((name, HEALTH_NAME, reflection.SERVICE_NAME), server)
    port = _listen(server, address)
    await server.start()
    try:
        async with Supervisor(clock) as tasks:
            tasks.start("grpc health", health.run)
            yield port
    finally:
        await server.stop(_CLEANUP_TIMEOUT_SECONDS)


def _options(address: GrpcListenAddress, limits: GrpcLimits) -> Sequence[tuple[str, Any]]:
    """Return the options; grpc/impl/channel_arg_names.h documents their names."""
    options: dict[str, Any] = {
        # With the default, listening on a port that is in use would not be an error.
        "grpc.so_reuseport": int(address.shared),
        "grpc.max_receive_message_length": limits.max_message_bytes,
        # How often clients may ping; the default disconnects clients that ping as often.
        "grpc.http2.min_ping_interval_without_data_ms": int(_MIN_PING_SECONDS * 1000),
    }
    if limits.peer_timeout_seconds is not None:  # also sets TCP_USER_TIMEOUT
        options["grpc.keepalive_time_ms"] = int(_PING_SECONDS * 1000)
        options["grpc.keepalive_timeout_ms"] = int(limits.peer_timeout_seconds * 1000)
        options["grpc.keepalive_permit_without_calls"] = 1
    return list(options.items())


def _listen(server: grpc.aio.Server, address: GrpcListenAddress) -> int:
    host = f"[{address.host}]" if ":" in address.host else address.host
    target = f"{host}:{address.port}"
    try:
        if address.tls is None:
            return server.add_insecure_port(target)
        chain, key = (Path(path).read_bytes() for path in address.tls)
        return server.add_secure_port(target, grpc.ssl_server_credentials([(key, chain)]))
    except OSError as error:
        raise OperatorError(
            f"{address.setting}: the certificate cannot be read: {error}"
        ) from error
    except RuntimeError as error:
        raise OperatorError(f"cannot listen on {target} ({address.setting})") from error
