"""Messages for answers that run: `POST /generations/{id}/steer` and `on_busy: steer`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import grpc
import pytest
from grpc.aio import AioRpcError

from hub.api.authentication import JwtAuthenticator
from hub.api.origins import AllowedOrigins
from hub.api.steering_requests import MAX_STEER_BODY_BYTES
from hub.api.tokens import FixedKeys
from hub.api.verifying_keys import secret_key
from hub.core.channel import user_channel
from hub.core.generation import GenerationUpdate, Status, UpdateKind
from hub.grpc import hub_pb2 as pb
from hub.grpc.hub_pb2_grpc import HubStub
from hub.ports.events import Publication
from hub_client import BadRequest, HubClient
from tests.defaults import token_reader
from tests.http.kit import ORIGINS, Hub, Stream, running_hub
from tests.http.test_external_producers import HEADERS, KEYS, start
from tests.http.test_topic_answers import ALICE as ALICE_IN_ROOM
from tests.http.test_topic_answers import BOB, SECRET, STREAMED, token

HI = {"role": "user", "content": "and a hat"}


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    """A node without authentication and without workers."""
    async with running_hub(keys=KEYS) as running:
        yield running


async def ask(hub: Hub, **body: Any) -> tuple[int, Any]:
    body = {"prompt": "hi", "upstream": "support", **body}
    return await hub.call("POST", "/generations?user=alice", json=body)


async def steer(
    hub: Hub, generation: str, message: Any = "and a hat", *, user: str = "alice", **more: Any
) -> tuple[int, Any]:
    path = f"/generations/{generation}/steer?user={user}"
    body = {"message": message, **more.pop("body", {})}
    return await hub.call("POST", path, json=body, **more)


async def update(hub: Hub, generation: str, kind: UpdateKind, **more: Any) -> None:
    event = Publication(
        channel=user_channel("alice"),
        name="generation.x",
        data=b'{"finish_reason":"stop","deltas":0}',
        update=GenerationUpdate(generation, 1, kind, **more),
    )
    await hub.backend.events.publish([event])


async def test_message_is_stored_and_seen_by_every_tab(hub: Hub) -> None:
    """202 with its number; the event is in the user's stream, and the worker is notified."""
    _, started = await ask(hub)
    generation = started["generation"]
    notices: Any = hub.backend.queue.notices()
    notice = asyncio.ensure_future(anext(notices))
    async with hub.stream("/sse/connect/alice") as stream:
        assert await steer(hub, generation) == (202, {"n": 0})
        event = await stream.next()
        assert event.name == "generation.steered"
        assert json.loads(event.data) == {
            "generation": generation, "n": 0, "message": HI, "by": "alice",
        }  # fmt: skip
        parts = [{"type": "text", "text": "and a hat"}]
        message = {"role": "user", "content": parts}
        assert await steer(hub, generation, message) == (202, {"n": 1})
        assert json.loads((await stream.next()).data)["message"] == message
    assert await notice == generation
    await notices.aclose()
    record = hub.backend.generations.records[generation]
    assert [each.by for each in record.steering] == ["alice"] * 2


async def test_event_in_the_stream_of_the_answer(hub: Hub) -> None:
    """Also a reader who has joined the answer gets it, and its fold does not change."""
    generation = (await start(hub))["generation"]
    path = f"/generations/{generation}?user=alice"
    async with hub.stream(path, headers=STREAMED) as stream:
        assert stream.opened.name == "generation.snapshot"
        await steer(hub, generation)
        assert (await stream.next()).name == "generation.steered"
    _, snapshot = await hub.call("GET", f"/generations/{generation}?user=alice")
    assert (snapshot["text"], snapshot["parts"], snapshot["deltas"]) == ("", [], 0)


async def test_repeated_message(hub: Hub) -> None:
    """The same id, in the body or the header, is the same message; another one is refused."""
    generation = (await ask(hub))[1]["generation"]
    more: Any
    for more in ({"body": {"id": "k"}}, {"headers": {"Idempotency-Key": "k"}}):
        assert await steer(hub, generation, **more) == (202, {"n": 0})
    status, problem = await steer(hub, generation, "another", body={"id": "k"})
    assert (status, problem["code"]) == (409, "idempotency_key_reused")
    assert len(hub.backend.generations.records[generation].steering) == 1


async def test_answers_that_take_no_message(hub: Hub) -> None:
    """A relay, one that has ended, another user's, and an unknown one."""
    relay = (await ask(hub, upstream="main"))[1]["generation"]
    ended = (await ask(hub))[1]["generation"]
    await update(hub, ended, UpdateKind.BEGIN)
    await update(hub, ended, UpdateKind.END, status=Status.DONE)
    other = (await ask(hub))[1]["generation"]
    for generation, user, expected in (
        (relay, "alice", (409, "not_steerable")),
        (ended, "alice", (409, "ended")),
        (other, "bob", (403, "generation_forbidden")),
        ("g00" + "0" * 16, "alice", (404, "generation_not_found")),
    ):
        status, problem = await steer(hub, generation, user=user)
        assert (status, problem["code"]) == expected
    assert all(not each.steering for each in hub.backend.generations.records.values())


@pytest.mark.parametrize(
    ("body", "status", "path", "words"),
    [
        ({}, 400, None, "missing required field `message`"),
        ({"message": ""}, 400, "message", "message is empty"),
        ({"message": 7}, 400, "message", "expected `str | object`"),
        ({"message": {"role": "system", "content": "x"}}, 400, "message", "is user"),
        ({"message": {"role": "user"}}, 400, "message", "message is empty"),
        ({"message": "x", "id": "a\nb"}, 400, "id", "CR, LF or NUL"),
        ({"message": "x", "mesage": 1}, 400, "mesage", "no field 'mesage'"),
        ({"message": "x" * MAX_STEER_BODY_BYTES}, 413, None, "bytes"),
    ],
)
async def test_wrong_messages(
    hub: Hub, body: dict[str, Any], status: int, path: str | None, words: str
) -> None:
    """One sentence names the field, and nothing is stored."""
    generation = (await ask(hub))[1]["generation"]
    got, problem = await hub.call("POST", f"/generations/{generation}/steer?user=alice", json=body)
    assert (got, problem.get("path")) == (status, path)
    assert words in problem["detail"]
    assert not hub.backend.generations.records[generation].steering


async def test_rights() -> None:
    """The asker of a topic's answer, with the scope `hub:ask` and while asking there is allowed."""
    reader = token_reader([FixedKeys([secret_key(SECRET)])])
    async with running_hub(JwtAuthenticator(reader, AllowedOrigins(ORIGINS))) as hub:
        body = {"prompt": "hi", "upstream": "support", "to": {"topic": "room:1"}}
        _, started = await hub.call("POST", "/generations", json=body, headers=ALICE_IN_ROOM)
        path = f"/generations/{started['generation']}/steer"
        rights = {"topics": ["room:*"], "ask_topics": ["room:*"]}
        for headers, expected in (
            (BOB, (403, "generation_forbidden")),
            (token("alice", **rights, scope="hub:stream"), (403, "scope_required")),
            (token("alice", topics=["room:*"]), (403, "topic_not_allowed")),
            (ALICE_IN_ROOM, (202, None)),
        ):
            status, answer = await hub.call("POST", path, json={"message": "x"}, headers=headers)
            assert (status, answer.get("code")) == expected


async def test_busy_chat(hub: Hub) -> None:
    """200 with the id of the running answer, which has the message; 202 for one that starts."""
    status, first = await ask(hub, chat="c", on_busy="steer", id="k1")
    assert status == 202
    body = {"chat": "c", "on_busy": "steer", "id": "k2", "prompt": "and a hat"}
    status, steered = await ask(hub, **body)
    assert (status, steered["generation"]) == (200, first["generation"])
    assert await ask(hub, **body) == (200, steered)
    record = hub.backend.generations.records[first["generation"]]
    assert [each.message for each in record.steering] == [HI]
    path = f"/sse/connect/alice?cursor={steered['cursor']}"
    async with hub.stream(path) as stream:
        assert (await stream.next()).name == "generation.steered"
    assert (await hub.backend.queue.list_jobs(10)).total == 1
    await update(hub, first["generation"], UpdateKind.BEGIN)
    await update(hub, first["generation"], UpdateKind.END, status=Status.DONE)
    assert (await ask(hub, chat="c", on_busy="steer"))[0] == 202
    assert await ask(hub, **body) == (200, steered)


async def test_busy_chat_of_a_relay(hub: Hub) -> None:
    """409, and nothing is started; without a running answer the relay answers as usual."""
    status, first = await ask(hub, chat="c", on_busy="steer", upstream="main")
    assert status == 202
    status, problem = await ask(hub, chat="c", on_busy="steer")
    assert (status, problem["code"]) == (409, "not_steerable")
    assert problem["generation"] == first["generation"]
    assert len(hub.backend.generations.records) == 1


async def test_busy_chat_of_every_interface(hub: Hub) -> None:
    """A streamed request, WebSocket, gRPC, the Python client and a backend get the running one."""
    _, first = await ask(hub, chat="c")
    body = {"chat": "c", "on_busy": "steer", "upstream": "support"}
    streamed: Any = {"json": {"prompt": "streamed", **body}, "headers": STREAMED}
    async with hub.ask("POST", "/generations?user=alice", **streamed) as response:
        event = await Stream(response).next()
        assert event.name == "generation.snapshot"
        assert json.loads(event.data)["generation"] == first["generation"]
    async with AsyncExitStack() as opened:
        url = f"http://127.0.0.1:{hub.port}/ws/connect/alice"
        socket = await opened.enter_async_context(hub.session.ws_connect(url))
        await socket.receive()
        await socket.send_json({"type": "generate", "body": {"prompt": "websocket", **body}})
        replies = [json.loads((await socket.receive()).data) for _ in range(2)]
        (reply,) = [each["data"] for each in replies if each["event"] == "hub.reply"]
        assert (reply["status"], reply["generation"]) == (200, first["generation"])
        await opened.enter_async_context(hub.serving_grpc())
        address = f"127.0.0.1:{hub.grpc_port}"
        channel = await opened.enter_async_context(grpc.aio.insecure_channel(address))
        fields: Any = {"user": "alice", "prompt": "grpc", "upstream": "support"}
        call = HubStub(channel).Generate(
            pb.GenerateRequest(**fields, chat="c", on_busy=pb.ON_BUSY_STEER)
        )
        (event,) = (await call.read()).events
        assert json.loads(event.data)["generation"] == first["generation"]
        call.cancel()
        client = HubClient(f"http://127.0.0.1:{hub.port}", user="alice")
        await opened.enter_async_context(client)
        answer = await client.ask("python", upstream="support", chat="c", on_busy="steer")
        assert answer.id == first["generation"]
    internal = {"to": {"user": "alice"}, "prompt": "backend", **body}
    status, started = await hub.call(
        "POST", "/generations", internal=True, headers=HEADERS, json=internal
    )
    assert (status, started["generation"]) == (200, first["generation"])
    record = hub.backend.generations.records[first["generation"]]
    sent = [each.message["content"] for each in record.steering]
    assert sent == ["streamed", "websocket", "grpc", "python", "backend"]


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"prompt": None, "messages": [{"role": "assistant", "content": "x"}]}, "messages[0]"),
        ({"prompt": None, "messages": [{"role": "user"}]}, "messages[0]"),
    ],
)
async def test_conversation_without_a_message_of_the_user(
    hub: Hub, body: dict[str, Any], path: str
) -> None:
    """400: nothing of it could be sent to a running answer."""
    status, problem = await ask(hub, chat="c", on_busy="steer", **body)
    assert (status, problem["path"]) == (400, path)


async def test_grpc_relay(hub: Hub) -> None:
    """The call ends as ABORTED."""
    await ask(hub, chat="c", upstream="main")
    async with AsyncExitStack() as opened:
        await opened.enter_async_context(hub.serving_grpc())
        address = f"127.0.0.1:{hub.grpc_port}"
        channel = await opened.enter_async_context(grpc.aio.insecure_channel(address))
        request = pb.GenerateRequest(user="alice", prompt="x", chat="c", on_busy=pb.ON_BUSY_STEER)
        with pytest.raises(AioRpcError, match="takes no messages"):
            await HubStub(channel).Generate(request).read()


async def test_python_client_error(hub: Hub) -> None:
    """The error names the running answer."""
    _, first = await ask(hub, chat="c", upstream="main")
    async with HubClient(f"http://127.0.0.1:{hub.port}", user="alice") as client:
        with pytest.raises(BadRequest) as caught:
            await client.ask("hi", chat="c", on_busy="steer")
        assert (caught.value.code, caught.value.generation) == (
            *("not_steerable", first["generation"]),
        )
