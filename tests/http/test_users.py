"""Operators' commands: disconnecting and blocking users, revoking tokens."""

from __future__ import annotations

import asyncio
import json
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
from hub.core.denylist import USER
from hub.testing.fakes import settled
from tests.defaults import token_reader
from tests.described import described_operations
from tests.http.kit import Hub, running_hub

SECRET = "s" * 64
RING = ApiKeys(
    [
        ApiKey("boss", hash_key("admin-key"), frozenset({"admin"})),
        ApiKey("shop", hash_key("shop-key"), frozenset({"publish"})),
    ]
)
ADMIN = {"Authorization": "Bearer admin-key"}


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    """A node with tokens and API keys."""
    authenticator = JwtAuthenticator(
        token_reader([FixedKeys([secret_key(SECRET)])]), AllowedOrigins([])
    )
    async with running_hub(authenticator, RING) as hub:
        yield hub


def bearer(user: str, jti: str | None = None) -> dict[str, str]:
    claims: dict[str, Any] = {"sub": user, "exp": time.time() + 60}
    if jti is not None:
        claims["jti"] = jti
    return {"Authorization": f"Bearer {jwt.encode(claims, SECRET)}"}


async def order(hub: Hub, method: str, path: str, **more: Any) -> tuple[int, Any]:
    async with hub.ask(method, path, internal=True, headers=ADMIN, **more) as response:
        return response.status, await response.json()


async def connect_status(hub: Hub, headers: dict[str, str]) -> int:
    async with hub.ask("GET", "/sse/connect", headers=headers) as response:
        status: int = response.status
        return status


async def test_disconnected_user(hub: Hub) -> None:
    """A user's streams end and are asked not to return; the user may connect again."""
    async with (
        hub.stream("/sse/connect", headers=bearer("alice")) as first,
        hub.stream("/sse/connect", headers=bearer("alice")) as second,
        hub.stream("/sse/connect", headers=bearer("bob")) as other,
    ):
        answer = await order(hub, "DELETE", "/users/alice/connections")
        assert answer == (202, {"user": "alice", "blocked_until": None})
        for stream in (first, second):
            data = json.loads((await stream.next()).data)
            assert (data["reason"], data["reconnect"]) == ("disconnected", False)
        assert [c.user for c in hub.node.connections.connections] == ["bob"]
        assert other.response.status == 200
    assert await connect_status(hub, bearer("alice")) == 200


async def test_blocked_user(hub: Hub) -> None:
    """A blocked user is refused until the time has passed."""
    status, answer = await order(hub, "DELETE", "/users/alice/connections?block_seconds=600")
    assert status == 202
    assert answer["blocked_until"] == pytest.approx(time.time() + 600, abs=120)
    assert set(await hub.backend.commands.blocked()) == {USER + "alice"}
    assert await connect_status(hub, bearer("alice")) == 403
    async with hub.ask("POST", "/generations", json={"prompt": "x"}, headers=bearer("alice")) as r:
        assert r.status == 403
    assert await connect_status(hub, bearer("bob")) == 200
    await order(hub, "DELETE", "/users/carol/connections?block_seconds=0.01")
    async with asyncio.timeout(60):
        while await connect_status(hub, bearer("carol")) != 200:
            await asyncio.sleep(0.01)


async def test_blocked_user_on_every_route(hub: Hub) -> None:
    """Every operation that requires a token refuses a blocked user."""
    await order(hub, "DELETE", "/users/alice/connections?block_seconds=60")
    allowed = []
    for method, path, operation in described_operations("public"):
        is_served = path != "/dev/publish"  # only where no token is needed
        if not (is_served and operation["security"]) or "426" in operation["responses"]:
            continue
        url = path.replace("{user_id}", "alice").replace("{id}", "g")
        body: Any = {"json": {}} if method == "POST" else {}
        async with hub.ask(method, url, headers=bearer("alice"), **body) as response:
            if response.status != 403:
                allowed.append((method, path, response.status))
    assert not allowed


async def test_revoked_token(hub: Hub) -> None:
    """A revoked token is refused and its streams end; the user's other token stays valid."""
    async with (
        hub.stream("/sse/connect", headers=bearer("alice", "stolen")) as stolen,
        hub.stream("/sse/connect", headers=bearer("alice", "own")),
    ):
        body = {"jti": "stolen", "expires_at": time.time() + 60}
        assert (await order(hub, "POST", "/revocations", json=body))[0] == 202
        assert json.loads((await stolen.next()).data)["reason"] == "disconnected"
        assert len(hub.node.connections) == 1
    assert await connect_status(hub, bearer("alice", "stolen")) == 401
    assert await connect_status(hub, bearer("alice", "own")) == 200


async def test_lost_order_is_found(hub: Hub) -> None:
    """A node that missed a command reads the denylist when it is connected again."""
    running = asyncio.create_task(hub.node.admin_commands.run())
    async with hub.stream("/sse/connect", headers=bearer("alice")) as stream:
        hub.backend.commands.is_lossy = True
        await hub.backend.commands.block(USER + "alice", time.time() + 60)
        hub.backend.commands.resubscribe()
        assert json.loads((await stream.next()).data)["reason"] == "disconnected"
    assert await connect_status(hub, bearer("alice")) == 403
    running.cancel()


@pytest.mark.parametrize(
    ("method", "path", "body", "sentence"),
    [
        ("DELETE", "/users/a%20b/connections", None, "user id"),
        ("DELETE", "/users/a/connections?block_seconds=-1", None, "block_seconds"),
        ("DELETE", "/users/a/connections?block_seconds=nan", None, "block_seconds"),
        ("DELETE", "/users/a/connections?block_seconds=soon", None, "block_seconds"),
        ("POST", "/revocations", {"jti": "", "expires_at": 1}, "jti"),
        ("POST", "/revocations", {"jti": "a\nb", "expires_at": 1}, "jti"),
        ("POST", "/revocations", {"jti": "a"}, "expires_at"),
        ("POST", "/revocations", {"jti": "a", "expires_at": 1e308}, "expires_at"),
    ],
)
async def test_bad_order(hub: Hub, method: str, path: str, body: Any, sentence: str) -> None:
    """An invalid command is a 400 that names the field."""
    status, problem = await order(hub, method, path, json=body)
    assert status == 400
    assert sentence in problem["detail"]


@pytest.mark.parametrize(("key", "status"), [("shop-key", 403), ("nonsense", 401)])
async def test_who_may_order(hub: Hub, key: str, status: int) -> None:
    """Commands require the scope admin."""
    headers = {"Authorization": f"Bearer {key}"}
    path = "/users/alice/connections"
    async with hub.ask("DELETE", path, internal=True, headers=headers) as response:
        assert response.status == status


READER = ApiKeys([ApiKey("r", hash_key("admin-key"), frozenset({"read"}))])


async def test_who_is_there() -> None:
    """Connections and nodes are listed with the scope read."""
    async with running_hub(keys=READER) as hub:
        tasks = [
            asyncio.create_task(hub.node.connection_query.keep_node_state()),
            asyncio.create_task(hub.node.connection_query.answer_requests()),
        ]
        async with (
            hub.stream("/sse/connect/alice?topics=news"),
            hub.stream("/sse/connect/bob"),
        ):
            _, one = await order(hub, "GET", "/users/alice")
            assert (one["user"], one["total"], one["missing"]) == ("alice", 1, [])
            (connection,) = one["connections"]
            assert connection["node"] == "n1"
            assert connection["topics"] == ["news"]
            assert connection["address"] == "127.0.0.1"
            assert abs(connection["since"] - time.time()) < 5
            _, all_ = await order(hub, "GET", "/connections?limit=1")
            assert (len(all_["connections"]), all_["total"]) == (1, 2)
            _, nodes = await order(hub, "GET", "/nodes")
            assert [node["node"] for node in nodes["nodes"]] == ["n1"]
        for task in tasks:
            task.cancel()
        assert (await order(hub, "DELETE", "/users/alice/connections"))[0] == 403


async def test_stored_events() -> None:
    """A user's events are returned page by page, each with its cursor."""
    async with running_hub() as hub:
        for n in range(5):
            await hub.publish(to={"user": "alice"}, data={"n": n})
        seen, after = [], ""
        while True:
            query = f"limit=2&after={after}" if after else "limit=2"
            status, page = await order(hub, "GET", f"/users/alice/events?{query}")
            assert (status, page["lost"]) == (200, None)
            seen += [event["data"]["n"] for event in page["events"]]
            after = page["next"]
            if not page["more"]:
                break
        assert seen == [0, 1, 2, 3, 4]
        for query in ("limit=0", "limit=x", "after=nonsense"):
            assert (await order(hub, "GET", f"/users/alice/events?{query}"))[0] == 400


async def test_order_heard_while_what_is_denied_is_read(hub: Hub) -> None:
    """A command during a read of the denylist is not undone by that read."""
    was_read = asyncio.Event()
    proceed = asyncio.Event()
    read_denylist = hub.backend.commands.blocked

    async def read_slowly() -> Any:
        denylist = await read_denylist()
        was_read.set()
        await proceed.wait()
        return denylist

    hub.backend.commands.blocked = read_slowly  # type: ignore[method-assign]
    running = asyncio.create_task(hub.node.admin_commands.run())
    await was_read.wait()
    await hub.node.admin_commands.disconnect("alice", 60.0)
    proceed.set()
    await settled()
    assert await connect_status(hub, bearer("alice")) == 403
    running.cancel()
