"""The codes of errors over HTTP: one for each kind of error, on both listeners and below /v1."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import jwt
import pytest

from hub.api.api_keys import ApiKey, ApiKeys, hash_key
from hub.api.authentication import JwtAuthenticator
from hub.api.origins import AllowedOrigins
from hub.api.tokens import FixedKeys
from hub.api.verifying_keys import secret_key
from hub.error_codes import ERROR_CODES
from tests.defaults import token_reader
from tests.http.kit import MAX_BODY, ORIGINS, Hub, running_hub

SECRET = "s" * 64


def bearer(value: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {value}"}


def user_token(secret: str = SECRET, **claims: Any) -> dict[str, str]:
    given = {"sub": "alice", "exp": int(time.time()) + 3600, "topics": ["news"], **claims}
    return bearer(jwt.encode(given, secret, algorithm="HS256"))


USER = user_token()
KEY = bearer("publisher")
JSON = {"Content-Type": "application/json"}


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    """A node that requires tokens and API keys."""
    reader = token_reader([FixedKeys([secret_key(SECRET)])])
    keys = ApiKeys([ApiKey("shop", hash_key("publisher"), frozenset({"publish"}))])
    async with running_hub(JwtAuthenticator(reader, AllowedOrigins(ORIGINS)), keys=keys) as hub:
        yield hub


def to_alice(**fields: Any) -> dict[str, Any]:
    return {"to": {"user": "alice"}, "data": 1, **fields}


PUBLIC: list[tuple[str, str, dict[str, Any], str]] = [
    ("GET", "/nowhere", {}, "route_not_found"),
    ("PUT", "/generations", {}, "method_not_allowed"),
    ("GET", "/sse/connect", {}, "token_required"),
    ("GET", "/sse/connect", {"headers": bearer("no token")}, "token_invalid"),
    ("GET", "/sse/connect", {"headers": user_token("x" * 64)}, "token_invalid"),
    ("GET", "/sse/connect", {"headers": user_token(exp=1)}, "token_expired"),
    ("GET", "/sse/connect", {"headers": user_token(topics="news")}, "token_claims_invalid"),
    ("GET", "/sse/connect?ticket=none", {}, "ticket_invalid"),
    ("GET", "/sse/connect/bob", {"headers": USER}, "user_mismatch"),
    ("GET", "/sse/connect?topics=other", {"headers": USER}, "topic_not_allowed"),
    ("GET", "/sse/connect?topics=a,b,c,d", {"headers": USER}, "too_many_topics"),
    ("GET", "/sse/connect?cursor=!", {"headers": USER}, "invalid_cursor"),
    ("GET", "/ws/connect", {"headers": USER}, "websocket_required"),
    ("GET", "/ws/connect", {"headers": {"Expect": "200-ok"}}, "expectation_failed"),
    ("GET", "/ws/connect", {"headers": {"X-A": "x" * 9000}}, "header_too_large"),
    ("POST", "/tickets", {"headers": {"If-Match": '"1"'}}, "precondition_failed"),
    ("GET", "/sse/connect", {"headers": {"Range": "bytes=9-"}}, "range_not_satisfiable"),
    (
        "POST",
        "/generations",
        {"headers": {"Content-Encoding": "br"}, "data": b"x"},
        "unsupported_content_encoding",
    ),
    ("GET", "/sse/connect?access_token=" + "x" * 9000, {}, "url_too_long"),
    ("GET", "/poll/connect?wait=x", {"headers": USER}, "invalid_field"),
    ("GET", "/generations/g1", {"headers": USER}, "generation_not_found"),
    ("POST", "/generations", {"headers": USER, "data": b"x"}, "unsupported_media_type"),
    ("POST", "/generations", {"headers": USER | JSON, "data": b"{"}, "invalid_json"),
    ("POST", "/generations", {"headers": USER, "json": {"promt": "x"}}, "unknown_field"),
    ("POST", "/generations", {"headers": USER, "json": {"prompt": 1}}, "invalid_field"),
    (
        "POST",
        "/generations",
        {"headers": USER, "json": {"prompt": "x", "upstream": "none"}},
        "unknown_upstream",
    ),
    (
        "POST",
        "/generations",
        {"headers": USER, "json": {"prompt": "x", "upstream": "open"}},
        "model_required",
    ),
    (
        "POST",
        "/generations",
        {"headers": USER, "json": {"prompt": "x", "on_disconnect": "stop"}},
        "stream_required",
    ),
    (
        "POST",
        "/generations",
        {"headers": USER, "json": {"prompt": "x" * MAX_BODY}},
        "body_too_large",
    ),
]
INTERNAL: list[tuple[str, str, dict[str, Any], str]] = [
    ("POST", "/publish", {"json": to_alice()}, "api_key_required"),
    ("POST", "/publish", {"json": to_alice(), "headers": bearer("wrong")}, "api_key_invalid"),
    ("POST", "/publish", {"json": to_alice(), "headers": USER}, "api_key_invalid"),
    ("GET", "/nodes", {"headers": KEY}, "insufficient_scope"),
    ("POST", "/publish", {"json": {"to": {"user": "a\n"}}, "headers": KEY}, "invalid_user_id"),
    ("POST", "/publish", {"json": {"to": {"topic": "a\n"}}, "headers": KEY}, "invalid_topic"),
    ("POST", "/publish", {"json": to_alice(event="hub.x"), "headers": KEY}, "invalid_event_name"),
    ("POST", "/publish", {"json": to_alice(id="\n"), "headers": KEY}, "invalid_idempotency_key"),
    (
        "POST",
        "/publish",
        {"json": to_alice(data="x" * (MAX_BODY // 2)), "headers": KEY},
        "data_too_large",
    ),
]
V1: list[tuple[str, str, dict[str, Any], str]] = [
    ("GET", "/v1/models", {}, "token_required"),
    ("GET", "/v1/models/none", {"headers": USER}, "model_not_found"),
    ("GET", "/v1/responses/none", {"headers": USER}, "response_not_found"),
    (
        "POST",
        "/v1/chat/completions",
        {
            "headers": USER,
            "json": {"n": 2, "model": "m1", "messages": [{"role": "user", "content": "x"}]},
        },
        "unsupported_parameter",
    ),
    ("POST", "/v1/chat/completions", {"headers": USER | JSON, "data": b"{"}, "invalid_json"),
    ("GET", "/v1/nothing", {"headers": USER}, "route_not_found"),
]


@pytest.mark.parametrize(
    ("listener", "request_"),
    [("public", each) for each in PUBLIC] + [("internal", each) for each in INTERNAL],
    ids=lambda each: each if isinstance(each, str) else f"{each[1][:40]}-{each[3]}",
)
async def test_problem_has_a_code(
    hub: Hub, listener: str, request_: tuple[str, str, dict[str, Any], str]
) -> None:
    """A problem document has the code of the error, and the address of its description."""
    method, path, more, code = request_
    async with hub.ask(method, path, internal=listener == "internal", **more) as response:
        assert response.content_type == "application/problem+json"
        problem = await response.json()
    assert (problem["code"], problem["status"]) == (code, response.status), problem
    assert response.status == ERROR_CODES[code].status
    assert problem["type"] == f"/docs/reference/errors.html#{code}"


@pytest.mark.parametrize("request_", V1, ids=lambda each: f"{each[1][:40]}-{each[3]}")
async def test_openai_error_has_a_code(
    hub: Hub, request_: tuple[str, str, dict[str, Any], str]
) -> None:
    """An error below /v1 has the same code in OpenAI's field for it."""
    method, path, more, code = request_
    async with hub.ask(method, path, **more) as response:
        error = (await response.json())["error"]
    assert error["code"] == code, error
    assert response.status == ERROR_CODES[code].status


async def test_wrong_key_is_told_from_a_missing_one(hub: Hub) -> None:
    """No key, a wrong key and a user's token get different sentences, none of which quotes it."""
    details = []
    for headers in ({}, bearer("a-wrong-key"), USER):
        body = to_alice()
        async with hub.ask(
            "POST", "/publish", internal=True, json=body, headers=headers
        ) as response:
            assert response.status == 401
            details.append((await response.json())["detail"])
    assert len(set(details)) == 3
    assert "required" in details[0]
    assert "a-wrong-key" not in details[1]
    assert "user's token" in details[2]


async def test_item_of_a_batch_has_a_code(hub: Hub) -> None:
    """The result of an invalid item has the code, as the same publish would have."""
    body = [to_alice(), {"to": {"user": "\n"}}]
    async with hub.ask("POST", "/publish/batch", internal=True, json=body, headers=KEY) as response:
        results = await response.json()
    assert "published" in results[0]
    assert results[1]["code"] == "invalid_user_id"


async def test_unexpected_error_has_a_code(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault of the hub has the code internal_error, and reveals nothing."""

    async def broken(*args: Any) -> None:
        raise ZeroDivisionError("a secret")

    monkeypatch.setattr(hub.node.generations, "read", broken)
    async with hub.ask("GET", "/generations/g1", headers=USER) as response:
        problem = await response.json()
    assert (problem["status"], problem["code"]) == (500, "internal_error")
    assert "secret" not in str(problem)


async def test_broker_away_has_a_code(hub: Hub) -> None:
    """A broker that is unavailable has its own code, on a request and on the readiness probe."""
    hub.backend.is_unavailable = True
    for path in ("/publish", "/readyz"):
        method = "POST" if path == "/publish" else "GET"
        more: dict[str, Any] = {"json": to_alice(), "headers": KEY} if method == "POST" else {}
        async with hub.ask(method, path, internal=True, **more) as response:
            assert (await response.json())["code"] == "broker_unavailable"
