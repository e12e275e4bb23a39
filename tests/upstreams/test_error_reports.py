"""What an upstream says about its error is found in many forms, and shown without secrets."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.upstreams.reading.error_reports import (
    extract_error_text,
    quote_start,
    read_error_report,
    secret_values,
)


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
