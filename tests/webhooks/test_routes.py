"""The internal API of webhooks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from hub.api.api_keys import ApiKey, ApiKeys, hash_key
from hub.core.channel import user_channel
from hub.core.deliveries import Dead, Retry
from hub.core.webhooks import MAX_ENDPOINTS, WEBHOOK_QUEUE, settings_endpoint_id
from hub.settings import Settings
from tests.http.kit import Hub, running_hub
from tests.webhooks.receiver import SECRET

FIXED = {"url": "https://a.example/", "secrets": [SECRET, SECRET], "events": ["generation.done"]}
FIXED_ID = settings_endpoint_id("https://a.example/")
KEYS = ApiKeys(
    [
        ApiKey("ops", hash_key("a" * 20), frozenset({"admin"})),
        ApiKey("app", hash_key("b" * 20), frozenset({"publish", "read"})),
    ]
)


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    given = Settings(webhooks=[FIXED]).webhooks
    async with running_hub(keys=KEYS, tables={"webhooks": given}) as running:
        yield running


async def call(hub: Hub, method: str, path: str, *, key: str = "a", **more: Any) -> Any:
    headers = {"Authorization": "Bearer " + key * 20}
    return await hub.call(method, path, internal=True, headers=headers, **more)


async def test_life_of_a_webhook(hub: Hub) -> None:
    """A webhook is created, listed with a masked secret, and deleted."""
    status, created = await call(hub, "POST", "/webhooks", json={"url": "https://b.example/x"})
    assert status == 201
    assert created["secret"].startswith("whsec_")
    status, listed = await call(hub, "GET", "/webhooks")
    assert status == 200
    fixed, own = listed["webhooks"]
    assert (fixed["id"], fixed["source"], fixed["secrets"]) == (
        FIXED_ID,
        "settings",
        ["whsec_***"] * 2,
    )
    assert (own["id"], own["source"], own["state"]) == (created["id"], "api", "active")
    assert len(own["events"]) == 8
    assert created["secret"] not in str(listed)
    assert (await call(hub, "DELETE", f"/webhooks/{created['id']}"))[0] == 204
    status, problem = await call(hub, "DELETE", f"/webhooks/{created['id']}")
    assert (status, problem["code"]) == (404, "webhook_not_found")
    status, problem = await call(hub, "DELETE", f"/webhooks/{FIXED_ID}")
    assert (status, problem["code"]) == (409, "webhook_in_settings")


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({}, "url"),
        ({"url": "http://b.example/"}, "url"),
        ({"url": "https://127.0.0.1/"}, "url"),
        ({"url": "https://[::ffff:127.0.0.1]/"}, "url"),
        ({"url": "https://localhost/"}, "url"),
        ({"url": "https://user:pw@b.example/"}, "url"),
        ({"url": "x"}, "url"),
        ({"url": "https://b.example/", "events": []}, "events"),
        ({"url": "https://b.example/", "events": ["generation.delta"]}, "events[0]"),
        ({"url": "https://b.example/", "include": "all"}, "include"),
        ({"url": "https://b.example/", "allow_private": True}, "allow_private"),
    ],
)
async def test_bad_bodies(hub: Hub, body: dict[str, Any], path: str) -> None:
    """A wrong body is a 400 that names the field, and creates nothing."""
    status, problem = await call(hub, "POST", "/webhooks", json=body)
    assert status == 400
    if body:
        assert problem.get("path") == path, problem
    assert len((await call(hub, "GET", "/webhooks"))[1]["webhooks"]) == 1


async def test_null_means_absent(hub: Hub) -> None:
    """Optional fields may be null."""
    body = {"url": "https://b.example/", "events": None, "include": None}
    assert (await call(hub, "POST", "/webhooks", json=body))[0] == 201


async def test_scope(hub: Hub) -> None:
    """Every route requires the scope `admin`."""
    for method, path in (
        ("POST", "/webhooks"),
        ("GET", "/webhooks"),
        ("DELETE", "/webhooks/x"),
        ("POST", "/webhooks/x/test"),
        ("GET", "/webhooks/deliveries"),
        ("GET", "/webhooks/deliveries/x"),
        ("POST", "/webhooks/deliveries/x/replay"),
    ):
        assert (await call(hub, method, path, key="b"))[0] == 403


async def test_limit(hub: Hub) -> None:
    """The API creates a limited number of webhooks."""
    for n in range(MAX_ENDPOINTS):
        await call(hub, "POST", "/webhooks", json={"url": f"https://b.example/{n}"})
    status, body = await call(hub, "POST", "/webhooks", json={"url": "https://b.example/"})
    assert (status, body["code"]) == (409, "too_many_webhooks")


async def test_deliveries(hub: Hub) -> None:
    """A test is a delivery; a dead letter is listed with its attempts and sent again."""
    status, queued = await call(hub, "POST", f"/webhooks/{FIXED_ID}/test")
    assert status == 202
    path = f"/webhooks/deliveries/{queued['delivery']}"
    status, body = await call(hub, "GET", path)
    assert (status, body["state"], body["event"]) == (200, "waiting", "webhook.test")
    assert body["body"]["data"] == {"webhook": FIXED_ID}
    assert (await call(hub, "POST", path + "/replay"))[0] == 404
    store = hub.backend.deliveries
    (taken,) = await store.take(WEBHOOK_QUEUE, 1, lease_seconds=60.0)
    await store.complete(taken, Retry(0.0, "status 500"))
    (taken,) = await store.take(WEBHOOK_QUEUE, 1, lease_seconds=60.0)
    await store.complete(taken, Dead("status 502"))
    (dead,) = (await call(hub, "GET", "/webhooks/deliveries"))[1]["deliveries"]
    assert [each.split(" ", 1)[1] for each in dead["attempts"]] == ["status 500", "status 502"]
    assert (dead["webhook"], dead["body"]) == (FIXED_ID, None)
    assert (await call(hub, "GET", "/webhooks"))[1]["dead"] == 1
    assert (await call(hub, "POST", path + "/replay"))[0] == 202
    waiting = (await call(hub, "GET", "/webhooks/deliveries?state=waiting"))[1]["deliveries"]
    assert [each["id"] for each in waiting] == [queued["delivery"]]
    assert (await call(hub, "GET", "/webhooks/deliveries?state=x"))[0] == 400
    for unknown in ("x", "d00zz"):
        for method, more in (("GET", ""), ("POST", "/replay")):
            status, problem = await call(hub, method, f"/webhooks/deliveries/{unknown}{more}")
            assert (status, problem["code"]) == (404, "delivery_not_found")
    status, problem = await call(hub, "POST", "/webhooks/unknown/test")
    assert (status, problem["code"]) == (404, "webhook_not_found")
    assert user_channel("alice") not in str(dead)
