"""The errors of the hub, grouped by who must act.

- HubError
  - CallerError: the request is wrong and the caller must change it (HTTP 4xx)
    - BadRequest (400): malformed, or breaks a rule that the message names
    - Unauthorized (401), Forbidden (403), NotFound (404), RequestTimeout (408),
      Conflict (409), PreconditionFailed (412), TooLarge (413), UnsupportedMedia (415),
      RangeNotSatisfiable (416), UpgradeRequired (426), TooManyRequests (429)
  - DependencyError: something the hub depends on is unavailable; a later call may succeed
    - BrokerUnavailable: Redis or Valkey does not answer (HTTP 503, exit code 3)
      - BrokerOutOfMemory, BrokerRefusesWrites: it answers, but stores nothing new
    - CallbackUnavailable: the application does not authenticate the user (HTTP 503)
    - KeySetUnavailable: the keys of an identity provider cannot be fetched (HTTP 503)
    - NodeBusy: this node drains, or holds as many streams as it may (HTTP 503)
    - GenerationStillRunning: the response ends before its generation does (HTTP 503)
    - GuardFailed: the application's guard did not check an answer
    - DatabaseUnavailable: the PostgreSQL of the outbox does not answer; no client is told
    - UpstreamError: an LLM endpoint failed; it carries the code of `generation.failed`
      - ProducerLost: the process of the application's own function was lost
  - OperatorError: the settings or the environment are wrong and the operator must act (exit code 2)

Every error that a client can receive has a `code`; hub/error_codes.py lists them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hub import error_codes
from hub.error_codes import ErrorCode


class HubError(Exception):
    """The base class of the errors that the hub raises on purpose. The message is one sentence."""


class CallerError(HubError):
    """The request cannot be served as it is.

    `status` is the HTTP status. `code` is the name of an ErrorCode. `path` names the invalid field
    (`to.user`), if there is one.
    """

    status = 400

    def __init__(
        self, detail: str, *, code: ErrorCode | None = None, path: str | None = None
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.code = (code or self._default_code(path)).name
        self.path = path

    @property
    def extra(self) -> Mapping[str, Any]:
        """Further fields of the problem document."""
        return {}

    def _default_code(self, path: str | None) -> ErrorCode:
        return error_codes.code_for_status(self.status)


class BadRequest(CallerError):
    status = 400

    def _default_code(self, path: str | None) -> ErrorCode:
        return error_codes.INVALID_FIELD if path else error_codes.INVALID_REQUEST


class Unauthorized(CallerError):
    status = 401


class Forbidden(CallerError):
    status = 403


class NotFound(CallerError):
    status = 404


class RequestTimeout(CallerError):
    status = 408


class Conflict(CallerError):
    """The request contradicts an earlier one.

    generation: the answer that stands in its way, if the caller may know it.
    """

    status = 409

    def __init__(
        self,
        detail: str,
        *,
        code: ErrorCode | None = None,
        path: str | None = None,
        generation: str | None = None,
    ) -> None:
        super().__init__(detail, code=code, path=path)
        self.generation = generation


class SequenceGap(Conflict):
    """A part that an external producer posts does not follow the newest one of its attempt.

    expected: the number of the part that does.
    """

    def __init__(self, detail: str, *, expected: int) -> None:
        super().__init__(detail, code=error_codes.SEQUENCE_GAP)
        self.expected = expected

    @property
    def extra(self) -> Mapping[str, Any]:
        return {"expected": self.expected}


class InputConflict(Conflict):
    """Another value of an input counts. value, by: that value, and the user who has given it."""

    def __init__(self, detail: str, *, code: ErrorCode, value: Any, by: str) -> None:
        super().__init__(detail, code=code)
        self.value = value
        self.by = by

    @property
    def extra(self) -> Mapping[str, Any]:
        return {"value": self.value, "by": self.by}


class PreconditionFailed(CallerError):
    status = 412


class TooLarge(CallerError):
    status = 413


class UnsupportedMedia(CallerError):
    status = 415


class RangeNotSatisfiable(CallerError):
    status = 416


class UpgradeRequired(CallerError):
    """The route speaks only WebSocket."""

    status = 426


class TooManyRequests(CallerError):
    """A limit is reached. The same call may succeed after `retry_after_seconds`.

    limit: the name of the limit, for metrics.
    """

    status = 429

    def __init__(
        self,
        detail: str,
        *,
        limit: str,
        retry_after_seconds: int,
        code: ErrorCode = error_codes.RATE_LIMITED,
    ) -> None:
        super().__init__(detail, code=code)
        self.limit = limit
        self.retry_after_seconds = retry_after_seconds


class DependencyError(HubError):
    """Something that the hub depends on is unavailable. A later call may succeed.

    `code` is the name of an ErrorCode.
    """

    code: str


class BrokerUnavailable(DependencyError):
    """Redis or Valkey cannot be reached, did not answer in time, or refused a command.

    The message is for operators. `public_detail` is what a client may learn.
    """

    code = error_codes.BROKER_UNAVAILABLE.name
    public_detail = "the broker is unavailable; try again"


class BrokerOutOfMemory(BrokerUnavailable):
    """The memory of Redis or Valkey is full (`maxmemory`), so it stores nothing new."""

    code = error_codes.BROKER_OUT_OF_MEMORY.name
    public_detail = "the memory of the broker is full, so it stores no new events; try again later"


class BrokerRefusesWrites(BrokerUnavailable):
    """Redis or Valkey refuses writes, because its disk fails or too few replicas are connected."""

    code = error_codes.BROKER_REFUSES_WRITES.name
    public_detail = (
        "the broker refuses writes, because its disk fails or replicas are missing; try again later"
    )


class CallbackUnavailable(DependencyError):
    """The application's authentication callback failed or gave an invalid response (HTTP 503)."""

    code = error_codes.CALLBACK_UNAVAILABLE.name


class KeySetUnavailable(DependencyError):
    """The key set of an identity provider cannot be fetched, so its tokens cannot be verified now
    (HTTP 503).
    """

    code = error_codes.KEY_SET_UNAVAILABLE.name


class NodeBusy(DependencyError):
    """The node accepts no more streams for now; another node may (HTTP 503)."""

    def __init__(self, detail: str, *, code: ErrorCode) -> None:
        super().__init__(detail)
        self.code = code.name


class GenerationStillRunning(DependencyError):
    """The generation has started, but the hub cannot wait for its end (HTTP 503).

    The message names the generation. The client should read it instead of repeating the request,
    which would start another one.
    """

    code = error_codes.GENERATION_STILL_RUNNING.name


class DatabaseUnavailable(DependencyError):
    """The PostgreSQL of the outbox cannot be reached, or did not answer in time."""

    code = error_codes.INTERNAL_ERROR.name


class GuardFailed(DependencyError):
    """The application's guard failed, or did not answer. The message is for operators.

    traceback: of the application's own function.
    """

    code = error_codes.GUARD_FAILED.name

    def __init__(self, message: str, *, traceback: str = "") -> None:
        super().__init__(message)
        self.traceback = traceback


class UpstreamError(DependencyError):
    """An LLM endpoint failed. `code` and `retryable` become fields of `generation.failed`.

    code: the name of an ErrorCode, of those for answers that fail.
    rejects_request: another endpoint would reject the same request.
    is_final: the endpoint may be at work on the request, so that nobody must send it again.
    retry_after_seconds: how long the endpoint asks clients to wait.
    status: the endpoint's HTTP status, or the one that it reports inside its stream.
    reported_code, param: the endpoint's own code of the error, and the field of the request that it
    blames, in the form of OpenAI's errors.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        retryable: bool,
        rejects_request: bool = False,
        is_final: bool = False,
        retry_after_seconds: float | None = None,
        status: int | None = None,
        reported_code: str | None = None,
        param: str | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reported_code = reported_code
        self.param = param
        self.message = message
        self.retryable = retryable
        self.rejects_request = rejects_request
        self.is_final = is_final
        self.retry_after_seconds = retry_after_seconds
        self.status = status


class ProducerLost(UpstreamError):
    """The process or the worker that ran a function of the application was lost."""

    def __init__(self) -> None:
        message = "the process that produced the answer was lost"
        super().__init__(error_codes.PRODUCER_LOST.name, message, retryable=True)


class RecordLost(UpstreamError):
    """The broker has lost the record of a generation that had not ended."""

    def __init__(self) -> None:
        message = "the broker lost the record of this answer"
        super().__init__(error_codes.GENERATION_LOST.name, message, retryable=True)


class OperatorError(HubError):
    """The hub cannot run with these settings. The message names the setting, port or file."""
