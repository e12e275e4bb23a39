"""The exceptions that the client raises.

- HubClientError
  - HubUnreachable: no hub answers, or the connection broke before the response was complete
    - NotAHub: another server answered, with status 200
  - HubUnavailable (502, 503, 504): the hub or its broker is unavailable for the moment
  - TooManyRequests (429): a limit is reached; `retry_after_seconds` says when to try again
  - Unauthorized (401), Forbidden (403), NotFound (404)
  - BadRequest (every other 4xx): the request is wrong; `path` names the field
  - StreamEnded: the hub closed the stream and asks the client not to reconnect
  - StreamReset: events are lost; fetch your state again
  - GenerationStopped: somebody has stopped the answer that this producer writes
  - LeaseLost: this producer's lease is void: another attempt has begun, or it has ended
  - InputTimeout: nobody has answered an input of this producer in time
  - AnswerFailed: an answer ended with `generation.failed`
  - AnswerRewritten: the text that was shown so far is void
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any, Final

import msgspec

# OpenSSL's codes for a certificate whose issuer is not known to this machine, or is itself.
_UNKNOWN_ISSUER_CODES: Final = (18, 19, 20, 21)


class HubClientError(Exception):
    """The hub refused a request, or the client cannot reach it.

    detail: one sentence; it is the hub's own sentence when the hub sent one.
    status: the HTTP status, or 0 when there was no response.
    code: the hub's code for the kind of error (`token_expired`), or None when there was no response
    from a hub; docs/reference/errors.md describes the codes.
    path: the name of the wrong field, or None.
    retry_after_seconds: how long the hub asks the client to wait, or None.
    generation: the answer that stands in the way of the request (`chat_busy`), or None.
    expected: the number of the part that the hub needs next (`sequence_gap`), or None.
    value, by: the value of an input that counts, and who gave it (`input_answered`), or None.
    """

    def __init__(
        self,
        detail: str,
        *,
        status: int = 0,
        code: str | None = None,
        path: str | None = None,
        retry_after_seconds: float | None = None,
        generation: str | None = None,
        expected: int | None = None,
        value: Any = None,
        by: str | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.status = status
        self.code = code
        self.path = path
        self.retry_after_seconds = retry_after_seconds
        self.generation = generation
        self.expected = expected
        self.value = value
        self.by = by


class HubUnreachable(HubClientError):
    """There was no response. The hub may have received the request all the same."""


class NotAHub(HubUnreachable):
    """Another server answered: a wrong URL, or for a moment a captive portal or a login page."""


class HubUnavailable(HubClientError):
    """502, 503 or 504. The hub may have carried out the request all the same."""


class BadRequest(HubClientError):
    """The request is wrong. Sending it again gives the same error."""


class Unauthorized(HubClientError):
    """401: the token or API key is missing, invalid or expired."""


class Forbidden(HubClientError):
    """403: the token or API key does not allow the request."""


class NotFound(HubClientError):
    """404: the resource does not exist, or the hub no longer keeps it."""


class TooManyRequests(HubClientError):
    """429: the hub did nothing. The same request may succeed later."""


class StreamEnded(HubClientError):
    """The hub sent a `hub.bye` that asks the client not to reconnect.

    reason: `expired`, `disconnected` or `replaced`.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(f"the hub ended the stream: {reason}")
        self.reason = reason


class StreamReset(HubClientError):
    """The hub sent a `hub.reset`: events of a channel are lost.

    Fetch your state again and continue the iteration: the stream continues from now.

    reason: `trimmed` (the log no longer holds the events) or `epoch` (the log was recreated).
    cursor: the position at which a new stream would continue.
    """

    def __init__(self, channel: str, reason: str, cursor: str) -> None:
        super().__init__(f"events of {channel} are lost ({reason}): fetch your state again")
        self.channel = channel
        self.reason = reason
        self.cursor = cursor


class GenerationStopped(HubClientError):
    """Somebody has stopped the answer that this producer writes. Stop the work.

    by: the user who stopped it, or None.
    """

    def __init__(self, by: str | None) -> None:
        super().__init__(
            f"the answer was stopped by {by}" if by else "the answer was stopped", by=by
        )


class LeaseLost(HubClientError):
    """The lease of this producer is void. Another attempt has begun, or the answer has ended."""


class InputTimeout(HubClientError):
    """Nobody has answered an input of this producer in time."""


class AnswerFailed(HubClientError):
    """An answer ended with `generation.failed`.

    code: what failed; docs/reference/errors.md describes the codes.
    retryable: whether asking again may help.
    text: the text that arrived before the failure.
    """

    def __init__(self, code: str, message: str, *, retryable: bool, text: str) -> None:
        super().__init__(f"the answer failed: {message} ({code})", code=code)
        self.message = message
        self.retryable = retryable
        self.text = text


class AnswerRewritten(HubClientError):
    """The text of an answer that was shown so far is void.

    Either the upstream rewrote the answer, or its worker was lost and another worker begins again.
    Continue the iteration: it yields the text from the beginning.
    """

    def __init__(self, generation: str) -> None:
        super().__init__(
            f"the answer {generation} was rewritten: discard the text that was shown so far"
        )


_ERROR_BY_STATUS: Mapping[int, type[HubClientError]] = {
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    429: TooManyRequests,
    502: HubUnavailable,
    503: HubUnavailable,
    504: HubUnavailable,
}


class _Problem(msgspec.Struct):
    """The fields of a problem document (RFC 9457) that the client reads."""

    detail: str
    code: str | None = None
    path: str | None = None
    generation: str | None = None
    expected: int | None = None
    value: Any = None
    by: str | None = None


def error_from_response(
    url: str, status: int, reason: str, retry_after: str | None, body: bytes
) -> HubClientError:
    """Return the error for a refused request.

    url: without a query string, which may hold a token. reason: the phrase of the status line.
    Both are used when the body is not a problem document. retry_after: the `Retry-After` header.
    """
    try:
        problem = msgspec.json.decode(body, type=_Problem)
    except msgspec.DecodeError:
        problem = _Problem(f"{url}: {status} {reason}")
    return error_from_status(
        status,
        problem.detail,
        code=problem.code,
        path=problem.path,
        retry_after_seconds=_parse_seconds(retry_after),
        generation=problem.generation,
        expected=problem.expected,
        value=problem.value,
        by=problem.by,
    )


def error_from_status(
    status: int,
    detail: str,
    *,
    code: str | None = None,
    path: str | None = None,
    retry_after_seconds: float | None = None,
    generation: str | None = None,
    expected: int | None = None,
    value: Any = None,
    by: str | None = None,
) -> HubClientError:
    """Return the error for an HTTP status."""
    default = BadRequest if 400 <= status < 500 else HubClientError
    error_type = _ERROR_BY_STATUS.get(status, default)
    return error_type(
        detail,
        status=status,
        code=code,
        path=path,
        retry_after_seconds=retry_after_seconds,
        generation=generation,
        expected=expected,
        value=value,
        by=by,
    )


def unreachable_error(url: str, reason: str, error: BaseException) -> HubUnreachable:
    """Return the error for a hub that cannot be reached. error: what the connection raised."""
    advice = ""
    if isinstance(error, ssl.SSLCertVerificationError) and (
        error.verify_code in _UNKNOWN_ISSUER_CODES
    ):
        advice = ". For a certificate of your own CA, set the variable SSL_CERT_FILE to the CA"
    return HubUnreachable(f"cannot reach the hub at {url}: {reason}{advice}")


def _parse_seconds(text: str | None) -> float | None:
    """Parse a `Retry-After` in seconds. The hub sends no other form."""
    return float(text) if text is not None and text.isascii() and text.isdigit() else None
