"""What an upstream's failed response or connection becomes: an `UpstreamError`, or its words."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Mapping
from email.utils import parsedate_to_datetime
from typing import Final

import aiohttp

from hub.errors import UpstreamError
from hub.upstreams.reading.error_reports import (
    extract_error_text,
    is_retryable,
    quote_start,
    read_error_report,
)

_REJECTING_STATUSES: Final = frozenset({400, 413, 422})  # another endpoint would answer the same


def build_status_error(
    response: aiohttp.ClientResponse, body: bytes, secrets: Collection[str]
) -> UpstreamError:
    """Return the error for a response that is not an answer; body: its first bytes."""
    text = extract_error_text(body, secrets)
    report = read_error_report(body, secrets)
    if not is_success(response.status):
        return UpstreamError(
            "upstream_status",
            f"the upstream answered {response.status}{f': {text}' if text else ''}",
            retryable=is_retryable(response.status),
            rejects_request=response.status in _REJECTING_STATUSES,
            retry_after_seconds=find_retry_after(response.headers),
            status=response.status,
            reported_code=report.code,
            param=report.param,
        )
    sent = f"with {response.content_type} " if "Content-Type" in response.headers else ""
    text = text or quote_start(body, secrets)
    return UpstreamError(
        "upstream_protocol",
        f"the upstream answered {sent}instead of sending a stream{f': {text}' if text else ''}",
        retryable=False,
    )


def is_success(status: int) -> bool:
    """Return whether a response may be an answer. NestJS answers each POST with 201."""
    return 200 <= status < 300


def find_retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that an upstream asks to wait; Azure and OpenAI send milliseconds, too."""
    milliseconds = headers.get("retry-after-ms", "")
    if milliseconds.isascii() and milliseconds.isdigit():
        return float(milliseconds) / 1000
    return parse_retry_after(headers.get("Retry-After"))


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
