"""What the client raises.

- HubClientError
  - HubUnreachable: nobody answered, or the answer broke off
  - HubUnavailable (502, 503, 504): the hub, or its broker, is away for now
  - TooMany (429): a limit is reached; `retry_after_seconds` says when to come back
  - Unauthorized (401), Forbidden (403), NotFound (404)
  - BadRequest (all other 4xx): the call is wrong; `path` names the field
  - StreamEnded: the hub said goodbye for good
  - StreamReset: events are lost; fetch your state anew
  - AnswerFailed: an answer ended with `generation.failed`
  - AnswerRewritten: the text shown so far is void
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec


class HubClientError(Exception):
    """The hub refused, or cannot be reached.

    detail: one sentence, the hub's own where it said one. status: the HTTP status, 0 when there was
    no answer. path: the field that is wrong. retry_after_seconds: how long the hub asks to wait.
    """

    def __init__(
        self,
        detail: str,
        *,
        status: int = 0,
        path: str | None = None,
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.status = status
        self.path = path
        self.retry_after_seconds = retry_after_seconds


class HubUnreachable(HubClientError):
    """No answer; the request may have arrived all the same."""


class HubUnavailable(HubClientError):
    """502, 503, 504: what was asked may still have happened."""


class BadRequest(HubClientError):
    """The call is wrong, and will be the next time."""


class Unauthorized(HubClientError):
    """401: no token or key, or one that is not good (any more)."""


class Forbidden(HubClientError):
    """403: the token or key does not allow this."""


class NotFound(HubClientError):
    """404: it is not there, or no longer kept."""


class TooManyRequests(HubClientError):
    """429: nothing was done; the same call may pass later."""


class StreamEnded(HubClientError):
    """`hub.bye` that asks not to return. reason: `expired`, `disconnected`, `replaced`."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the hub ended the stream: {reason}")
        self.reason = reason


class StreamReset(HubClientError):
    """`hub.reset`: events of the channel are lost (`trimmed`: the log no longer holds them;
    `epoch`: it began anew). Fetch your state, and iterate on: the stream continues from now.

    cursor: where a new stream would continue.
    """

    def __init__(self, channel: str, reason: str, cursor: str) -> None:
        super().__init__(f"events of {channel} are lost ({reason}): fetch your state again")
        self.channel = channel
        self.reason = reason
        self.cursor = cursor


class AnswerFailed(HubClientError):
    """`generation.failed`. code: what failed (docs/http.md). retryable: asking again may help.
    text: what there was until then.
    """

    def __init__(self, code: str, message: str, *, retryable: bool, text: str) -> None:
        super().__init__(f"the answer failed: {message} ({code})")
        self.code = code
        self.message = message
        self.retryable = retryable
        self.text = text


class AnswerRewritten(HubClientError):
    """What was shown of the answer is void: the upstream rewrote it, or a worker was lost and
    another begins anew. Iterate again: the text comes from its beginning.
    """

    def __init__(self, generation: str) -> None:
        super().__init__(f"the answer {generation} was rewritten: what was shown of it is void")


_BY_STATUS: Mapping[int, type[HubClientError]] = {
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    429: TooManyRequests,
    502: HubUnavailable,
    503: HubUnavailable,
    504: HubUnavailable,
}


class _Problem(msgspec.Struct):
    """What is read of a problem document (RFC 9457)."""

    detail: str
    path: str | None = None


def error_from_response(
    status: int, reason: str, retry_after: str | None, body: bytes
) -> HubClientError:
    """A refused request as an error, with the sentence of its problem document."""
    try:
        problem = msgspec.json.decode(body, type=_Problem)
    except msgspec.DecodeError:
        problem = _Problem(f"{status} {reason}")
    return error_from_status(status, problem.detail, problem.path, _seconds(retry_after))


def error_from_status(
    status: int, detail: str, path: str | None = None, retry_after_seconds: float | None = None
) -> HubClientError:
    """The error for a status."""
    known = _BY_STATUS.get(status)
    kind = known or (BadRequest if 400 <= status < 500 else HubClientError)
    more: dict[str, Any] = {"path": path, "retry_after_seconds": retry_after_seconds}
    return kind(detail, status=status, **more)


def _seconds(text: str | None) -> float | None:
    """`Retry-After` in its form of seconds; the hub sends no other."""
    return float(text) if text is not None and text.isascii() and text.isdigit() else None
