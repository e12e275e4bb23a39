"""The routes of browsers: the key, and subscriptions."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from hub.core.generation import Generation, GenerationRequest, Status
from hub.core.inputs import InputRequest
from hub.core.parts_journal import PartsLimits
from hub.core.push_job import UserPush, decode_job, end_deliveries, input_deliveries
from hub.core.push_message import PushMessage
from hub.core.push_subscription import encode_base64url, subscription_id
from hub.engine.attempts.attempt_events import AttemptEvents
from hub.push.vapid import generate_vapid_keys
from hub.settings import Push
from tests.http.kit import Hub, running_hub

KEYS = generate_vapid_keys()
SETTINGS = {
    "push": Push.model_validate({"private_key": KEYS.private_key, "subject": "mailto:a@b.example"})
}
ENDPOINT = "https://push.example.com/secret"
BODY: dict[str, Any] = {
    "endpoint": ENDPOINT,
    "expirationTime": None,
    "keys": {"p256dh": KEYS.public_key, "auth": encode_base64url(b"0" * 16)},
}


async def subscribe(hub: Hub, user: str, body: Any = BODY) -> tuple[int, Any]:
    """Send POST /push/subscriptions."""
    return await hub.call("POST", f"/push/subscriptions?user={user}", json=body)


async def test_key() -> None:
    """The public key belongs to the private key of the settings."""
    async with running_hub(tables=SETTINGS) as hub:
        assert await hub.call("GET", "/push/key") == (200, {"public_key": KEYS.public_key})


async def test_not_configured() -> None:
    """Without keys in the settings every route says so."""
    async with running_hub() as hub:
        for status, problem in (await hub.call("GET", "/push/key"), await subscribe(hub, "a")):
            assert (status, problem["code"]) == (404, "push_not_configured")


async def test_subscribe_move_and_remove() -> None:
    """A device is added once, moves to the present user, and is removed by its user only."""
    expected = {"id": subscription_id(ENDPOINT)}
    async with running_hub(tables=SETTINGS) as hub:
        stored = hub.backend.push_subscriptions
        assert await subscribe(hub, "alice") == (201, expected)
        assert await subscribe(hub, "alice") == (200, expected)
        assert [each.endpoint for each in await stored.list("alice")] == [ENDPOINT]
        assert await subscribe(hub, "bob") == (200, expected)
        assert await stored.list("alice") == []
        path = f"/push/subscriptions/{expected['id']}"
        status, problem = await hub.call("DELETE", f"{path}?user=alice")
        assert (status, problem["code"]) == (404, "push_subscription_not_found")
        assert len(await stored.list("bob")) == 1
        async with hub.ask("DELETE", f"{path}?user=bob") as response:
            assert (response.status, await response.read()) == (204, b"")
        assert await stored.list("bob") == []
        status, _ = await hub.call("DELETE", f"{path}?user=bob")
        assert status == 404


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"endpoint": "http://push.example.com/"}, "endpoint"),
        ({"endpoint": "https://10.0.0.1/"}, "endpoint"),
        ({"endpoint": None}, "endpoint"),
        ({"keys": {"p256dh": "AAAA", "auth": "AAAA"}}, "keys.p256dh"),
        ({"keys": {"p256dh": KEYS.public_key, "auth": "AAAA"}}, "keys.auth"),
        ({"keys": None}, "keys"),
        ({"keys": {}}, "keys.p256dh"),
    ],
)
async def test_refused(changes: dict[str, Any], path: str) -> None:
    """A wrong field is a 400 that names it, and nothing is stored."""
    async with running_hub(tables=SETTINGS) as hub:
        status, problem = await subscribe(hub, "alice", {**BODY, **changes})
        assert status == 400
        assert problem["path"].startswith(path.partition(".")[0])
        assert "secret" not in problem["detail"]
        assert await hub.backend.push_subscriptions.list("alice") == []


async def test_fields_of_browsers() -> None:
    """What a browser adds in the future does not matter; a time of expiry is accepted."""
    body = {**BODY, "expirationTime": 1.8e12, "contentEncodings": ["aes128gcm"]}
    async with running_hub(tables=SETTINGS) as hub:
        assert (await subscribe(hub, "alice", body))[0] == 201


async def test_service_worker() -> None:
    """The worker may have any scope of the origin, and other sites may import it."""
    async with running_hub() as hub, hub.ask("GET", "/hub-sw.js") as response:
        assert response.status == 200
        assert response.headers["Service-Worker-Allowed"] == "/"
        assert response.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
        assert response.content_type == "text/javascript"
        tag = response.headers["ETag"]
        async with hub.ask("GET", "/hub-sw.js", headers={"If-None-Match": tag}) as again:
            assert again.status == 304


async def published(hub: Hub) -> list[Any]:
    """Return the jobs that were written."""
    taken = await hub.backend.deliveries.take("push", 100, lease_seconds=60)
    return [decode_job(each.body) for each in taken]


@pytest.fixture
def at_once() -> dict[str, Any]:
    """Settings whose notifications are due at once."""
    return {"push": SETTINGS["push"].model_copy(update={"after_seconds": 0.0})}


async def test_publish(at_once: dict[str, Any]) -> None:
    """Each recipient gets a job in the step of the publish; a duplicate adds none."""
    push: dict[str, Any] = {
        "title": "T",
        "body": "B",
        "url": "/u",
        "tag": "t",
        "icon": "/i",
        "urgency": "low",
    }
    body = {"to": {"users": ["a", "b"]}, "id": "1", "push": {**push, "ttl_seconds": 5}}
    async with running_hub(tables=at_once) as hub:
        for _ in range(2):
            assert (await hub.publish(**body))[0] == 200
        jobs = await published(hub)
        assert sorted(job.user for job in jobs) == ["a", "b"]
        assert jobs[0].message == PushMessage(**push, ttl_seconds=5.0)
        assert (await hub.publish(to={"topic": "n"}, push={"title": "T"}))[0] == 200
        (job,) = await published(hub)
        assert job.topic == "n"
        nulls = dict.fromkeys(("body", "url", "tag", "icon", "urgency", "ttl_seconds"))
        assert (await hub.publish(to={"user": "a"}, push={"title": "T", **nulls}))[0] == 200
        assert (await hub.publish(to={"user": "a"}, push=None))[0] == 200
        assert [job.message for job in await published(hub)] == [PushMessage(title="T")]


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"to": {"all": True}}, "push"),
        ({"ephemeral": True}, "push"),
        ({"push": {}}, "push.title"),
        ({"push": {"title": ""}}, "push.title"),
        ({"push": {"title": "T", "url": "javascript:x"}}, "push.url"),
        ({"push": {"title": "T", "urgency": "now"}}, "push.urgency"),
        ({"push": {"title": "T", "colour": "red"}}, "push.colour"),
    ],
)
async def test_refused_publish(at_once: dict[str, Any], changes: dict[str, Any], path: str) -> None:
    """A push that breaks a rule is a 400 that names the field; nothing is published."""
    async with running_hub(tables=at_once) as hub:
        body = {"to": {"user": "a"}, "push": {"title": "T"}, **changes}
        status, problem = await hub.publish(**body)
        assert (status, problem["path"].partition(".")[0]) == (400, path.partition(".")[0])
        assert await published(hub) == []


async def test_publish_without_keys() -> None:
    """A hub that sends no notifications says so, so that none is lost silently."""
    async with running_hub() as hub:
        status, problem = await hub.publish(to={"user": "a"}, push={"title": "T"})
        assert (status, problem["path"]) == (400, "push")
        assert "hub keys vapid" in problem["detail"]


async def test_notify(at_once: dict[str, Any]) -> None:
    """An answer with `notify` has a job with its end, written in the same step."""
    async with running_hub(tables=at_once) as hub:
        body = {"prompt": "x", "upstream": "support", "notify": True}
        status, started = await hub.call("POST", "/generations?user=alice", json=body)
        assert status == 202
        record = await hub.backend.generations.find(started["generation"])
        assert record is not None
        attempt = AttemptEvents(record, PartsLimits(max_part_bytes=1000, max_record_bytes=10_000))
        begin = attempt.begin_after(record, "generation.started")
        await hub.backend.events.publish([*begin, attempt.end(Status.DONE, {})])
        (job,) = await published(hub)
        assert (job.user, job.message.title, job.message.tag) == (
            "alice",
            "Your answer is ready",
            record.id,
        )


@pytest.mark.parametrize(
    ("status", "title"),
    [
        (Status.DONE, "Your answer is ready"),
        (Status.FAILED, "Your answer could not be completed"),
        (Status.STOPPED, None),
    ],
)
def test_ends(status: Status, title: str | None) -> None:
    """A stopped answer has no notification, and neither has one whose user wants none."""
    request = GenerationRequest([], upstream="u", model="m", notify_seconds=3.0, topic="t")
    record = Generation("g00", "alice", request)
    deliveries = end_deliveries(record, status)
    assert [decode_job(each.body).message.title for each in deliveries] == [title] * bool(title)
    assert [(each.channel, each.delay_seconds) for each in deliveries] == [("topic:t", 3.0)] * bool(
        title
    )
    silent = msgspec.structs.replace(request, notify_seconds=None)
    assert end_deliveries(Generation("g00", "alice", silent), status) == ()


def test_inputs() -> None:
    """The user and the approvers of an input are notified in the channels of its request."""
    request = GenerationRequest([], upstream="u", model="m", notify_seconds=3.0)
    record = Generation("g00", "alice", request)
    requested = InputRequest(input="i", prompt="Really?" + "é" * 9000, expires_at=1.0)
    for approver, user in ((None, "alice"), ("bob", "bob")):
        (delivery,) = input_deliveries(record, requested, approver)
        job = decode_job(delivery.body)
        assert isinstance(job, UserPush)
        assert (delivery.channel, job.user) == (f"user:{user}", user)
        assert job.message.body.startswith("Really?")
        assert len(delivery.body) < 10_000


async def test_notify_without_keys() -> None:
    """Without keys `notify` is a 400; false and null are nothing."""
    async with running_hub() as hub:
        for value, expected in ((True, 400), (False, 202), (None, 202)):
            body = {"prompt": "x", "notify": value}
            status, answer = await hub.call("POST", "/generations?user=a", json=body)
            assert status == expected
            assert status == 202 or answer["path"] == "notify"
