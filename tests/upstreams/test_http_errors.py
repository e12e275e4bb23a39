"""What an upstream's failed response becomes: retryable or not, and what it keeps of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.errors import UpstreamError
from hub.upstreams.reading.error_reports import is_retryable
from tests.upstreams.kit import collect_failure, send_chunks


@given(st.integers(500, 599).filter(lambda status: status not in (501, 505)))
def test_server_errors_are_retryable(status: int) -> None:
    """529 (overloaded), 520 to 524 (Cloudflare) and every other server error is like 503."""
    assert is_retryable(status)


@given(st.integers(300, 499).filter(lambda status: status not in (408, 429)))
def test_other_statuses_are_not_retryable(status: int) -> None:
    """A repetition does not change what the client did wrong; 501 and 505 do not pass either."""
    assert not is_retryable(status)
    assert not is_retryable(501)


@pytest.mark.parametrize("status", [408, 429, 500, 503, 520, 521, 522, 523, 524, 529, 530, 598])
async def test_retryable_status_over_http(status: int) -> None:
    """The status and the words of the upstream are in the error."""
    body = b'{"error":{"message":"busy"}}'
    head = f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    error: UpstreamError = await collect_failure(send_chunks(head + body))
    assert (error.code, error.status, error.retryable) == ("upstream_status", status, True)
    assert error.message == f"the upstream answered {status}: busy"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ("Retry-After: 7\r\n", 7.0),
        ("Retry-After: 1\r\nretry-after-ms: 250\r\n", 0.25),
        ("Retry-After-Ms: soon\r\nRetry-After: 3\r\n", 3.0),
        ("", None),
    ],
)
async def test_time_to_wait(headers: str, seconds: float | None) -> None:
    """The milliseconds of Azure and OpenAI are more exact than the seconds."""
    head = f"HTTP/1.1 429 X\r\n{headers}Content-Length: 0\r\n\r\n".encode()
    error = await collect_failure(send_chunks(head))
    assert error.retry_after_seconds == seconds


async def test_status_error_keeps_the_upstreams_code_and_field() -> None:
    """They reach the event `generation.failed` and the caller."""
    body = b'{"error":{"message":"m","code":"context_length_exceeded","param":"messages"}}'
    head = f"HTTP/1.1 400 X\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    error: UpstreamError = await collect_failure(send_chunks(head + body))
    assert (error.reported_code, error.param) == ("context_length_exceeded", "messages")
