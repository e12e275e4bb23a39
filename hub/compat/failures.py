"""Failed and stopped answers as OpenAI's clients read them: an HTTP status and an error document.

What the caller did wrong must not look like a fault of the server, because SDKs repeat a request
after a 5xx and raise another exception. So the status, the code and the field that an upstream
names in its refusal reach the client.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from aiohttp import web

from hub.compat.answer_encoder import STOPPED, STOPPED_CODE
from hub.compat.answer_state import AnswerState, GenerationEvent
from hub.compat.openai import error_document
from hub.error_codes import FAILURE_CODES
from hub.http.errors import NO_RETRY_HEADERS
from hub.http.json_body import json_response

_CALLER_STATUSES: Final = frozenset({400, 404, 413, 422, 429})
"""The statuses of an upstream that its caller can act on. 401 and 403 are the operator's."""


class Failure(NamedTuple):
    """Why there is no complete answer. param: the field of the request, if one is to blame."""

    status: int
    code: str
    message: str
    param: str | None = None

    def document(self) -> dict[str, Any]:
        """Return the error in OpenAI's form."""
        return error_document(self.status, self.message, code=self.code, path=self.param)


def describe_failure(answer: AnswerState) -> Failure:
    """Return the failure of an answer that has failed or was stopped."""
    end = answer.end
    if answer.status == "stopped":
        return Failure(409, STOPPED_CODE, STOPPED)
    if end.upstream_status in _CALLER_STATUSES:
        code = end.upstream_code or end.code
        return Failure(end.upstream_status, code, end.message, end.upstream_param)
    return Failure(_status(end), end.code, end.message)


def describe_stream_failure(answer: AnswerState, code: str, message: str) -> Failure:
    """Return the failure of a stream, which may end with an error although its answer does not.

    code, message: those of the error that an encoder must show.
    """
    return describe_failure(answer) if answer.status == "failed" else Failure(502, code, message)


def failure_response(answer: AnswerState) -> web.Response:
    """Return the error for a client that waited for an answer that failed or was stopped."""
    failure = describe_failure(answer)
    return json_response(failure.document(), status=failure.status, headers=NO_RETRY_HEADERS)


def has_failed_before_output(answer: AnswerState) -> bool:
    """Return whether an answer failed or was stopped before it began."""
    return answer.status in ("failed", "stopped") and not answer.has_output


def _status(end: GenerationEvent) -> int:
    return FAILURE_CODES[end.code].status if end.code in FAILURE_CODES else 502
