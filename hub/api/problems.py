"""Errors as a status, a code, a retry delay and a problem document (RFC 9457), the same for every
listener.

hub/http/errors.py turns these into HTTP responses, hub/grpc/statuses.py into gRPC statuses.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, Meta, UnsetType

from hub.error_codes import ERROR_CODES, INTERNAL_ERROR, code_for_status
from hub.errors import (
    BrokerUnavailable,
    CallerError,
    Conflict,
    DependencyError,
    GenerationStillRunning,
    HubError,
    TooManyRequests,
)

_RETRY_AFTER_SECONDS: Final = 1
_EXAMPLE: Final = ERROR_CODES["token_expired"]


class Problem(msgspec.Struct, frozen=True):
    """An error as RFC 9457 describes it. `code` is stable, and `type` is the address of its
    description. `detail` is one sentence that says what is wrong. `path` names the invalid field,
    if there is one, `generation` the answer that stands in the way of the request, `expected` the
    number of the next part of an external producer, and `value` and `by` the value of an input that
    counts, and the user who has given it.
    """

    type: Annotated[str, Meta(description="The description of the code", examples=[_EXAMPLE.uri])]
    title: Annotated[str, Meta(description="The phrase of the status")]
    status: int
    detail: str
    code: Annotated[
        str,
        Meta(
            description="The kind of error. docs/reference/errors.md describes every code. A newer "
            "hub can have more of them.",
            examples=[_EXAMPLE.name],
            extra_json_schema={"enum": list(ERROR_CODES)},
        ),
    ]
    path: str | UnsetType = UNSET
    generation: str | UnsetType = UNSET
    expected: int | UnsetType = UNSET
    value: Any = UNSET
    by: str | UnsetType = UNSET


class ErrorDescription(msgspec.Struct, frozen=True):
    """What a client learns about an error.

    status: the HTTP status. code: the name of an ErrorCode. path: the invalid field.
    retry_after_seconds: when the same request may succeed; None if the client must not simply
    repeat it. generation: as in Problem. extra: the fields that follow it there.
    """

    status: int
    code: str
    detail: str
    path: str | None = None
    retry_after_seconds: int | None = None
    generation: str | None = None
    extra: Mapping[str, Any] = {}


def describe_error(error: HubError) -> ErrorDescription:
    """Return what a client learns about a CallerError, or a DependencyError of the node.

    The message of BrokerUnavailable names hosts, so clients get a constant sentence instead.
    """
    if isinstance(error, CallerError):
        retry = error.retry_after_seconds if isinstance(error, TooManyRequests) else None
        generation = error.generation if isinstance(error, Conflict) else None
        return ErrorDescription(
            error.status, error.code, error.detail, error.path, retry, generation, error.extra
        )
    if isinstance(error, BrokerUnavailable):
        return ErrorDescription(503, error.code, error.public_detail, None, _RETRY_AFTER_SECONDS)
    code = error.code if isinstance(error, DependencyError) else INTERNAL_ERROR.name
    retry = None if isinstance(error, GenerationStillRunning) else _RETRY_AFTER_SECONDS
    return ErrorDescription(503, code, str(error), None, retry)


def problem_document(
    status: int,
    detail: str,
    path: str | None = None,
    code: str | None = None,
    generation: str | None = None,
    *,
    extra: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return a Problem as plain values.

    path: the invalid field. code: the name of an ErrorCode; by default the one of the status.
    generation: as in Problem. extra: the fields that follow it there.
    """
    known = ERROR_CODES[code] if code is not None else code_for_status(status)
    title = HTTPStatus(status).phrase
    document = Problem(
        known.uri,
        title,
        status,
        detail,
        known.name,
        path or UNSET,
        generation or UNSET,
        **(extra or {}),
    )
    plain: dict[str, Any] = msgspec.to_builtins(document)
    return plain


def problem_from_error(error: HubError) -> dict[str, Any]:
    """Return the problem document of an error."""
    description = describe_error(error)
    return problem_document(
        description.status,
        description.detail,
        description.path,
        description.code,
        description.generation,
        extra=description.extra,
    )
