"""Errors as a status, a retry delay and a problem document (RFC 9457), the same for every listener.

hub/http/errors.py turns these into HTTP responses, hub/grpc/statuses.py into gRPC statuses.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

import msgspec
from msgspec import UNSET, UnsetType

from hub.errors import (
    BrokerUnavailable,
    CallerError,
    GenerationStillRunning,
    HubError,
    TooManyRequests,
)

BROKER_UNAVAILABLE: Final = "the broker is unavailable; try again"
_RETRY_AFTER_SECONDS: Final = 1


class Problem(msgspec.Struct, frozen=True):
    """An error as RFC 9457 describes it. `detail` is one sentence that says what is wrong. `path`
    names the invalid field, if there is one.
    """

    type: str
    title: str
    status: int
    detail: str
    path: str | UnsetType = UNSET


class ErrorDescription(msgspec.Struct, frozen=True):
    """What a client learns about an error.

    status: the HTTP status. path: the invalid field. retry_after_seconds: when the same request
    may succeed; None if the client must not simply repeat it.
    """

    status: int
    detail: str
    path: str | None = None
    retry_after_seconds: int | None = None


def describe_error(error: HubError) -> ErrorDescription:
    """Return what a client learns about a CallerError or DependencyError.

    The message of BrokerUnavailable names hosts, so clients get a constant sentence instead.
    """
    if isinstance(error, CallerError):
        retry = error.retry_after_seconds if isinstance(error, TooManyRequests) else None
        return ErrorDescription(error.status, error.detail, error.path, retry)
    if isinstance(error, BrokerUnavailable):
        return ErrorDescription(503, BROKER_UNAVAILABLE, None, _RETRY_AFTER_SECONDS)
    retry = None if isinstance(error, GenerationStillRunning) else _RETRY_AFTER_SECONDS
    return ErrorDescription(503, str(error), None, retry)


def problem_document(status: int, detail: str, path: str | None = None) -> dict[str, Any]:
    """Return a Problem as plain values. path: the invalid field."""
    title = HTTPStatus(status).phrase
    document = Problem("about:blank", title, status, detail, path or UNSET)
    plain: dict[str, Any] = msgspec.to_builtins(document)
    return plain


def problem_from_error(error: HubError) -> dict[str, Any]:
    """Return the problem document of an error."""
    description = describe_error(error)
    return problem_document(description.status, description.detail, description.path)
