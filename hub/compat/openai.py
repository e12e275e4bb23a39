"""What the dialects of OpenAI share: errors, request fields that pass through, and token usage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from hub.core.usage import MAX_TOKENS, read_count
from hub.error_codes import UNSUPPORTED_PARAMETER
from hub.errors import BadRequest

_ERROR_TYPES: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}


def error_document(
    status: int, message: str, *, code: str, path: str | None = None
) -> dict[str, Any]:
    """Return an error in OpenAI's form. path: the invalid field, which becomes `param`."""
    kind = _ERROR_TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return {"error": {"message": message, "type": kind, "param": path, "code": code}}


def passthrough_params(body: dict[str, Any], known: frozenset[str]) -> dict[str, Any]:
    """Return the fields that the upstream gets unchanged: those not in `known` and not null."""
    return {name: value for name, value in body.items() if name not in known and value is not None}


def reject_unsupported(body: dict[str, Any], *names: str) -> None:
    """Raise BadRequest for a field that the hub would otherwise silently ignore."""
    for name in names:
        if body.get(name):
            raise BadRequest(
                f"the hub does not support {name}; remove it",
                code=UNSUPPORTED_PARAMETER,
                path=name,
            )


def usage_with_total(usage: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return an upstream's token usage with `total_tokens`, None if it reported none."""
    if not usage:
        return None
    prompt = read_count(usage.get("prompt_tokens")) or 0
    completion = read_count(usage.get("completion_tokens")) or 0
    total = read_count(usage.get("total_tokens")) or min(prompt + completion, MAX_TOKENS)
    return {
        **{name: value for name, value in usage.items() if value is not None},
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": total,
    }
