"""User ids and topic names of every kind, through every surface of a node."""

from __future__ import annotations

import json
import random
import sys
import time
import unicodedata
from typing import Any, Final
from urllib.parse import quote

import jwt
import pytest
from yarl import URL

from hub.api.api_keys import ApiKey, ApiKeys, hash_key
from hub.api.authentication import JwtAuthenticator
from hub.api.origins import AllowedOrigins
from hub.api.tokens import FixedKeys
from hub.api.verifying_keys import secret_key
from hub.core.channel import check_topic, check_user_id
from hub.errors import BadRequest
from hub.grpc import hub_pb2 as pb
from tests.defaults import token_reader
from tests.grpc.kit import Reading, grpc_kit
from tests.grpc.kit import token as grpc_token
from tests.http.kit import Hub, running_hub

SECRET: Final = "s" * 64
KEYS: Final = ApiKeys([ApiKey("k", hash_key("key"), frozenset({"publish", "read", "admin"}))])
KEY: Final = {"Authorization": "Bearer key"}
KNOWN: Final = [
    "alice", "auth0|5f7c8ec7c33c6c004bbafe82", "google-oauth2|1037", "spiffe://example.org/a?b#c",
    "o'hara+x@example.com", "a/b", "a%2Fb", "100%", "{user_id}", "{hub:p00}", "a}b{c", "~user",
    '"\\`$;&=', "<script>", "日本語", "Ω≈ç√", "😀", "e\u0301", "é", "x" * 256, "😀" * 256, "user:a",
    "topic:a", "all", "*", "live", "-1", "null",
]  # fmt: skip
CATEGORIES: Final = "LMNPS"


def printable_name(pick: random.Random) -> str:
    """Return a name of letters, marks, numbers, punctuation and symbols of all of Unicode."""
    name = ""
    size = pick.choice([1, 2, 7, 40, 256])
    while len(name) < size:
        char = chr(pick.choice([pick.randrange(0x21, 0x7F), pick.randrange(sys.maxunicode + 1)]))
        if unicodedata.category(char)[0] in CATEGORIES:
            name += char
    return name


def names(count: int) -> list[str]:
    pick = random.Random(20261129)
    return [*KNOWN, *(printable_name(pick) for _ in range(count))]


def token(user: str) -> dict[str, str]:
    claims = {"sub": user, "exp": time.time() + 3600, "topics": ["*"]}
    return {"Authorization": f"Bearer {jwt.encode(claims, SECRET)}"}


def test_every_printable_name_is_a_user_id() -> None:
    """Letters, marks, numbers, punctuation and symbols are allowed; nothing else is."""
    for name in names(300):
        assert check_user_id(name) == name
    others = [c for c in map(chr, range(0x3000)) if unicodedata.category(c)[0] not in CATEGORIES]
    for char in [*others, "\u3000", "\ud800", "\udfff", "\ufeff", "\uffff", "\U0010ffff"]:
        with pytest.raises(BadRequest):
            check_user_id(f"a{char}b")


def authenticator() -> JwtAuthenticator:
    return JwtAuthenticator(
        token_reader([FixedKeys([secret_key(SECRET)])]), AllowedOrigins(["https://app.example"])
    )


@pytest.mark.timeout(180)
async def test_every_surface_takes_every_name() -> None:
    """A name that a token carries names the same user in each URL, body, event and answer."""
    async with running_hub(authenticator(), KEYS) as hub:
        for user in names(12):
            await check_streams(hub, user)
            await check_internal(hub, user)


async def check_streams(hub: Hub, user: str) -> None:
    path, headers = quote(user, safe=""), token(user)
    async with hub.stream(f"/sse/connect/{path}", headers=headers) as stream:
        assert json.loads(stream.opened.data)["user"] == user
        status, _ = await hub.call(
            "POST",
            "/publish",
            internal=True,
            headers=KEY,
            json={"to": {"user": user}, "data": user},
        )
        assert status == 200
        event = await stream.next()
        assert event.data == user
    lines = {**headers, "Accept": "application/x-ndjson"}
    async with hub.ask("GET", f"/sse/connect/{path}", headers=lines) as response:
        opened = json.loads(await response.content.readline())
        assert opened["data"]["user"] == user
    poll = f"/poll/connect/{path}?wait=0&cursor=start"
    status, page = await hub.call("GET", poll, headers=headers)
    assert (status, [each["data"] for each in page["events"][-1:]]) == (200, [user])
    url = f"http://127.0.0.1:{hub.port}/ws/connect/{path}"
    async with hub.session.ws_connect(url, headers=headers) as socket:
        assert (await socket.receive_json())["data"]["user"] == user
    ticket = (await hub.call("POST", "/tickets", headers=headers))[1]["ticket"]
    async with hub.stream(f"/sse/connect/{path}?ticket={ticket}") as stream:
        assert json.loads(stream.opened.data)["user"] == user
    started = await hub.call("POST", "/generations", headers=headers, json={"prompt": user})
    assert started[0] == 202
    generation = f"/generations/{started[1]['generation']}"
    assert (await hub.call("GET", generation, headers=headers))[1]["user"] == user
    assert (await hub.call("GET", generation, headers=token(user + "x")))[0] in (401, 403)
    assert (await hub.call("DELETE", generation, headers=headers))[0] in (200, 202)


async def check_internal(hub: Hub, user: str) -> None:
    path = f"/users/{quote(user, safe='')}"
    status, shown = await hub.call("GET", path, internal=True, headers=KEY)
    assert (status, shown["user"]) == (200, user)
    status, stored = await hub.call("GET", f"{path}/events", internal=True, headers=KEY)
    assert status == 200
    assert user in [event["data"] for event in stored["events"]]
    block = f"{path}/connections?block_seconds=60"
    status, blocked = await hub.call("DELETE", block, internal=True, headers=KEY)
    assert (status, blocked["user"]) == (202, user)
    usage = {"user": user}
    status, _ = await hub.call("GET", "/usage", internal=True, headers=KEY, params=usage)
    assert status == 200
    await hub.metrics()


def topic_names(count: int) -> list[str]:
    return [name.replace(",", "").replace("*", "") or "t" for name in names(count)]


async def test_every_topic_name() -> None:
    """A topic of any name is followed, published to and continued."""
    async with running_hub(authenticator(), KEYS) as hub:
        for topic in topic_names(20):
            assert check_topic(topic) == topic
            query = quote(topic, safe="")
            path = f"/sse/connect/alice?topics={query}"
            async with hub.stream(path, headers=token("alice")) as stream:
                body: dict[str, Any] = {"to": {"topic": topic}, "data": {"t": topic}}
                sent = await hub.call("POST", "/publish", internal=True, headers=KEY, json=body)
                assert sent[0] == 200
                event = await stream.next()
                assert json.loads(event.data) == {"t": topic}
            body["data"] = "second"
            await hub.call("POST", "/publish", internal=True, headers=KEY, json=body)
            more = {**token("alice"), "Last-Event-ID": event.id or ""}
            async with hub.stream(path, headers=more) as stream:
                assert (await stream.next()).data == "second"


async def test_every_name_over_grpc() -> None:
    """gRPC carries every name in its messages."""
    async with grpc_kit() as kit:
        for user in names(20):
            call = kit.public.Connect(pb.ConnectRequest(user=user), metadata=grpc_token(user))
            stream = Reading(call)
            assert json.loads((await stream.next()).data)["user"] == user
            await kit.publish("hello", user)
            event = await stream.next()
            assert (json.loads(event.data), event.channel) == ("hello", f"user:{user}")
            call.cancel()


@pytest.mark.parametrize(
    "path",
    ["/sse/connect/%FF", "/sse/connect/a%ED%A0%80", "/poll/connect?user=%FF", "/x?y=%C3%28"],
)
async def test_url_that_is_not_utf8(path: str) -> None:
    """Bytes that are not UTF-8 are a 400: replaced, two names would become the same one."""
    async with running_hub() as hub:
        url = URL(f"http://127.0.0.1:{hub.port}{path}", encoded=True)
        async with hub.session.get(url) as response:
            problem = await response.json(content_type="application/problem+json")
    assert (response.status, problem["detail"]) == (400, "the URL is not valid UTF-8")
