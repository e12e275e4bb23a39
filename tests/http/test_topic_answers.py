"""Answers of a topic: who may ask, read, stop and restart them, and what everybody there gets."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import jwt
import pytest
from grpc.aio import AioRpcError

from hub.api.api_keys import ApiKey, ApiKeys, hash_key
from hub.api.authentication import JwtAuthenticator
from hub.api.origins import AllowedOrigins
from hub.api.tokens import FixedKeys
from hub.api.verifying_keys import secret_key
from hub.core.parts import Data, Finished, Text
from hub.engine.worker.relay import Relay
from hub.engine.worker.worker import Worker
from hub.grpc import hub_pb2 as pb
from hub.grpc.hub_pb2_grpc import HubStub
from tests.defaults import token_reader
from tests.doubles import RELAY_LIMITS, FakeClock, Gate, ScriptedUpstream, until
from tests.http.kit import ORIGINS, Hub, Stream, running_hub

SECRET = "s" * 64
STREAMED = {"Accept": "text/event-stream"}
ROOM = {"to": {"topic": "room:1"}}


def token(user: str, **claims: Any) -> dict[str, str]:
    body = {"sub": user, "exp": int(time.time()) + 86400, **claims}
    return {"Authorization": f"Bearer {jwt.encode(body, SECRET, algorithm='HS256')}"}


ALICE = token("alice", topics=["room:*"], ask_topics=["room:*"])
BOB = token("bob", topics=["room:1"])
CAROL = token("carol", topics=["other"], ask_topics=["room:1"])


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    """A node with tokens and without workers."""
    reader = token_reader([FixedKeys([secret_key(SECRET)])])
    async with running_hub(JwtAuthenticator(reader, AllowedOrigins(ORIGINS))) as hub:
        yield hub


@asynccontextmanager
async def worker(hub: Hub, *script: Any) -> AsyncIterator[None]:
    """Run a worker whose upstream answers with these parts."""
    upstreams = {"main": ScriptedUpstream([*script, Finished("stop")])}
    store = hub.backend.generations
    relay = Relay(hub.backend.events, store, upstreams, FakeClock(), RELAY_LIMITS)
    worker = Worker(hub.backend.queue, store, relay, FakeClock(), concurrency=9, lease_seconds=60.0)
    tasks = [asyncio.create_task(each()) for each in (worker.run_fetch, worker.run_notices)]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await worker.shut_down(0, asyncio.Event())


async def ask(hub: Hub, user: dict[str, str], **body: Any) -> tuple[int, Any]:
    request = {"prompt": "a secret question", **ROOM, **body}
    return await hub.call("POST", "/generations", json=request, headers=user)


async def read_until(stream: Stream, last: str) -> list[tuple[str, Any]]:
    events: list[tuple[str, Any]] = []
    while not events or events[-1][0] != last:
        event = await stream.next()
        events.append((event.name or "", json.loads(event.data)))
    return events


@pytest.mark.parametrize(
    ("user", "body", "status", "code"),
    [
        (ALICE, {}, 202, None),
        (CAROL, {}, 202, None),  # who may ask there, and not follow
        (BOB, {}, 403, "topic_not_allowed"),
        (ALICE, {"to": {"topic": "other"}}, 403, "topic_not_allowed"),
        (ALICE, {"to": {"topic": "a b"}}, 400, "invalid_topic"),
        (ALICE, {"to": {"topic": "room:*"}}, 400, "invalid_topic"),
        (ALICE, {"to": {}}, 400, "invalid_field"),
        (ALICE, {"to": {"topic": "room:1", "user": "alice"}}, 202, None),
        (ALICE, {"to": {"topic": "room:1", "user": "bob"}}, 403, "user_mismatch"),
        (ALICE, {"to": {"all": True}}, 400, "unknown_field"),
        (ALICE, {"to": {"user": "bob"}}, 403, "user_mismatch"),
        (BOB, {"to": {"user": "bob"}}, 202, None),
        (BOB, {"to": None}, 202, None),
    ],
)
async def test_who_may_ask(
    hub: Hub, user: dict[str, str], body: dict[str, Any], status: int, code: str | None
) -> None:
    """The claim `ask_topics` decides, whatever topics the token may follow."""
    answer = await ask(hub, user, **body)
    assert (answer[0], answer[1].get("code")) == (status, code)
    assert len(hub.backend.generations.records) == (1 if status == 202 else 0)


@pytest.mark.parametrize("claim", ["room:1", [7], {"a": 1}, True])
async def test_claim_that_is_no_list(hub: Hub, claim: Any) -> None:
    """It is a 401 that names the claim."""
    status, problem = await ask(hub, token("alice", ask_topics=claim))
    assert (status, problem["code"]) == (401, "token_claims_invalid")
    assert "ask_topics must be a list of topic names" in problem["detail"]


async def test_everybody_in_the_topic_gets_the_events(hub: Hub) -> None:
    """Its followers see the whole answer and who asked; the asker's own channel stays empty."""
    async with (
        hub.stream("/sse/connect?topics=room:1", headers=BOB) as bob,
        hub.stream("/sse/connect/alice", headers=ALICE) as alice,
        worker(hub, Text("Hel"), Text("lo")),
    ):
        status, started = await ask(hub, ALICE)
        assert status == 202
        events = await read_until(bob, "generation.done")
        await hub.publish(to={"user": "alice"}, event="marker", data=1)
        assert (await alice.next()).name == "marker"
    names = [name for name, _ in events]
    assert names == ["generation.started", *["generation.delta"] * (len(names) - 2), names[-1]]
    first = {"generation": started["generation"], "attempt": 1, "model": "m1", "user": "alice"}
    assert events[0][1] == first
    assert "secret question" not in str(events)
    path = f"/sse/connect?topics=room:1&cursor={started['cursor']}"
    async with hub.stream(path, headers=BOB) as late:
        assert await read_until(late, "generation.done") == events


async def test_everybody_in_the_topic_joins(hub: Hub) -> None:
    """A snapshot and the rest, or a replay in another format; without the messages."""
    gate = Gate()
    gate.close()
    async with worker(hub, Text("Hel"), Data("d", 1), gate, Text("lo")):
        _, started = await ask(hub, ALICE, metadata={"secret": 1})
        path = f"/generations/{started['generation']}"
        await until(lambda: gate.waiting == 1)
        for user in (BOB, ALICE):
            async with hub.ask("GET", path, headers={**user, **STREAMED}) as response:
                assert response.status == 200
                stream = Stream(response)
                _, snapshot = (await read_until(stream, "generation.snapshot"))[0]
                assert snapshot["text"] == "Hel"
                if user is ALICE:
                    gate.open()
                    rest = await read_until(stream, "generation.done")
                    assert ("generation.delta", "lo") in [(n, d.get("text")) for n, d in rest]
    for user, sees_request in ((BOB, False), (ALICE, True)):
        status, record = await hub.call("GET", path, headers=user)
        assert (status, record["text"], record["topic"]) == (200, "Hello", "room:1")
        assert record["user"] == "alice"
        assert ("messages" in record, "metadata" in record) == (sees_request, sees_request)
        assert ("secret" in str(record)) is sees_request
        async with hub.ask("GET", f"{path}?shape=cumulative", headers=user) as response:
            assert "Hel" in await response.text()


@pytest.mark.parametrize("user", [CAROL, token("dave"), token("dave", topics=["room", "room:1x"])])
async def test_nobody_else_reads(hub: Hub, user: dict[str, str]) -> None:
    """Whoever may not follow the topic is refused, on every route."""
    _, started = await ask(hub, ALICE)
    path = f"/generations/{started['generation']}"
    for route in (path, f"{path}/stream", f"{path}?shape=cumulative"):
        status, problem = await hub.call("GET", route, headers=user)
        assert (status, problem["code"]) == (403, "generation_forbidden")


async def test_only_the_asker_stops_and_restarts(hub: Hub) -> None:
    """Others who may read it, or ask there, are refused."""
    _, started = await ask(hub, ALICE)
    path = f"/generations/{started['generation']}"
    other = token("bob", topics=["room:1"], ask_topics=["room:1"])
    compat = f"/v1/responses/resp_{started['generation']}"
    for method, route in (
        ("DELETE", path),
        ("POST", f"{path}/restart"),
        ("DELETE", f"/v1/ui/chat/{started['generation']}"),
        ("POST", f"{compat}/cancel"),
        ("DELETE", compat),
        ("GET", compat),
    ):
        status, _ = await hub.call(method, route, headers=other)
        assert status in (403, 404), (method, route)
    record = hub.backend.generations.records[started["generation"]]
    assert record.stop_requested_by is None
    status, _ = await hub.call("DELETE", path, headers=ALICE)
    assert status == 202
    async with hub.stream(
        f"/sse/connect?topics=room:1&cursor={started['cursor']}", headers=BOB
    ) as stream:
        assert (await stream.next()).name == "generation.stopped"
    without = token("alice", topics=["room:*"])  # the right to ask there was withdrawn
    status, problem = await hub.call("POST", f"{path}/restart", headers=without)
    assert (status, problem["code"]) == (403, "topic_not_allowed")
    status, again = await hub.call("POST", f"{path}/restart", headers=ALICE)
    assert status == 202
    assert hub.backend.generations.records[again["generation"]].request.topic == "room:1"


async def test_scopes_hold_in_topics(hub: Hub) -> None:
    """`ask_topics` needs `hub:ask`, and reading needs `hub:stream`."""
    claims = {"topics": ["room:1"], "ask_topics": ["room:1"]}
    only_asks, only_reads = (token("alice", scope=s, **claims) for s in ("hub:ask", "hub:stream"))
    assert (await ask(hub, only_reads))[1]["code"] == "scope_required"
    _, started = await ask(hub, only_asks)
    path = f"/generations/{started['generation']}"
    assert (await hub.call("GET", path, headers=only_asks))[1]["code"] == "scope_required"
    assert (await hub.call("GET", path, headers=only_reads))[0] == 200


async def test_list_chat_and_key(hub: Hub) -> None:
    """The asker's list has it; the chat is the topic's; a key counts within the topic."""
    dora = token("dora", ask_topics=["room:1"])
    _, first = await ask(hub, ALICE, chat="c", on_busy="reject", id="k")
    assert (await ask(hub, ALICE, chat="c", on_busy="reject", id="k"))[1] == first
    status, problem = await ask(hub, dora, chat="c", on_busy="interrupt")
    assert (status, problem["code"], problem["generation"]) == (
        *(409, "chat_busy"),
        first["generation"],
    )
    assert (await ask(hub, ALICE, chat="c", on_busy="reject", to=None))[0] == 202
    status, problem = await ask(hub, ALICE, id="k", prompt="another question")
    assert (status, problem["code"]) == (409, "idempotency_key_reused")
    _, listed = await hub.call("GET", "/generations", headers=ALICE)
    assert [each.get("topic") for each in listed["generations"]].count("room:1") == 1
    assert (await hub.call("GET", "/generations", headers=dora))[1]["generations"] == []


async def test_websocket_with_a_ticket(hub: Hub) -> None:
    """A ticket inherits `ask_topics`; the events come to the connection that follows the topic."""
    for user, expected in ((ALICE, 200), (BOB, 403)):
        _, made = await hub.call("POST", "/tickets", headers=user)
        url = f"http://127.0.0.1:{hub.port}/ws/connect?topics=room:1&ticket={made['ticket']}"
        async with hub.session.ws_connect(url) as socket:
            body = {"prompt": "hi", **ROOM}
            await socket.send_json({"type": "generate", "body": body})
            while (message := json.loads((await socket.receive()).data))["event"] != "hub.reply":
                pass
            assert message["data"]["status"] == expected


async def test_dev_may_ask_everywhere() -> None:
    """`hub dev` needs no claim."""
    async with running_hub() as hub:
        status, _ = await hub.call("POST", "/generations?user=alice", json={"prompt": "hi", **ROOM})
    assert status == 202


async def test_grpc(hub: Hub) -> None:
    """`topic` of a call means the same; the call streams the answer."""
    async with (
        hub.serving_grpc(),
        grpc.aio.insecure_channel(f"127.0.0.1:{hub.grpc_port}") as channel,
        worker(hub, Text("Hel"), Text("lo")),
    ):
        for user, expected in ((ALICE, None), (BOB, grpc.StatusCode.PERMISSION_DENIED)):
            metadata = [("authorization", user["Authorization"])]
            request = pb.GenerateRequest(prompt="hi", topic="room:1")
            events: list[Any] = []
            status = None
            try:
                async for batch in HubStub(channel).Generate(request, metadata=metadata):
                    events += batch.events
            except AioRpcError as error:
                status = error.code()
            assert status is expected
            texts = [json.loads(each.data).get("text", "") for each in events]
            assert ("Hello" in "".join(texts)) is (expected is None)


async def test_reader_resumes(hub: Hub) -> None:
    """The cursor of an event in the answer's stream continues after it, and 204 after its end."""
    async with worker(hub, Text("a"), Data("d", 1), Text("b")):
        _, started = await ask(hub, ALICE)
        path = f"/generations/{started['generation']}"
        headers = {**BOB, **STREAMED, "Last-Event-ID": started["cursor"]}
        async with hub.ask("GET", path, headers=headers) as response:
            stream, ids, seen = Stream(response), list[str | None](), list[str | None]()
            while not seen or seen[-1] != "generation.done":
                event = await stream.next()
                seen.append(event.name)
                ids.append(event.id)
        assert seen[0] == "generation.started"
        for n, event_id in enumerate(ids[:-1]):
            headers["Last-Event-ID"] = event_id or ""
            async with hub.ask("GET", path, headers=headers) as response:
                rest = [name for name, _ in await read_until(Stream(response), "generation.done")]
            assert rest == seen[n + 1 :]
        async with hub.ask("GET", path, headers={**headers, "Last-Event-ID": ids[-1]}) as response:
            assert response.status == 204


@pytest.mark.parametrize(("to_user", "by"), [(None, ""), ("alice", "alice")])
async def test_backend_asks_in_a_topic(to_user: str | None, by: str) -> None:
    """On the internal listener the scope `produce` suffices; the asker, if any, may stop it."""
    keys = ApiKeys([ApiKey("app", hash_key("app-key"), frozenset({"produce"}))])
    headers = {"Authorization": "Bearer app-key"}
    to = {"topic": "room:1"} if to_user is None else {"topic": "room:1", "user": to_user}
    reader = token_reader([FixedKeys([secret_key(SECRET)])])
    async with (
        running_hub(JwtAuthenticator(reader, AllowedOrigins(ORIGINS)), keys) as hub,
        hub.stream("/sse/connect?topics=room:1", headers=BOB) as bob,
    ):
        body = {"to": to, "producer": "external", "model": "agent", "id": "k"}
        status, made = await hub.call(
            "POST", "/generations", internal=True, json=body, headers=headers
        )
        assert status == 201
        parts = [{"seq": 0, "type": "text", "text": "hi"}, {"seq": 1, "type": "end"}]
        path = f"/generations/{made['generation']}"
        _, posted = await hub.call(
            "POST",
            f"{path}/parts",
            internal=True,
            json=parts[:1],
            headers={**headers, "Hub-Lease": made["lease"]},
        )
        assert posted["ack"] == 0
        assert (await hub.call("GET", path, headers=BOB))[1]["text"] == "hi"
        status, _ = await hub.call("DELETE", path, headers=ALICE)
        assert status == (202 if by else 403)
        if not by:
            await hub.call(
                "POST",
                f"{path}/parts",
                internal=True,
                json=parts[1:],
                headers={**headers, "Hub-Lease": made["lease"]},
            )
        events = await read_until(bob, "generation.stopped" if by else "generation.done")
        assert events[0][1].get("user", "") == by
        async with worker(hub, Text("from an upstream")):
            body = {"to": to, "prompt": "hi"}
            status, _ = await hub.call(
                "POST", "/generations", internal=True, json=body, headers=headers
            )
            assert status == 202
            await read_until(bob, "generation.done")
