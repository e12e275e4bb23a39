"""`chat`, `on_busy` and the list of one's own answers: HTTP, WebSocket, gRPC and the client."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from grpc.aio import AioRpcError

from hub.core.channel import user_channel
from hub.core.generation import GenerationUpdate, Status, UpdateKind
from hub.grpc import hub_pb2 as pb
from hub.grpc.hub_pb2_grpc import HubStub
from hub.ports.events import Publication
from hub_client import BadRequest, HubClient
from tests.grpc.kit import details_of
from tests.http.kit import Hub, running_hub

ALICE = "?user=alice"


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    """A node without authentication and without workers."""
    async with running_hub() as hub:
        yield hub


async def ask(hub: Hub, **body: Any) -> tuple[int, Any]:
    return await hub.call("POST", f"/generations{ALICE}", json={"prompt": "hi", **body})


async def end(hub: Hub, generation: str) -> None:
    """Begin and end a generation, as a worker does."""
    for kind, status in ((UpdateKind.BEGIN, Status.RUNNING), (UpdateKind.END, Status.DONE)):
        update = GenerationUpdate(generation, 1, kind, status)
        publication = Publication(
            channel=user_channel("alice"),
            name="generation.x",
            data=b'{"finish_reason":"stop","deltas":0}',
            update=update,
        )
        await hub.backend.events.publish([publication])


async def test_busy_chat(hub: Hub) -> None:
    """409 with the id of the open answer; another chat and the end of the answer are free."""
    _, first = await ask(hub, chat="c", on_busy="reject")
    status, problem = await ask(hub, chat="c", on_busy="reject")
    assert (status, problem["code"]) == (409, "chat_busy")
    assert problem["generation"] == first["generation"]
    assert len(hub.backend.generations.records) == 1
    assert (await ask(hub, chat="d", on_busy="reject"))[0] == 202
    await end(hub, first["generation"])
    assert (await ask(hub, chat="c", on_busy="reject"))[0] == 202


async def test_interrupt_stops_a_queued_answer_at_once(hub: Hub) -> None:
    """The new answer gets its job as soon as the other has ended, which is here."""
    _, first = await ask(hub, chat="c")
    _, second = await ask(hub, chat="c", on_busy="interrupt")
    records = hub.backend.generations.records
    assert records[first["generation"]].status is Status.STOPPED
    lease = await hub.backend.queue.reserve(1)
    assert lease is not None
    assert lease.generation == second["generation"]


async def test_enqueued_answer_has_no_job(hub: Hub) -> None:
    """It is queued, and no worker gets it while the answer before it is open."""
    await ask(hub, chat="c")
    _, second = await ask(hub, chat="c", on_busy="enqueue")
    _, snapshot = await hub.call("GET", f"/generations/{second['generation']}{ALICE}")
    assert (snapshot["status"], snapshot["chat"]) == ("queued", "c")
    assert (await hub.backend.queue.list_jobs(10)).total == 1


@pytest.mark.parametrize(
    ("body", "path", "words"),
    [
        (
            *({"chat": "c", "on_busy": "wait"}, "on_busy"),
            "one of allow, reject, enqueue, interrupt, steer",
        ),
        ({"on_busy": "steer"}, "chat", "needs chat"),
        ({"chat": "c", "on_busy": ""}, "on_busy", "one of allow"),
        ({"on_busy": "reject"}, "chat", "needs chat"),
        ({"chat": ""}, "chat", "1 to 128 printable characters"),
        ({"chat": "x" * 129}, "chat", "1 to 128 printable characters"),
        ({"chat": "a\nb"}, "chat", "1 to 128 printable characters"),
        ({"chat": 7}, "chat", "expected `str"),
    ],
)
async def test_wrong_requests(hub: Hub, body: dict[str, Any], path: str, words: str) -> None:
    """One sentence names the field, and nothing is started."""
    status, problem = await ask(hub, **body)
    assert (status, problem["path"]) == (400, path)
    assert words in problem["detail"]
    assert not hub.backend.generations.records


async def test_null_means_absent(hub: Hub) -> None:
    """Clients that write null for absent fields ask as before."""
    assert (await ask(hub, chat=None, on_busy=None))[0] == 202


async def test_list_of_own_answers(hub: Hub) -> None:
    """Newest first, without those of other users, by chat and status, page by page."""
    started = [(await ask(hub, chat=f"c{n % 2}", metadata={"n": n}))[1] for n in range(5)]
    await hub.call("POST", "/generations?user=bob", json={"prompt": "hi"})
    ids = [each["generation"] for each in started]
    await end(hub, ids[1])

    async def listed(query: str = "") -> tuple[list[str], str | None]:
        status, page = await hub.call("GET", f"/generations{ALICE}{query}")
        assert status == 200
        return [each["generation"] for each in page["generations"]], page["next"]

    assert await listed() == (ids[::-1], None)
    first, following = await listed("&limit=2")
    assert first == ids[:2:-1]
    second, following = await listed(f"&limit=2&before={following}")
    assert second == [ids[2], ids[1]]
    assert await listed(f"&limit=2&before={following}") == ([ids[0]], None)
    assert await listed("&chat=c1") == ([ids[3], ids[1]], None)
    assert await listed("&chat=none") == ([], None)
    assert await listed("&before=unknown") == ([], None)
    assert await listed("&status=done") == ([ids[1]], None)
    _, page = await hub.call("GET", f"/generations{ALICE}&status=done")
    (done,) = page["generations"]
    assert (done["chat"], done["metadata"], done["finish_reason"]) == ("c1", {"n": 1}, "stop")
    assert (done["attempt"], done["model"], done["upstream"]) == (1, "m1", "main")
    assert not {"text", "messages", "parts"} & done.keys()


@pytest.mark.parametrize(
    ("query", "path"), [("limit=0", "limit"), ("limit=101", "limit"), ("status=x", "status")]
)
async def test_wrong_list(hub: Hub, query: str, path: str) -> None:
    """A value that the parameter cannot have is a 400 that names it."""
    status, problem = await hub.call("GET", f"/generations{ALICE}&{query}")
    assert (status, problem["path"]) == (400, path)


async def test_websocket(hub: Hub) -> None:
    """`generate` takes the same fields, and its reply has the running answer's id."""
    url = f"http://127.0.0.1:{hub.port}/ws/connect/alice"
    async with hub.session.ws_connect(url) as socket:
        await socket.receive()
        replies = []
        for _ in range(2):
            body = {"prompt": "hi", "chat": "c", "on_busy": "reject"}
            await socket.send_json({"type": "generate", "body": body})
            replies.append(json.loads((await socket.receive()).data)["data"])
    assert [each["status"] for each in replies] == [200, 409]
    assert replies[1]["code"] == "chat_busy"
    assert replies[1]["generation"] == replies[0]["generation"]


async def test_grpc(hub: Hub) -> None:
    """The call ends as ABORTED with the code, and its sentence names the running answer."""
    _, first = await ask(hub, chat="c")
    refused = pb.GenerateRequest(user="alice", prompt="x", chat="c", on_busy=pb.ON_BUSY_REJECT)
    unknown: Any = 9
    wrong = pb.GenerateRequest(user="alice", prompt="x", chat="c", on_busy=unknown)
    async with AsyncExitStack() as opened:
        await opened.enter_async_context(hub.serving_grpc())
        address = f"127.0.0.1:{hub.grpc_port}"
        channel = await opened.enter_async_context(grpc.aio.insecure_channel(address))
        stub = HubStub(channel)
        with pytest.raises(AioRpcError) as caught:
            await stub.Generate(refused).read()
        assert caught.value.code() is grpc.StatusCode.ABORTED
        assert first["generation"] in str(caught.value.details())
        information = ErrorInfo()
        (detail,) = [
            each for each in details_of(caught.value).details if each.Is(ErrorInfo.DESCRIPTOR)
        ]
        detail.Unpack(information)
        assert information.reason == "CHAT_BUSY"
        assert information.metadata["generation"].startswith("g")
        with pytest.raises(AioRpcError, match="on_busy must be one of"):
            await stub.Generate(wrong).read()


async def test_python_client(hub: Hub) -> None:
    """The error of `reject` has the id of the running answer."""
    async with HubClient(f"http://127.0.0.1:{hub.port}", user="alice") as client:
        first = await client.ask("hi", chat="c", on_busy="reject")
        with pytest.raises(BadRequest) as caught:
            await client.ask("hi", chat="c", on_busy="reject")
        assert (caught.value.status, caught.value.code) == (409, "chat_busy")
        assert caught.value.generation == first.id
