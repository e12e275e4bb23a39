"""Errors in the form of Anthropic's API, on the routes under /v1/messages.

Source: docs.claude.com, "Errors". Each type has its own status, so the statuses of the hub that
Anthropic's API does not have become those of the types: 502 becomes 500, and 503 becomes 529. The
`code` beside the type is the hub's own, as in all of its errors; clients ignore the field.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from aiohttp import web
from msgspec import UNSET, UnsetType

from hub.compat.answer_state import AnswerState
from hub.compat.failures import Failure, describe_failure
from hub.http.errors import NO_RETRY_HEADERS, ErrorFormat
from hub.http.json_body import json_response

MESSAGES_PATH: Final = "/v1/messages"
_STATUSES: Final = {502: 500, 503: 529}
_TYPES: Final = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
THREAD_FIELD: Final = "thread"
_NO_THREADS: Final = {"error_code": "thread_unsupported_request", "unsupported": ["thread"]}
"""Upon this, the SDKs repeat the request with the whole conversation."""
_OVERLOADED: Final = frozenset({503, 529})
"""The statuses with which an upstream says that it is overloaded."""


class AnthropicErrorBody(msgspec.Struct, frozen=True):
    """`type` is Anthropic's kind of the error, and `code` the hub's. `details` is Anthropic's
    description of some errors, by which its SDKs recognise them.
    """

    type: str
    message: str
    code: str
    details: dict[str, Any] | UnsetType = UNSET


class AnthropicError(msgspec.Struct, frozen=True):
    """An error in Anthropic's form, on all routes under /v1/messages."""

    error: AnthropicErrorBody
    request_id: str
    type: str = "error"


def anthropic_status(status: int) -> int:
    """Return the status that Anthropic's API has for a status of the hub."""
    return _STATUSES.get(status, status)


def error_document(
    status: int, message: str, *, code: str, generation: str | None = None
) -> dict[str, Any]:
    """Return an error in Anthropic's form. generation: the answer that failed, if there is one."""
    known = anthropic_status(status)
    kind = _TYPES.get(known, "api_error" if known >= 500 else "invalid_request_error")
    return {
        "type": "error",
        "error": {"type": kind, "message": message, "code": code},
        "request_id": request_id(generation),
    }


def request_id(generation: str | None = None) -> str:
    """Return the id of a request; that of a request which started an answer names the answer."""
    return f"req_{generation or secrets.token_hex(12)}"


def request_id_headers(id_: str) -> dict[str, str]:
    """Return the header in which Anthropic's SDKs find the id of a request."""
    return {"request-id": id_}


def overloaded(failure: Failure, answer: AnswerState) -> Failure:
    """Return the failure as an overload if the upstream said that it is overloaded."""
    is_overloaded = answer.status == "failed" and answer.end.upstream_status in _OVERLOADED
    return failure._replace(status=529) if is_overloaded else failure


def failure_document(failure: Failure, generation: str) -> dict[str, Any]:
    """Return the error of an answer that failed or was stopped."""
    return error_document(failure.status, failure.message, code=failure.code, generation=generation)


def failure_response(answer: AnswerState) -> web.Response:
    """Return the error for a client that waited for an answer that failed or was stopped."""
    failure = overloaded(describe_failure(answer), answer)
    return json_response(
        failure_document(failure, answer.generation),
        status=anthropic_status(failure.status),
        headers={**NO_RETRY_HEADERS, **request_id_headers(request_id(answer.generation))},
    )


def _build(status: int, detail: str, path: str | None, code: str) -> Any:
    document = error_document(status, detail, code=code)
    if path == THREAD_FIELD:
        document["error"]["details"] = _NO_THREADS
    return document


def _headers(document: Any) -> Mapping[str, str]:
    return request_id_headers(document["request_id"])


ANTHROPIC_ERRORS: Final = ErrorFormat(
    prefix=MESSAGES_PATH,
    content_type="application/json",
    model=AnthropicError,
    build=_build,
    status=anthropic_status,
    headers=_headers,
)
