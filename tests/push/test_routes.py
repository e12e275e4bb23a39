"""The routes of browsers: the key, and subscriptions."""

from __future__ import annotations

from typing import Any

import pytest

from hub.core.push_subscription import encode_base64url, subscription_id
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
