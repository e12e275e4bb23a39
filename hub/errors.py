"""The errors of the hub, grouped by who must act.

- HubError
  - CallerError: the request is wrong; the caller mends it (HTTP 4xx)
    - BadRequest (400): malformed or breaks a named rule
    - Unauthorized (401), Forbidden (403), NotFound (404), RequestTimeout (408),
      TooLarge (413), UnsupportedMedia (415), TooMany (429)
  - DependencyError: something the hub leans on is away; the same call may pass later
    - BrokerUnavailable: Redis or Valkey does not answer (HTTP 503, exit code 3)
    - CallbackUnavailable: the application does not say who somebody is (HTTP 503)
    - NodeBusy: this node drains, or holds as many streams as it may (HTTP 503)
    - AnswerGoesOn: who waits for an answer is let go, the answer is not (HTTP 503)
    - UpstreamError: an LLM endpoint failed; carries the code of `generation.failed`
  - OperatorError: the hub is set up wrongly; the operator mends it (exit code 2)
"""

from __future__ import annotations


class HubError(Exception):
    """Everything the hub raises on purpose; the message is one clear sentence."""


class CallerError(HubError):
    """The caller's request cannot be served as it is.

    `status` is the HTTP status; `path` names the offending field (`to.user`), where there is one.
    """

    status = 400

    def __init__(self, detail: str, *, path: str | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.path = path


class BadRequest(CallerError):
    status = 400


class Unauthorized(CallerError):
    status = 401


class Forbidden(CallerError):
    status = 403


class NotFound(CallerError):
    status = 404


class RequestTimeout(CallerError):
    status = 408


class TooLarge(CallerError):
    status = 413


class UnsupportedMedia(CallerError):
    status = 415


class TooManyRequests(CallerError):
    """A limit is reached; the same call may pass after `retry_after_seconds`. limit: its name, for
    those who count.
    """

    status = 429

    def __init__(self, detail: str, *, limit: str, retry_after_seconds: int) -> None:
        super().__init__(detail)
        self.limit = limit
        self.retry_after_seconds = retry_after_seconds


class DependencyError(HubError):
    """A part that the hub leans on does not answer; trying again later may help."""


class BrokerUnavailable(DependencyError):
    """Redis or Valkey cannot be reached, or did not answer in time."""


class CallbackUnavailable(DependencyError):
    """The application, asked who somebody is, gave no clear answer (HTTP 503)."""


class NodeBusy(DependencyError):
    """The node takes nobody more for now; another one may (HTTP 503)."""


class GenerationStillRunning(DependencyError):
    """The question was asked, and who asks again asks twice: the answer is to be looked at, by the
    generation that the message names (HTTP 503).
    """


class UpstreamError(DependencyError):
    """An LLM endpoint failed. `code` and `retryable` go into `generation.failed` as they are.

    Codes: upstream_unreachable, upstream_timeout, upstream_status, upstream_protocol,
    upstream_truncated, upstream_error, upstream_too_large, upstream_unknown, upstream_circuit_open,
    upstream_unsupported, too_many_attempts, queue_timeout.

    refuses_the_question: another endpoint would say the same. retry_after_seconds: how long the
    endpoint asks to be left alone. status: the endpoint's HTTP status, of upstream_status.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        retryable: bool,
        rejects_request: bool = False,
        retry_after_seconds: float | None = None,
        status: int | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retryable = retryable
        self.rejects_request = rejects_request
        self.retry_after_seconds = retry_after_seconds
        self.status = status


class OperatorError(HubError):
    """The hub cannot run as it is set up; the message names the setting, port or file."""
