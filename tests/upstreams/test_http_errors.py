"""What an upstream's failed response becomes: retryable or not, in its words, without secrets."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.errors import UpstreamError
from hub.upstreams.http_errors import (
    extract_error_text,
    is_retryable,
    quote_start,
    read_error_report,
    secret_values,
)
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


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"error": {"message": "no key"}}, "no key"),
        ({"error": "no key"}, "no key"),
        ({"code": 401, "msg": "token expired"}, "token expired"),
        ({"status": 500, "error": "Internal Server Error", "message": "no key"}, "no key"),
        ({"status": 500, "error": "Internal Server Error", "path": "/x"}, "Internal Server Error"),
        ({"type": "about:blank", "title": "Bad Request", "detail": "no key"}, "no key"),
        ({"success": False, "errors": [{"code": 7003, "message": "no route"}]}, "no route"),
        ([{"error": {"code": 400, "message": "Unknown name"}}], "Unknown name"),
        ({"detail": [{"loc": ["body", "n"], "msg": "not permitted"}]}, "body.n: not permitted"),
        (
            {"object": "error", "message": {"detail": [{"loc": ["body", "n"], "msg": "no"}]}},
            "body.n: no",
        ),
        ({"error": "invalid_grant", "error_description": "expired"}, "expired"),
        ({"error_code": 110, "error_msg": "Access token invalid"}, "Access token invalid"),
        ({"error": {"message": ""}, "detail": "no key"}, "no key"),
        ({"error": {"code": 5}}, ""),
        ({"message": None, "detail": 7}, ""),
    ],
)
def test_error_bodies(body: object, text: str) -> None:
    """The words of an error are found in the forms that vendors and frameworks use."""
    assert extract_error_text(json.dumps(body)) == text


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ('{"error":{"message":"overloaded"}}', True),
        ('{"error":{"code":429,"message":"slow"}}', True),
        ('{"error":{"code":"503"}}', True),
        ('{"error":{"code":400,"message":"no such model"}}', False),
        ('{"code":401,"msg":"token expired"}', False),
        ('{"error":{"code":"context_length_exceeded"},"status":413}', False),
        ('{"code":-200,"msg":"failed"}', True),
        ('{"code":40100}', True),
        ('{"error":"broken"}', True),
        ("broken", True),
        ("[" * 9999, True),
        ("[]", True),
    ],
)
def test_errors_inside_a_stream(data: str, expected: bool) -> None:
    """An error with the status of a wrong request is not retried; one without a status may pass."""
    assert read_error_report(data).is_retryable is expected


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (
            '{"error":{"type":"invalid_request_error","code":"too_long","param":"input"}}',
            (400, "too_long", "input"),
        ),
        ('{"error":{"code":400,"type":"BadRequestError","param":null}}', (400, None, None)),
        ('{"error":{"code":"404","message":"no"}}', (404, None, None)),
        ('{"type":"error","error":{"type":"request_too_large"}}', (413, None, None)),
        ('{"error":{"type":["x"],"code":{"a":1},"param":7}}', (None, None, None)),
        ('{"error":{"code":"sk-abcdefgh12345"}}', (None, "***", None)),
        ('"broken"', (None, None, None)),
    ],
)
def test_what_an_error_reports(data: str, expected: tuple[object, ...]) -> None:
    """Status, code and field are found where OpenAI, Anthropic, vLLM and others write them."""
    assert read_error_report(data) == expected


async def test_status_error_keeps_the_upstreams_code_and_field() -> None:
    """They reach the event `generation.failed` and the caller."""
    body = b'{"error":{"message":"m","code":"context_length_exceeded","param":"messages"}}'
    head = f"HTTP/1.1 400 X\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    error: UpstreamError = await collect_failure(send_chunks(head + body))
    assert (error.reported_code, error.param) == ("context_length_exceeded", "messages")


@given(
    secret=st.text("abcdefXYZ019-_", min_size=8, max_size=24),
    before=st.text(max_size=120),
    after=st.text(max_size=20),
)
def test_no_secret_is_quoted(secret: str, before: str, after: str) -> None:
    """No part of a secret remains where a text is shortened in the middle of it."""
    secrets = secret_values({"X-Key": secret})
    masked = before.replace(secret, "***")
    for text in (
        quote_start(f"{masked} {secret} {after}", secrets),
        extract_error_text(f"{masked} {secret} {after}", secrets),
    ):
        assert secret not in text


def test_secrets_of_an_endpoint() -> None:
    """Header values, the password and the query of the URL, and secret fields of the body."""
    secrets = secret_values(
        {"Authorization": "Bearer header-secret"},
        "https://user:url-password@h/x?api-version=2024-10-21&sig=query%2Fsecret",
        {"app_key": "body-secret", "response_format": "json_object"},
    )
    echoed = (
        "header-secret url-password query/secret query%2Fsecret body-secret json_object 2024-10-21"
    )
    assert extract_error_text(echoed, secrets) == "*** *** *** *** *** json_object 2024-10-21"
