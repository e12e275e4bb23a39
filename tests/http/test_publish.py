"""POST /publish: valid and invalid requests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from hub.api.api_keys import ApiKey, ApiKeys, hash_key
from tests.http.kit import MAX_BODY, Hub, running_hub


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    """A node without API keys."""
    async with running_hub() as hub:
        yield hub


async def test_to_users_topic_and_all(hub: Hub) -> None:
    """Each channel gets the event and a cursor; a user named twice gets it once."""
    for to, channels in [
        ({"user": "a"}, ["user:a"]),
        ({"users": ["a", "b", "a"]}, ["user:a", "user:b"]),
        ({"topic": "news"}, ["topic:news"]),
        ({"all": True}, ["all"]),
    ]:
        status, answer = await hub.publish(to=to, data=1)
        assert status == 200
        assert [each["channel"] for each in answer["published"]] == channels
        assert all(each["cursor"] and not each["duplicate"] for each in answer["published"])


async def test_same_id_is_a_duplicate(hub: Hub) -> None:
    """A second publish with the same id returns the first cursor."""
    _, first = await hub.publish(to={"user": "a"}, data=1, id="k")
    _, again = await hub.publish(to={"user": "a"}, data=1, id="k")
    assert again["published"][0] == {**first["published"][0], "duplicate": True}


async def test_ephemeral_has_no_cursor(hub: Hub) -> None:
    """An ephemeral event is not stored, so it has no cursor."""
    _, answer = await hub.publish(to={"user": "a"}, data=1, ephemeral=True)
    assert answer["published"][0]["cursor"] is None


async def test_data_stays_as_it_was_written(hub: Hub) -> None:
    """Numbers keep their notation; white space is removed."""
    body = (
        b'{"to":{"user":"a"},"data":{"big": 12345678901234567890, "f": 1.10, "s": "\xe4\xbd\xa0"}}'
    )
    async with hub.stream("/sse/connect/a") as stream:
        await hub.call("POST", "/publish", internal=True, data=body, headers=JSON)
        event = await stream.next()
    assert event.data == '{"big":12345678901234567890,"f":1.10,"s":"你"}'


JSON = {"Content-Type": "application/json"}
GOOD = b'{"to":{"user":"a"},"data":%b}'


@pytest.mark.parametrize(
    ("body", "status", "path", "sentence"),
    [
        (b"{", 400, None, "the body is not JSON"),
        (b"", 400, None, "the body is not JSON"),
        (b"\xff\xfe", 400, None, "the body is not JSON"),
        (GOOD % b'"\xff"', 400, None, "the body is not JSON"),
        (GOOD % b'"\\ud800"', 400, None, "the body is not JSON"),
        (b"[]", 400, None, "expected `object`"),
        (b"{}", 400, None, "missing required field `to`"),
        (b'{"to":{}}', 400, "to", "exactly one of"),
        (b'{"to":{"user":"a","all":true}}', 400, "to", "exactly one of"),
        (b'{"to":{"user":"a b"}}', 400, "to.user", "a user id has"),
        (b'{"to":{"user":5}}', 400, "to.user", "to.user: expected `str"),
        (b'{"to":{"users":[]}}', 400, "to.users", "between 1 and 3 users"),
        (b'{"to":{"users":["a","b","c","d"]}}', 400, "to.users", "between 1 and 3 users"),
        (b'{"to":{"users":["a"," "]}}', 400, "to.users[1]", "a user id has"),
        (b'{"to":{"topic":""}}', 400, "to.topic", "a topic name has"),
        (b'{"to":{"user":"a"},"dta":1}', 400, "dta", "there is no field 'dta'"),
        (b'{"to":{"user":"a","usr":1}}', 400, "to.usr", "there is no field 'to.usr'"),
        (b'{"to":{"user":"a"},"event":""}', 400, "event", "an event name has"),
        (b'{"to":{"user":"a"},"event":"a\\nb"}', 400, "event", "not contain CR, LF or NUL"),
        (b'{"to":{"user":"a"},"event":"hub.bye"}', 400, "event", "are reserved"),
        (b'{"to":{"user":"a"},"event":"generation.done"}', 400, "event", "are reserved"),
        (b'{"to":{"topic":"a"},"event":"presence.left"}', 400, "event", "are reserved"),
        (b'{"to":{"user":"a"},"id":"a\\u0000"}', 400, "id", "not contain CR, LF or NUL"),
        (b'{"to":{"user":"a"},"ttl_seconds":0}', 400, "ttl_seconds", "above 0"),
        (b'{"to":{"user":"a"},"ttl_seconds":-1}', 400, "ttl_seconds", "above 0"),
        (GOOD % (b"[" * 20000 + b"]" * 20000), 400, None, "not JSON"),
        (GOOD % (b'"' + b"x" * 40000 + b'"'), 413, "data", "the limit is 32768"),
        (GOOD % (b'"' + b"x" * MAX_BODY + b'"'), 413, None, "the maximum is 65536"),
    ],
)
async def test_bad_body(
    hub: Hub, body: bytes, status: int, path: str | None, sentence: str
) -> None:
    """An invalid body has the right status, path and sentence, and stores nothing."""
    async with hub.ask("POST", "/publish", internal=True, data=body, headers=JSON) as response:
        problem = await response.json(content_type="application/problem+json")
    assert (response.status, problem["status"], problem.get("path")) == (status, status, path)
    assert sentence.lower() in problem["detail"].lower()
    assert "\n" not in problem["detail"]
    async with hub.stream("/sse/connect/a?cursor=start") as stream:
        assert '"replayed":0' in stream.opened.data


async def test_huge_body_without_a_length(hub: Hub) -> None:
    """A chunked body is rejected at the size limit."""

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(64):
            yield b" " * 4096

    status, problem = await hub.call(
        "POST", "/publish", internal=True, data=endless(), headers=JSON
    )
    assert (status, "larger than" in problem["detail"]) == (413, True)


async def test_form_is_not_taken(hub: Hub) -> None:
    """Only JSON is accepted: a page of another site cannot send JSON without a preflight."""
    status, problem = await hub.call("POST", "/publish", internal=True, data={"a": "b"})
    assert (status, problem["detail"]) == (415, "send Content-Type: application/json")


async def test_broker_away_is_retryable(hub: Hub) -> None:
    """While the broker is unavailable, a publish is a 503 with Retry-After."""
    hub.backend.is_unavailable = True
    async with hub.ask("POST", "/publish", internal=True, json={"to": {"user": "a"}}) as response:
        assert (response.status, response.headers["Retry-After"]) == (503, "1")


async def test_publish_is_not_public(hub: Hub) -> None:
    """The public listener does not have the route, and names the listener that has it."""
    status, problem = await hub.call("POST", "/publish", json={"to": {"user": "a"}})
    assert status == 404
    assert problem["detail"].startswith("there is no route /publish on this listener")


@pytest.mark.parametrize(
    ("internal", "method", "path", "other"),
    [
        (False, "POST", "/publish/batch", "internal"),
        (False, "GET", "/users/alice", "internal"),
        (False, "GET", "/metrics", "internal"),
        (True, "GET", "/sse/connect/alice", "public"),
        (True, "POST", "/tickets", "public"),
        (False, "POST", "/nothing", None),
        (True, "POST", "/nothing", None),
        (False, "GET", "/publish", None),
    ],
)
async def test_route_of_the_other_listener(
    hub: Hub, internal: bool, method: str, path: str, other: str | None
) -> None:
    """The error names the other listener if that one has the route, and only then."""
    status, problem = await hub.call(method, path, internal=internal)
    hint = f" on this listener: send it to the {other} listener ({other}.port)" if other else ""
    assert (status, problem["detail"]) == (404, f"there is no route {path}{hint}")


async def test_wrong_method_names_the_right_one(hub: Hub) -> None:
    """A wrong method is a 405 with Allow."""
    async with hub.ask("GET", "/publish", internal=True) as response:
        assert (response.status, response.headers["Allow"]) == (405, "POST")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Authorization": "Bearer wrong"}, 401),
        ({"Authorization": "Basic good"}, 401),
        ({"Authorization": "Bearer reader"}, 403),
        ({"Authorization": "Bearer good"}, 200),
        ({"Authorization": "bearer newer"}, 200),
    ],
)
async def test_keys_and_scopes(headers: dict[str, Any], status: int) -> None:
    """Each key is accepted for its scopes, and several keys are valid at once."""
    api_keys = ApiKeys(
        [
            ApiKey("a", hash_key("good"), frozenset({"publish"})),
            ApiKey("b", hash_key("reader"), frozenset({"read"})),
            ApiKey("c", hash_key("newer"), frozenset({"publish", "admin"})),
        ]
    )
    async with running_hub(keys=api_keys) as hub:
        got, answer = await hub.call(
            "POST", "/publish", internal=True, json={"to": {"user": "a"}}, headers=headers
        )
    assert got == status
    assert "good" not in str(answer)


async def test_id_of_another_event(hub: Hub) -> None:
    """The same id with another event is 409, and the event reaches only those to whom it is new."""
    first = {"to": {"user": "a"}, "data": {"n": 1, "m": 2}, "id": "k"}
    assert (await hub.publish(**first))[0] == 200
    status, answer = await hub.publish(**first | {"data": {"m": 2, "n": 1}})
    assert (status, answer["published"][0]["duplicate"]) == (200, True)
    status, problem = await hub.publish(**first | {"data": {"n": 2}, "to": {"users": ["a", "b"]}})
    assert (status, problem["code"], problem["path"]) == (409, "idempotency_key_reused", "id")
    assert "user:a" in problem["detail"]
    for user, count in (("a", 1), ("b", 1)):
        _, stored = await hub.call("GET", f"/users/{user}/events", internal=True)
        assert len(stored["events"]) == count


async def test_replicas_are_in_the_response(hub: Hub) -> None:
    """The response says how many replicas have the event, if publishes wait for them."""
    body: dict[str, Any] = {"to": {"user": "a"}, "data": 1, "id": "k"}
    _, answer = await hub.publish(**body)
    assert "replicas" not in answer["published"][0]
    hub.backend.events.replicas = 2
    _, answer = await hub.publish(**body)
    assert answer["published"][0]["replicas"] == 2
    _, results = await hub.call("POST", "/publish/batch", internal=True, json=[body])
    assert results[0]["published"][0]["replicas"] == 2
    _, answer = await hub.publish(**body | {"id": "e", "ephemeral": True})
    assert "replicas" not in answer["published"][0]
