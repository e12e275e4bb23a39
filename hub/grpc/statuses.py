"""Errors as gRPC statuses: a code, one sentence, and google.rpc.Status for programs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final, Literal

import structlog
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from grpc import StatusCode
from grpc.aio import AbortError

from hub.api.problems import ErrorDescription, describe_error
from hub.core.close_reason import CloseReason
from hub.engine.metrics.node_metrics import NodeMetrics
from hub.error_codes import INTERNAL_ERROR
from hub.errors import BrokerUnavailable, CallerError, DependencyError, TooManyRequests
from hub.grpc.request_context import Context

_MAX_SENTENCE_BYTES: Final = 512  # the trailers hold it three times; clients accept 8 KB
_ERROR_DOMAIN: Final = "hub"
_CODES_BY_STATUS: Final = {
    401: StatusCode.UNAUTHENTICATED,
    403: StatusCode.PERMISSION_DENIED,
    404: StatusCode.NOT_FOUND,
    409: StatusCode.ABORTED,
    429: StatusCode.RESOURCE_EXHAUSTED,
}
_CODES_BY_CLOSE_REASON: Final = {
    CloseReason.ENDED: StatusCode.OK,
    CloseReason.EXPIRED: StatusCode.UNAUTHENTICATED,
    CloseReason.DISCONNECTED: StatusCode.PERMISSION_DENIED,
    # If the client were gone, it would get no status: the hub could not continue the stream.
    CloseReason.CLIENT_DISCONNECTED: StatusCode.UNAVAILABLE,
}
_log = structlog.get_logger(__name__)

Handler = Callable[[Any, Context], Awaitable[Any]]


class StatusMapper:
    """Turns the errors of one listener's calls into statuses and counts the calls.

    It counts by the HTTP statuses, as hub/http/request_metrics.py does, so that metrics have the
    same labels for both protocols.
    """

    def __init__(self, metrics: NodeMetrics, listener: Literal["public", "internal"]) -> None:
        self._metrics = metrics
        self._listener = listener

    def wrap(self, route: str, handler: Handler) -> Handler:
        """Wrap the handler of a call.

        A stream of events that has started counts as a connection, not as a call.
        """

        async def handle(request: Any, context: Context) -> Any:
            try:
                response = await handler(request, context)
            except AbortError:
                raise
            except (CallerError, DependencyError) as error:
                description = describe_error(error)
                self._record(error)
                self.count(route, description.status)
                await _abort(context, _code(error, description.status), description)
            except Exception:  # noqa: BLE001 - the last resort: logged, and INTERNAL
                _log.exception("call.failed", route=route)
                sentence = "the hub could not handle this call; see its log"
                description = ErrorDescription(500, INTERNAL_ERROR.name, sentence)
                self.count(route, description.status)
                await _abort(context, StatusCode.INTERNAL, description)
            else:
                if response is not None:
                    self.count(route, 200)
                return response

        return handle

    def count(self, route: str, status: int) -> None:
        """Count a call before its caller has the answer."""
        self._metrics.responses[self._listener, route, str(status)] += 1

    def _record(self, error: CallerError | DependencyError) -> None:
        if isinstance(error, TooManyRequests):
            self._metrics.refused[error.limit] += 1
        if isinstance(error, BrokerUnavailable):
            _log.warning("call.broker_unavailable", error=str(error))


async def end_stream(context: Context, reason: CloseReason) -> None:
    """End a stream with the status of its close reason.

    UNAVAILABLE asks the client to reconnect, after the delay in hub.bye. Any other status asks it
    not to reconnect.
    """
    code = StatusCode.UNAVAILABLE if reason.reconnect else StatusCode.ABORTED
    code = _CODES_BY_CLOSE_REASON.get(reason, code)
    if code is not StatusCode.OK:
        await context.abort(code, f"the stream has ended: {reason.label}")


async def _abort(context: Context, code: StatusCode, error: ErrorDescription) -> None:
    """End the call with an error.

    The details follow the "Richer error model" (grpc.io). The reason in google.rpc.ErrorInfo is the
    code in capitals, as that message requires. The retries of gRPC's own clients obey
    grpc-retry-pushback-ms (gRFC A6).
    """
    sentence = _truncate(error.detail)
    status = Status(code=code.value[0], message=sentence)
    trailers: list[tuple[str, str | bytes]] = []
    if error.path is not None:
        violation = BadRequest.FieldViolation(field=error.path, description=sentence)
        status.details.add().Pack(BadRequest(field_violations=[violation]))
    if error.retry_after_seconds is not None:
        delay = Duration(seconds=error.retry_after_seconds)
        status.details.add().Pack(RetryInfo(retry_delay=delay))
        trailers.append(("grpc-retry-pushback-ms", str(error.retry_after_seconds * 1000)))
    information = ErrorInfo(
        reason=error.code.upper(), domain=_ERROR_DOMAIN, metadata=_describe_fields(error)
    )
    status.details.add().Pack(information)
    trailers.append(("grpc-status-details-bin", status.SerializeToString()))
    await context.abort(code, sentence, tuple(trailers))


def _describe_fields(error: ErrorDescription) -> dict[str, str]:
    """Return the code of an error and those of its fields that gRPC has no details for."""
    fields = {"code": error.code, "generation": error.generation, **error.extra}
    return {name: str(value) for name, value in fields.items() if value is not None}


def _code(error: CallerError | DependencyError, status: int) -> StatusCode:
    if isinstance(error, DependencyError):
        return StatusCode.UNAVAILABLE
    return _CODES_BY_STATUS.get(status, StatusCode.INVALID_ARGUMENT)


def _truncate(sentence: str) -> str:
    """A sentence that quotes the request may have any length; trailers are limited."""
    encoded = sentence.encode(errors="replace")
    if len(encoded) <= _MAX_SENTENCE_BYTES:
        return sentence
    return encoded[:_MAX_SENTENCE_BYTES].decode(errors="ignore") + "…"
