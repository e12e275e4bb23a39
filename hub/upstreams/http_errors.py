"""What an upstream's failed response becomes: an `UpstreamError` without secrets."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Collection, Mapping
from email.utils import parsedate_to_datetime
from typing import Any, Final

import aiohttp
import msgspec

from hub.errors import UpstreamError

_MAX_ERROR_CHARS: Final = 300
_RETRYABLE_STATUSES: Final = frozenset({408, 429, 500, 502, 503, 504})
_REJECTING_STATUSES: Final = frozenset({400, 413, 422})  # another endpoint would answer the same
_MIN_SECRET_CHARS: Final = 8
_OPENAI_KEY: Final = re.compile(r"\bsk-[\w.*-]{6,}")  # also when it is half masked


def build_status_error(response: aiohttp.ClientResponse, text: str) -> UpstreamError:
    """Return the error for a response that is not a stream; text: what its body says."""
    detail = f": {text}" if text else ""
    if response.status != 200:
        return UpstreamError(
            "upstream_status",
            f"the upstream answered {response.status}{detail}",
            retryable=response.status in _RETRYABLE_STATUSES,
            rejects_request=response.status in _REJECTING_STATUSES,
            retry_after_seconds=parse_retry_after(response.headers.get("Retry-After")),
            status=response.status,
        )
    return UpstreamError(
        "upstream_protocol",
        f"the upstream answered with {response.content_type} instead of a stream{detail}",
        retryable=False,
    )


def parse_retry_after(value: str | None) -> float | None:
    """Return the seconds of a Retry-After header (RFC 9110, section 10.2.3), None if invalid."""
    if value is None:
        return None
    if value.isascii() and value.strip().isdigit():
        return float(value)
    try:
        due = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, due.timestamp() - time.time())


def describe_connection_error(error: aiohttp.ClientConnectorError) -> str:
    """Return the reason in words; the library's own text names addresses inside the network."""
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "its host name could not be resolved"
    if isinstance(error, aiohttp.ClientSSLError):
        return "the TLS handshake failed"
    return os.strerror(error.os_error.errno) if error.os_error.errno else "the connection failed"


def secret_values(headers: Mapping[str, str]) -> Collection[str]:
    """Return the words of header values that may be secrets, longest first.

    An upstream may echo them in an error, and no user may see them.
    """
    words = " ".join(headers.values()).split()
    return sorted((word for word in words if len(word) >= _MIN_SECRET_CHARS), key=len, reverse=True)


def extract_error_text(body: bytes | str, secrets: Collection[str] = ()) -> str:
    """Return the message of an error body: one line of at most 300 characters, without secrets.

    Known forms are OpenAI's `{"error": {"message": …}}`, `{"error": "…"}`, `{"detail": …}`,
    `{"message": …}` and `{"msg": …}`. Text that is not JSON is returned as it is, except HTML.
    Other JSON gives an empty string.
    """
    try:
        value: Any = msgspec.json.decode(body)
    except RecursionError:
        return ""
    except msgspec.DecodeError:
        value = body.decode("utf-8", "replace") if isinstance(body, bytes) else body
    for name in ("error", "message", "detail", "msg"):
        if isinstance(value, dict) and name in value:
            value = value[name]
    if not isinstance(value, str):
        return ""
    text = "".join(char for char in " ".join(value.split()) if char.isprintable())
    for secret in secrets:
        text = text.replace(secret, "***")
    text = _OPENAI_KEY.sub("***", text)  # before the text is cut: half a key must not remain
    return "" if text.startswith("<") else text[:_MAX_ERROR_CHARS]
