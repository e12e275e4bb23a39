"""The WebSocket mode of /v1/responses: access, order, limits, and ends of a connection."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import msgspec
import pytest

from hub.compat.openai_responses.websocket_view import ResponsesView
from hub.core.channel import user_channel
from hub.core.close_reason import CloseReason
from hub.core.cursor import Position
from hub.core.event import Event
from hub.core.generation import Status
from hub.engine.streams.connection import Connection
from hub.errors import BrokerUnavailable
from hub.ports.generations import CreatedGeneration
from hub.transports.websocket import WebSocketMessageEncoder
from tests.api.test_authentication import AUTHENTICATOR, token
from tests.compat.history import RECORD, STARTED, text_delta
from tests.compat.test_openresponses import CREATE, LOCAL, answer, read_turn, refused_turn, turn
from tests.compat.test_routes import Worker
from tests.doubles import until
from tests.http.kit import LIMITS, MAX_BODY, Hub, running_hub

pytestmark = pytest.mark.xdist_group("sdks")  # the checks of tests/compat/test_openresponses.py
Socket = aiohttp.ClientWebSocketResponse


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    """Run a node that needs no tokens."""
    async with running_hub() as hub:
        yield hub


@asynccontextmanager
async def web_socket(hub: Hub, query: str = "", **headers: str) -> AsyncIterator[Socket]:
    """Open the WebSocket mode."""
    url = f"http://127.0.0.1:{hub.port}/v1/responses{query}"
    async with hub.session.ws_connect(url, headers=headers) as socket:
        yield socket


def connection_of(hub: Hub) -> Connection:
    """Return the only connection."""
    (connection,) = hub.node.connections.connections
    return connection


async def read_end(socket: Socket) -> tuple[list[dict[str, Any]], int | None]:
    """Return the rest of the messages, and the close code."""
    events = []
    async with asyncio.timeout(60):
        while (message := await socket.receive()).type is aiohttp.WSMsgType.TEXT:
            events.append(json.loads(message.data))
    return events, socket.close_code


BEARER = {"Authorization": f"Bearer {token()}"}
ACCESS: tuple[tuple[str, dict[str, str], int], ...] = (
    ("", {}, 401),
    ("", {"Authorization": "Bearer nonsense"}, 401),
    ("", {**BEARER, "Origin": "https://evil.example"}, 403),
    (f"?access_token={token()}", {}, 101),
    ("", {**BEARER, "Origin": "https://app.example"}, 101),
)


async def test_access() -> None:
    """The upgrade needs what a request needs, and a page of another site may not open it."""
    async with running_hub(AUTHENTICATOR) as hub:
        for query, headers, status in ACCESS:
            if status == 101:
                async with web_socket(hub, query, **headers) as socket:
                    assert await refused_turn(socket, {"type": "x"}) == (400, "invalid_field")
                continue
            with pytest.raises(aiohttp.WSServerHandshakeError) as failure:
                async with web_socket(hub, query, **headers):
                    pass
            assert failure.value.status == status


async def test_request_without_upgrade(hub: Hub) -> None:
    """A GET that is not for WebSocket gets 426 in OpenAI's form; Codex then uses HTTP."""
    async with hub.ask("GET", "/v1/responses") as response:
        assert response.status == 426
        assert response.headers["Upgrade"] == "websocket"
        assert (await response.json())["error"]["code"] == "websocket_required"


async def test_limit_of_streams_from_one_address() -> None:
    """A connection counts like a stream, and a refused one gets its HTTP status."""
    limits = msgspec.structs.replace(LIMITS, max_per_address=1)
    async with running_hub(limits=limits) as hub, web_socket(hub):
        with pytest.raises(aiohttp.WSServerHandshakeError) as failure:
            async with web_socket(hub):
                pass
        assert failure.value.status == 429


BAD_MESSAGES = (
    ("{", "invalid_json"),
    ("[]", "invalid_request"),
    ('{"model":"m1"}', "invalid_request"),
    ('{"type":7}', "invalid_field"),
    ('{"type":"response.cancel"}', "invalid_field"),
    ('{"type":"response.create","model":"m1"}', "invalid_request"),
    ('{"type":"response.create","input":[]}', "invalid_field"),
    ('{"type":"response.create","input":"x","generate":1}', "invalid_field"),
    ('{"type":"response.create","input":"x","background":true}', "unsupported_parameter"),
    ('{"type":"response.create","input":"x","conversation":"c"}', "unsupported_parameter"),
    ('{"type":"response.create","input":"x","model":"main/none"}', "unknown_upstream"),
    ('{"type":"response.create","input":[{"id":"msg_1"}]}', "previous_response_not_found"),
    ('{"type":"response.create","input":"\\ud800"}', "invalid_json"),
)


async def test_bad_message_is_an_error_and_no_end(hub: Hub) -> None:
    """Each wrong message gets one event `error`, and the connection goes on."""
    async with web_socket(hub) as socket:
        for message, code in BAD_MESSAGES:
            await socket.send_str(message)
            (event,) = await read_turn(socket)
            expected = ("error", 400, code)
            assert (event["type"], event["status"], event["error"]["code"]) == expected, message
        await turn(hub, socket, CREATE, input="hi")


async def test_fault_of_the_broker_is_an_error_and_no_end(hub: Hub) -> None:
    """A message that cannot be handled now gets its status; the next one may succeed."""
    start, node = hub.node.generations.start, hub.node.generations

    async def away(*args: Any, **more: Any) -> CreatedGeneration:
        raise BrokerUnavailable("redis://secret-host is away")

    node.start = away  # type: ignore[method-assign]
    async with web_socket(hub) as socket:
        await socket.send_json({**CREATE, "input": "x"})
        (event,) = await read_turn(socket)
        assert (event["status"], event["error"]["code"]) == (503, "broker_unavailable")
        assert "secret" not in event["error"]["message"]
        node.start = start  # type: ignore[method-assign]
        await turn(hub, socket, CREATE, input="hi")


async def test_one_response_after_another(hub: Hub) -> None:
    """Messages that arrive early wait: each answer starts when the one before has ended."""
    async with web_socket(hub) as socket:
        worker = Worker(hub)
        for text in ("one", "two", "three"):
            await socket.send_json({**CREATE, "input": text})
        for text in ("one", "two", "three"):
            assert len(hub.backend.generations.records) <= ("one", "two", "three").index(text) + 1
            assert await answer(worker) == [("user", text)]
            worker = Worker(hub)
        for _ in range(3):
            events = await read_turn(socket)
            assert [event["sequence_number"] for event in events] == [*range(len(events))]


async def test_too_many_messages(hub: Hub) -> None:
    """What waits is bounded in number and bytes; a refusal does not end the connection."""
    async with web_socket(hub) as socket:
        worker = Worker(hub)
        await socket.send_json({**CREATE, "input": "first"})
        await worker.take()
        for _ in range(17):
            await socket.send_json({"type": "x"})
        await until(lambda: hub.node.metrics.refused["messages"] == 1)
        await worker.end(Status.STOPPED)
        codes = [(await read_turn(socket))[-1] for _ in range(18)]
        assert [event["type"] for event in codes].count("error") == 17
        assert [event for event in codes if event.get("status") == 429]
        worker = Worker(hub)
        await socket.send_json({**CREATE, "input": "first"})
        await worker.take()
        for _ in range(2):
            await socket.send_json({**CREATE, "input": "x" * (MAX_BODY // 2)})
        await until(lambda: hub.node.metrics.refused["messages"] == 2)


async def test_message_that_is_too_large_ends_the_connection(hub: Hub) -> None:
    """A message may be as large as a request, and no larger."""
    async with web_socket(hub) as socket:
        await socket.send_str("x" * (MAX_BODY + 1))
        assert (await read_end(socket)) == ([], 1009)


async def test_other_answers_of_the_user_are_not_shown(hub: Hub) -> None:
    """Only the response that the message asked for is on the connection, from its first event."""
    other = Worker(hub)
    await hub.call("POST", "/generations?user=dev", json={"prompt": "x"})
    await other.take()
    async with web_socket(hub, "?user=dev") as socket:
        worker = Worker(hub)
        await socket.send_json({**CREATE, "input": "hi"})
        await worker.take()
        await other.send_text("secret")
        await worker.send_text("mine")
        await other.end()
        await worker.end()
        events = await read_turn(socket)
        assert "secret" not in json.dumps(events)
        assert events[-1]["response"]["output"][0]["content"][0]["text"] == "mine"


@pytest.mark.parametrize("deltas", [3, 300])
async def test_events_before_the_start_has_returned(hub: Hub, deltas: int) -> None:
    """A fast worker publishes before the node knows the id. No event is lost; if there are too
    many to keep, the response fails instead of showing a part.
    """
    start, generations = hub.node.generations.start, hub.node.generations
    old = Worker(hub)
    await hub.call("POST", "/generations?user=dev", json={"prompt": "x"})
    await old.take()

    async def late(*args: Any, **more: Any) -> CreatedGeneration:
        worker = Worker(hub)
        created = await start(*args, **more)
        await old.send_text("of another answer")
        await answer(worker, *[{"text": f"{n} "} for n in range(deltas)])
        await until(lambda: connection_of(hub).positions == {
            user_channel("dev"): hub.backend.events.head_of(user_channel("dev"))
        })  # fmt: skip
        return created

    generations.start = late  # type: ignore[method-assign]
    async with web_socket(hub, "?user=dev") as socket:
        await socket.send_json({**CREATE, "input": "hi"})
        events = await read_turn(socket)
        last = events[-1]["response"]
        if deltas == 3:
            assert last["output"][0]["content"][0]["text"] == "0 1 2 "
        else:
            assert (last["status"], last["error"]["code"]) == ("failed", "log_trimmed")
        generations.start = start  # type: ignore[method-assign]
        await turn(hub, socket, CREATE, input="again")


async def test_failed_response_has_one_end(hub: Hub) -> None:
    """`response.failed` is the only end of a response that has begun, because the client counts the
    ends of its responses.
    """
    async with web_socket(hub) as socket:
        worker = Worker(hub)
        await socket.send_json({**CREATE, "input": "hi"})
        await worker.take()
        await worker.send_text("half")
        await worker.end(Status.FAILED, code="upstream_truncated", message="it broke off")
        events = await read_turn(socket)
        assert events[-1]["type"] == "response.failed"
        assert events[-1]["response"]["error"]["code"] == "upstream_truncated"
        await turn(hub, socket, CREATE, input="again")


async def test_log_that_was_trimmed_fails_the_response(hub: Hub) -> None:
    """The response ends with an error, and the connection serves the next message."""
    async with web_socket(hub, "?user=dev") as socket:
        worker = Worker(hub)
        await socket.send_json({**CREATE, "input": "hi"})
        await worker.take()
        await worker.send_text("half")
        await until(lambda: connection_of(hub).events == 2)
        hub.backend.events.begin_new_epoch(user_channel("dev"))
        await worker.send_text("more")
        assert (await read_turn(socket))[-1]["response"]["error"]["code"] == "log_trimmed"
        await turn(hub, socket, CREATE, input="again")


@pytest.mark.parametrize("stops", [True, False])
async def test_disconnect_of_the_client(hub: Hub, stops: bool) -> None:
    """`on_disconnect: stop` stops the generation; otherwise it continues."""
    more = {"on_disconnect": "stop"} if stops else {}
    async with web_socket(hub) as socket:
        worker = Worker(hub)
        await socket.send_json({**CREATE, "input": "hi", **more})
        await worker.take()
        await worker.send_text("half")
        await socket.receive()
    await until(lambda: not hub.node.connections.connections)
    record = hub.backend.generations.records[worker.id]
    if stops:
        await until(lambda: hub.backend.generations.records[worker.id].stop_requested_by == "dev")
    else:
        assert record.stop_requested_by is None


async def test_disconnect_while_the_generation_starts(hub: Hub) -> None:
    """A client that leaves before the start has returned still stops its generation; the messages
    that waited start nothing.
    """
    start, generations = hub.node.generations.start, hub.node.generations
    starting, proceed = asyncio.Event(), asyncio.Event()

    async def late(*args: Any, **more: Any) -> CreatedGeneration:
        starting.set()
        await proceed.wait()
        return await start(*args, **more)

    generations.start = late  # type: ignore[method-assign]
    async with web_socket(hub) as socket:
        for _ in range(2):
            await socket.send_json({**CREATE, "input": "hi", "on_disconnect": "stop"})
        await starting.wait()
    await until(lambda: not hub.node.connections.connections)
    proceed.set()
    records = hub.backend.generations.records
    await until(lambda: [each.stop_requested_by for each in records.values()] == ["dev"])


ENDS = (
    (CloseReason.DRAINING, 1012, None),
    (CloseReason.BROKER_AWAY, 1012, None),
    (CloseReason.TOO_OLD, 1012, "websocket_connection_limit_reached"),
    (CloseReason.EXPIRED, 1008, "expired"),
    (CloseReason.DISCONNECTED, 1008, "disconnected"),
)


@pytest.mark.parametrize("is_busy", [True, False])
async def test_end_by_the_hub(hub: Hub, is_busy: bool) -> None:
    """SDKs reconnect after 1012. What is final has an error, and no response looks complete.
    Nothing follows the close, whatever happens to the answer.
    """
    for reason, code, error in ENDS:
        async with web_socket(hub) as socket:
            worker = Worker(hub)
            if is_busy:
                await socket.send_json({**CREATE, "input": "hi"})
                await worker.take()
                await worker.send_text("half")
                async with asyncio.timeout(60):
                    while "delta" not in json.loads(await socket.receive_str()):
                        pass
            await until(lambda: bool(connection_of(hub).positions))
            connection = connection_of(hub)
            connection.close(reason)
            connection.close(CloseReason.DISCONNECTED)
            if is_busy:
                await worker.send_text("more")
                await worker.end()
            events, close_code = await read_end(socket)
            assert close_code == code
            assert [event["error"]["code"] for event in events] == ([error] if error else [])


async def test_prepared_response(hub: Hub) -> None:
    """`generate: false` prepares a response that the next message continues; the LLM gets both
    inputs at once. Another connection does not know it.
    """
    async with web_socket(hub) as socket:
        first = {**LOCAL, "instructions": "be brief", "input": "context", "generate": False}
        await socket.send_json(first)
        prepared = (await read_turn(socket))[-1]["response"]
        assert (prepared["status"], prepared["output"]) == ("completed", [])
        assert prepared["usage"]["total_tokens"] == 0
        assert not hub.backend.generations.records
        response, messages = await turn(
            hub, socket, LOCAL, previous_response_id=prepared["id"], input="now"
        )
        assert messages == [("user", "context"), ("user", "now")]
        assert response["previous_response_id"] == prepared["id"]
        _, messages = await turn(
            hub, socket, LOCAL, previous_response_id=response["id"], input="and"
        )
        assert len(messages) == 4
    async with web_socket(hub) as socket:
        more = {"previous_response_id": prepared["id"], "input": "now"}
        assert (await refused_turn(socket, LOCAL, **more))[1] == "previous_response_not_found"


@pytest.mark.parametrize("gap_at", range(4))
def test_gap_before_the_start_has_returned(gap_at: int) -> None:
    """A response of whose first events some may be missing fails, however many follow the gap."""
    view, encoder, channel = ResponsesView(), WebSocketMessageEncoder(), user_channel("alice")
    view.expect()
    for n, (name, data) in enumerate([STARTED, text_delta("a"), text_delta("b"), text_delta("c")]):
        if n == gap_at:
            view.reset(channel, "trimmed", encoder)
        view.encode(Event(channel, name, data, Position("e0000", n + 1)), encoder)
    assert b'"code":"log_trimmed"' in view.begin(RECORD)


async def test_message_on_a_connection_that_cannot_open(hub: Hub) -> None:
    """A message that was not handled before the end starts nothing: the client sends it again."""
    has_message, started = asyncio.Event(), asyncio.Event()

    async def read(*args: Any, **more: Any) -> Any:
        await has_message.wait()
        raise BrokerUnavailable("away")

    async def start(*args: Any, **more: Any) -> CreatedGeneration:
        started.set()
        raise BrokerUnavailable("away")

    hub.node.generations.start = start  # type: ignore[method-assign]
    hub.backend.events.read = read  # type: ignore[method-assign]
    async with web_socket(hub) as socket:
        await socket.send_json({**CREATE, "input": "hi"})
        await until(lambda: "response" in [task.get_name() for task in asyncio.all_tasks()])
        has_message.set()
        assert await read_end(socket) == ([], 1012)
    await until(lambda: "response" not in [task.get_name() for task in asyncio.all_tasks()])
    assert not started.is_set()
