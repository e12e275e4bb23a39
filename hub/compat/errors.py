"""Errors of the routes under /v1, in the form that OpenAI's clients read.

The routes of Anthropic's API have their own form (hub/compat/anthropic/errors.py).
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from hub.compat.openai import error_document
from hub.http.errors import ErrorFormat

COMPAT_PREFIX: Final = "/v1/"


class OpenAIErrorBody(msgspec.Struct, frozen=True):
    """`param` is the name of the invalid field, if there is one. `code` is the kind of error."""

    message: str
    type: str
    param: str | None
    code: str


class OpenAIError(msgspec.Struct, frozen=True):
    """An error in OpenAI's form, on the routes under /v1."""

    error: OpenAIErrorBody


def _build(status: int, detail: str, path: str | None, code: str) -> Any:
    return error_document(status, detail, code=code, path=path)


COMPAT_ERRORS: Final = ErrorFormat(
    prefix=COMPAT_PREFIX, content_type="application/json", model=OpenAIError, build=_build
)
