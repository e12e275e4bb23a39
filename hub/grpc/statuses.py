"""Errors as gRPC statuses: a code, one clear sentence, and google.rpc.Status for machines."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final, Literal

import structlog
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import BadRequest, RetryInfo
from google.rpc.status_pb2 import Status
from grpc import StatusCode
from grpc.aio import AbortError

from hub.core.close_reason import CloseReason
from hub.engine.node_metrics import NodeMetrics
from hub.errors import BrokerUnavailable, CallerError, DependencyError, HubError, TooManyRequests
from hub.grpc.request_context import Context
from hub.http.errors import BROKER_UNAVAILABLE

_RETRY_SECONDS: Final = 1.0
_SENTENCE_BYTES: Final = 512  # it is there three times, encoded; clients take 8 KB of trailers
_OF_HTTP: Final = {
    401: StatusCode.UNAUTHENTICATED,
    403: StatusCode.PERMISSION_DENIED,
    404: StatusCode.NOT_FOUND,
    409: StatusCode.ABORTED,
    429: StatusCode.RESOURCE_EXHAUSTED,
}
_OF_CLOSING: Final = {
    CloseReason.ENDED: StatusCode.OK,
    CloseReason.EXPIRED: StatusCode.UNAUTHENTICATED,
    CloseReason.DISCONNECTED: StatusCode.PERMISSION_DENIED,
    CloseReason.CLIENT_DISCONNECTED: StatusCode.UNAVAILABLE,  # it has not: the hub could not go on
}
_log = structlog.get_logger(__name__)

Handler = Callable[[Any, Context], Awaitable[Any]]


class StatusMapper:
    """What one listener answers: errors become statuses, and are counted by those of HTTP, as
    hub/http/request_metrics.py counts them: one number for what is the same.
    """

    def __init__(self, counts: NodeMetrics, listener: Literal["public", "internal"]) -> None:
        self._counts = counts
        self._listener = listener

    def of(self, route: str, handler: Handler) -> Handler:
        """The handler of a call. A stream that began counts as a connection, not here."""

        async def answer(request: Any, context: Context) -> Any:
            status, response = 0, None
            try:
                response = await handler(request, context)
                status = 0 if response is None else 200
            except AbortError:
                raise
            except HubError as error:
                status = self._note(error)
                await _fail(context, error)
            except Exception:  # noqa: BLE001 - the last resort: logged, and INTERNAL
                status = 500
                _log.exception("call.failed", route=route)
                sentence = "the hub failed at this call; its log says how"
                await context.abort(StatusCode.INTERNAL, sentence)
            finally:
                if status:
                    self._counts.responses[self._listener, route, str(status)] += 1
            return response

        return answer

    def _note(self, error: HubError) -> int:
        if isinstance(error, TooManyRequests):
            self._counts.refused[error.limit] += 1
        if isinstance(error, BrokerUnavailable):
            _log.warning("call.broker_away", error=str(error))
        return error.status if isinstance(error, CallerError) else 503


async def end(context: Context, reason: CloseReason) -> None:
    """Ends a stream with the status that its close reason has: UNAVAILABLE says come back (hub.bye
    has said when), another says do not.
    """
    code = StatusCode.UNAVAILABLE if reason.reconnect else StatusCode.ABORTED
    code = _OF_CLOSING.get(reason, code)
    if code is not StatusCode.OK:
        await context.abort(code, f"the stream has ended: {reason.label}")


async def _fail(context: Context, error: HubError) -> None:
    if isinstance(error, CallerError):
        code = _OF_HTTP.get(error.status, StatusCode.INVALID_ARGUMENT)
        retry = float(error.retry_after_seconds) if isinstance(error, TooManyRequests) else None
        await _abort(context, code, error.detail, retry, error.path)
    elif isinstance(error, DependencyError):
        sentence = BROKER_UNAVAILABLE if isinstance(error, BrokerUnavailable) else str(error)
        await _abort(context, StatusCode.UNAVAILABLE, sentence, _RETRY_SECONDS)
    else:
        raise error


async def _abort(
    context: Context,
    code: StatusCode,
    sentence: str,
    retry_seconds: float | None,
    path: str | None = None,
) -> None:
    """The details as in "Richer error model" (grpc.io); the retries of gRPC's own clients heed
    grpc-retry-pushback-ms (gRFC A6).
    """
    sentence = _cut(sentence)
    status = Status(code=code.value[0], message=sentence)
    trailers: list[tuple[str, str | bytes]] = []
    if path is not None:
        violation = BadRequest.FieldViolation(field=path, description=sentence)
        status.details.add().Pack(BadRequest(field_violations=[violation]))
    if retry_seconds is not None:
        delay = Duration()
        delay.FromNanoseconds(int(retry_seconds * 1e9))
        status.details.add().Pack(RetryInfo(retry_delay=delay))
        trailers.append(("grpc-retry-pushback-ms", str(int(retry_seconds * 1000))))
    trailers.append(("grpc-status-details-bin", status.SerializeToString()))
    await context.abort(code, sentence, tuple(trailers))


def _cut(sentence: str) -> str:
    """One that quotes what a client said may have any length, and takes the status along."""
    encoded = sentence.encode(errors="replace")
    if len(encoded) <= _SENTENCE_BYTES:
        return sentence
    return encoded[:_SENTENCE_BYTES].decode(errors="ignore") + "…"
