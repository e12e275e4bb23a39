"""What every transport must do: one suite with the same script, over a real socket."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from unittest.mock import patch
from urllib.parse import quote

import aiohttp
import grpc
import jwt
import pytest

from hub.api.authentication import JwtAuthenticator
from hub.api.origins import AllowedOrigins
from hub.api.tokens import FixedKeys
from hub.api.verifying_keys import secret_key
from hub.core.channel import ALL, user_channel
from hub.core.cursor import parse_cursor
from hub.core.sse_decoder import SseDecoder
from hub.errors import BrokerUnavailable
from hub.grpc import hub_pb2 as pb
from hub.grpc.hub_pb2_grpc import HubStub
from tests.defaults import token_reader
from tests.doubles import until
from tests.http.kit import Hub, running_hub

SECRET = "s" * 64
ALICE = user_channel("alice")
Seen = tuple[str, str, Any]  # cursor, event, data


class Reader:
    """A client of one transport: its events, one after the other."""

    def __init__(self, hub: Hub, transport: str, headers: dict[str, str]) -> None:
        self._hub = hub
        self._transport = transport
        self._headers = headers
        self._events: asyncio.Queue[Seen | None] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None
        self.cursor = ""
        self.close_code: int | None = None
        self.status: grpc.StatusCode | None = None
        self.socket: aiohttp.ClientWebSocketResponse
        self.channels: list[str | None] = []

    async def start(self, path: str, cursor: str) -> None:
        self.cursor = cursor
        work = {
            "sse": self._sse,
            "post": self._post,
            "ndjson": self._ndjson,
            "poll": self._poll,
            "ws": self._ws,
            "grpc": self._grpc,
        }
        self._task = asyncio.create_task(work[self._transport](path))

    async def next(self) -> Seen:
        """Return the next event. Raise EOFError when the hub has ended the stream."""
        async with asyncio.timeout(60):
            event = await self._events.get()
        if event is None:
            raise EOFError
        return event

    async def stop(self) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    def _take(self, cursor: str, event: str, data: Any) -> None:
        self.cursor = cursor or self.cursor
        if event != "hub.open":
            self._events.put_nowait((self.cursor, event, data))

    async def _sse(self, path: str) -> None:
        headers = {**self._headers, "Last-Event-ID": self.cursor} if self.cursor else self._headers
        async with self._hub.ask("GET", f"/sse/connect{path}", headers=headers) as response:
            await self._read_sse(response)

    async def _post(self, path: str) -> None:
        body = {"cursor": self.cursor} if self.cursor else {}
        route = f"/sse/connect{path}"
        async with self._hub.ask("POST", route, json=body, headers=self._headers) as response:
            await self._read_sse(response)

    async def _read_sse(self, response: aiohttp.ClientResponse) -> None:
        decoder = SseDecoder()
        async for chunk in response.content.iter_any():
            for event in decoder.feed(chunk):
                self._take(event.id, event.name, json.loads(event.data))
        self._events.put_nowait(None)

    async def _ndjson(self, path: str) -> None:
        headers = {**self._headers, "Accept": "application/x-ndjson"}
        if self.cursor:
            headers["Last-Event-ID"] = self.cursor
        async with self._hub.ask("GET", f"/sse/connect{path}", headers=headers) as response:
            assert response.content_type == "application/x-ndjson"
            async for line in response.content:
                if line.strip():
                    message = json.loads(line)
                    self.channels.append(message.get("channel"))
                    self._take(message.get("id", ""), message["event"], message["data"])
        self._events.put_nowait(None)

    async def _ws(self, path: str) -> None:
        params = {"cursor": self.cursor} if self.cursor else {}
        url = f"http://127.0.0.1:{self._hub.port}/ws/connect{path}"
        async with self._hub.session.ws_connect(
            url, params=params, headers=self._headers
        ) as socket:
            self.socket = socket
            async for frame in socket:
                message = json.loads(frame.data)
                self.channels.append(message.get("channel"))
                self._take(message.get("id", ""), message["event"], message["data"])
            self.close_code = socket.close_code
        self._events.put_nowait(None)

    async def _grpc(self, path: str) -> None:
        metadata = [(name.lower(), value) for name, value in self._headers.items()]
        async with grpc.aio.insecure_channel(f"127.0.0.1:{self._hub.grpc_port}") as channel:
            call = HubStub(channel).Connect(
                pb.ConnectRequest(cursor=self.cursor), metadata=metadata
            )
            try:
                async for events in call:
                    for message in events.events:
                        self.channels.append(message.channel or None)
                        self._take(message.id, message.event, json.loads(message.data))
            except grpc.aio.AioRpcError as error:
                self.status = error.code()
        self._events.put_nowait(None)

    async def _poll(self, path: str) -> None:
        while True:
            params = {"wait": "1", **({"cursor": self.cursor} if self.cursor else {})}
            route = f"/poll/connect{path}"
            async with self._hub.ask(
                "GET", route, params=params, headers=self._headers
            ) as response:
                assert response.status == 200
                answer = await response.json()
            for message in answer["events"]:
                self.channels.append(message.get("channel"))
                self._take(message.get("id", ""), message["event"], message["data"])
                if message["event"] == "hub.bye":
                    self._events.put_nowait(None)
                    return
            self.cursor = answer["cursor"]


class Kit:
    """A hub and its readers."""

    def __init__(self, hub: Hub, transport: str) -> None:
        self.hub = hub
        self.transport = transport
        self._keeping = asyncio.create_task(hub.node.connections.expiry_timer.run())

    @asynccontextmanager
    async def reading(
        self, *, cursor: str = "", transport: str = "", seconds: float = 60.0, user: str = "alice"
    ) -> AsyncIterator[Reader]:
        """Yield an open stream of a user."""
        token = jwt.encode({"sub": user, "exp": time.time() + seconds}, SECRET)
        headers = {"Authorization": f"Bearer {token}"}
        reader = Reader(self.hub, transport or self.transport, headers)
        before = len(self.hub.node.connections)
        await reader.start("", cursor)
        connections = self.hub.node.connections
        if not cursor:  # the stream begins with what is published after it has joined
            await until(lambda: len(connections) > before and not connections.recovering)
        try:
            yield reader
        finally:
            await reader.stop()

    async def publish(self, *texts: str, user: str = "alice") -> None:
        for text in texts:
            await self.hub.publish(to={"user": user}, data={"t": text})

    def close(self) -> None:
        self._keeping.cancel()


@pytest.fixture(params=["sse", "post", "ndjson", "poll", "ws", "grpc"])
async def kit(request: pytest.FixtureRequest) -> AsyncIterator[Kit]:
    """A hub, for each transport."""
    authenticator = JwtAuthenticator(
        token_reader([FixedKeys([secret_key(SECRET)])]), AllowedOrigins([])
    )
    async with AsyncExitStack() as parts:
        hub = await parts.enter_async_context(running_hub(authenticator))
        if "grpc" in request.node.callspec.params.values():
            await parts.enter_async_context(hub.serving_grpc())
        kit = Kit(hub, request.param)
        yield kit
        kit.close()


async def texts(reader: Reader, count: int) -> list[str]:
    return [(await reader.next())[2]["t"] for _ in range(count)]


async def test_live(kit: Kit) -> None:
    """The user's events arrive once and in order, whatever they contain, and no other user's."""
    message = [*(f"{n}" for n in range(20)), 'a "quoted" line', "zwei\nZeilen", "你🌅\u2028\u0085"]
    async with kit.reading() as reader:
        await kit.publish("not yours", user="bob")
        await kit.publish(*message)
        assert await texts(reader, len(message)) == message


async def test_between_two_connections(kit: Kit) -> None:
    """Events between two connections are replayed in order, then the stream is live."""
    async with kit.reading() as reader:
        await kit.publish("a")
        await reader.next()
        cursor = reader.cursor
    await kit.publish(*(f"{n}" for n in range(300)))
    async with kit.reading(cursor=cursor) as reader:
        assert await texts(reader, 300) == [f"{n}" for n in range(300)]
        await kit.publish("live")
        assert await texts(reader, 1) == ["live"]


@pytest.mark.parametrize("other", ["sse", "ndjson", "poll", "ws", "grpc"])
async def test_another_transports_cursor(kit: Kit, other: str) -> None:
    """A client may change its transport and misses nothing."""
    async with kit.reading(transport=other) as reader:
        await kit.publish("a")
        await reader.next()
        cursor = reader.cursor
    await kit.publish("b")
    async with kit.reading(cursor=cursor) as reader:
        assert await texts(reader, 1) == ["b"]


async def test_lost_history_is_a_reset(kit: Kit) -> None:
    """The client gets hub.reset, and then live events."""
    async with kit.reading() as reader:
        await kit.publish("a")
        await reader.next()
        cursor = reader.cursor
    kit.hub.backend.events.begin_new_epoch(user_channel("alice"))
    async with kit.reading(cursor=cursor) as reader:
        _, event, data = await reader.next()
        assert (event, data["channel"]) == ("hub.reset", "user:alice")
        await kit.publish("b")
        assert await texts(reader, 1) == ["b"]


async def test_drained(kit: Kit) -> None:
    """hub.bye is the last event."""
    async with kit.reading() as reader:
        await kit.hub.node.connections.drain(0.0, asyncio.Event())
        _, event, data = await reader.next()
        assert (event, data["reason"], data["reconnect"]) == ("hub.bye", "draining", True)
        with pytest.raises(EOFError):
            await reader.next()


async def test_expired(kit: Kit) -> None:
    """A stream ends with its token; a later poll is refused."""
    if kit.transport == "poll":
        token = jwt.encode({"sub": "alice", "exp": time.time() - 10}, SECRET)
        headers = {"Authorization": f"Bearer {token}"}
        async with kit.hub.ask("GET", "/poll/connect", headers=headers) as response:
            assert response.status == 401
        return
    async with kit.reading(seconds=1.2) as reader:
        events = [(await reader.next())[1:] for _ in range(2)]
        assert [event for event, _ in events] == ["hub.expiring", "hub.bye"]
        assert events[1][1]["reason"] == "expired"


async def test_disconnected(kit: Kit) -> None:
    """An admin command closes the stream."""
    async with kit.reading() as reader:
        await kit.hub.node.admin_commands.disconnect("alice")
        _, event, data = await reader.next()
        assert (event, data["reason"]) == ("hub.bye", "disconnected")


async def test_client_that_disconnects(kit: Kit) -> None:
    """A client that disconnects leaves no state behind."""
    async with kit.reading():
        assert len(kit.hub.node.connections) == 1
    async with asyncio.timeout(60):
        while len(kit.hub.node.connections):
            await asyncio.sleep(0.01)
    assert not kit.hub.node.connections.by_user("alice")


async def test_channels_are_named(kit: Kit) -> None:
    """If the transport has a field for it."""
    if kit.transport not in ("ndjson", "poll", "ws", "grpc"):
        return
    async with kit.reading() as reader:
        await kit.publish("a")
        await kit.hub.publish(to={"all": True}, data={"t": "b"})
        assert await texts(reader, 2) == ["a", "b"]
        assert reader.channels[-2:] == ["user:alice", "all"]


class TestPolling:
    """Long polling alone."""

    @pytest.fixture
    async def hub(self) -> AsyncIterator[Hub]:
        """A node without tokens, with its expiry timer."""
        async with running_hub() as hub:
            keeping = asyncio.create_task(hub.node.connections.expiry_timer.run())
            yield hub
            keeping.cancel()

    async def poll(self, hub: Hub, **params: str) -> Any:
        async with hub.ask("GET", "/poll/connect/alice", params=params) as response:
            assert response.headers["Cache-Control"].startswith("no-store")
            return await response.json()

    async def test_wait_that_is_over(self, hub: Hub) -> None:
        """The response contains the client's cursor, so that no event between two polls is lost."""
        started_at = time.monotonic()
        answer = await self.poll(hub, wait="1")
        assert 0.9 < time.monotonic() - started_at < 20  # the longest wait is 25 s
        assert answer["events"] == []
        await hub.publish(to={"user": "alice"}, data="between")
        answer = await self.poll(hub, cursor=answer["cursor"])
        assert [event["data"] for event in answer["events"]] == ["between"]
        again = await self.poll(hub, cursor=answer["cursor"], wait="0")
        assert again == {"events": [], "cursor": answer["cursor"]}

    async def test_many_events_are_one_answer(self, hub: Hub) -> None:
        """All stored events are in one response."""
        start = await self.poll(hub, wait="0")
        for n in range(50):
            await hub.publish(to={"user": "alice"}, data=n)
        answer = await self.poll(hub, cursor=start["cursor"])
        assert [event["data"] for event in answer["events"]] == list(range(50))
        assert answer["cursor"] == answer["events"][-1]["id"]

    @pytest.mark.parametrize("wait", ["0", "0.5", "1"])
    async def test_slow_broker(self, wait: str) -> None:
        """A first poll whose wait is over before the position is known is answered with a cursor,
        and what is published between two polls arrives.
        """
        async with running_hub() as hub:
            read, may_read, timer = (
                hub.backend.events.read,
                asyncio.Event(),
                hub.node.connections.expiry_timer,
            )

            async def read_slowly(*arguments: Any, **options: Any) -> Any:
                await may_read.wait()
                return await read(*arguments, **options)

            with patch.object(hub.backend.events, "read", read_slowly):
                polling = asyncio.create_task(self.poll(hub, wait=wait))
                await until(lambda: hub.node.connections.recovering == 1)
                for _ in range(5):  # seconds of the timer: the wait is over
                    timer.tick()
                may_read.set()
                await until(lambda: hub.node.connections.recovering == 0)
                for _ in range(5):
                    timer.tick()
                answer = await polling
            assert answer["events"] == []
            assert parse_cursor(answer["cursor"], [ALICE, ALL]).keys() == {ALICE, ALL}
            await hub.publish(to={"user": "alice"}, data="between")
            answer = await self.poll(hub, cursor=answer["cursor"])
            assert [event["data"] for event in answer["events"]] == ["between"]

    async def test_broker_away_at_the_first_poll(self, hub: Hub) -> None:
        """The cursor that comes with `hub.bye` is one that the next poll can send."""
        hub.backend.is_unavailable = True
        answer = await self.poll(hub, wait="1")
        assert answer["cursor"] == "live"
        assert [event["event"] for event in answer["events"]] == ["hub.bye"]
        hub.backend.is_unavailable = False
        answer = await self.poll(hub, cursor=answer["cursor"], wait="0")
        assert parse_cursor(answer["cursor"], [ALICE]).keys() == {ALICE}

    async def test_broker_away(self, hub: Hub) -> None:
        """The client keeps its cursor."""
        start = await self.poll(hub, wait="0")
        hub.backend.is_unavailable = True
        answer = await self.poll(hub, cursor=start["cursor"], wait="1")
        assert answer["cursor"] == start["cursor"]
        assert [event["event"] for event in answer["events"]] == ["hub.bye"]

    @pytest.mark.parametrize("wait", ["-1", "61", "nan", "soon"])
    async def test_bad_wait(self, hub: Hub, wait: str) -> None:
        """400 with the rule."""
        async with hub.ask("GET", "/poll/connect/alice", params={"wait": wait}) as response:
            assert response.status == 400
            assert "wait must be between 0 and 60" in (await response.json())["detail"]


UPGRADE = {"Connection": "keep-alive, Upgrade"}
KEYED = {"Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA=="}


class TestWebSocket:
    """WebSocket alone."""

    @pytest.fixture
    async def hub(self) -> AsyncIterator[Hub]:
        """A node without tokens."""
        async with running_hub() as hub:
            yield hub

    @asynccontextmanager
    async def socket(self, hub: Hub, *, opened: bool = True, **more: Any) -> AsyncIterator[Any]:
        url = f"http://127.0.0.1:{hub.port}/ws/connect/alice"
        async with hub.session.ws_connect(url, autoping=False, **more) as socket:
            if opened:
                assert (await socket.receive_json())["event"] == "hub.open"
            yield socket

    async def reply(self, socket: Any, message: Any) -> Any:
        await socket.send_str(message if isinstance(message, str) else json.dumps(message))
        message = await socket.receive_json(timeout=60)
        assert message["event"] == "hub.reply"
        return message["data"]

    async def test_client_starts_and_stops_a_generation(self, hub: Hub) -> None:
        """Start a generation and stop it over the socket; each message gets a reply with its id."""
        async with self.socket(hub) as socket:
            message = {"type": "generate", "id": 1, "body": {"prompt": "hi"}}
            reply = await self.reply(socket, message)
            assert (reply["to"], reply["status"]) == (1, 200)
            stop = {"type": "stop", "id": "s", "generation": reply["generation"]}
            await socket.send_json(stop)
            seen = [await socket.receive_json(timeout=60) for _ in range(2)]
            by_name = {message["event"]: message["data"] for message in seen}
            assert by_name["hub.reply"]["answer"] == "stopping"
            assert by_name["generation.stopped"]["by"] == "alice"
            assert await self.reply(socket, {"type": "ping", "id": 2}) == {"to": 2, "status": 200}

    @pytest.mark.parametrize(
        ("message", "expected"),
        [
            ("nonsense", "not JSON"),
            ("[]", "expected"),
            ({"type": "fly"}, "type must be generate, stop, subscribe, unsubscribe or ping"),
            ({"type": "generate"}, "body"),
            ({"type": "generate", "body": {"prompt": ""}}, "prompt is empty"),
            ({"type": "generate", "body": {"prompt": "x", "odd": 1}}, "odd"),
            ({"type": "stop", "generation": "g00nothing"}, "no such generation"),
        ],
    )
    async def test_bad_message(self, hub: Hub, message: Any, expected: str) -> None:
        """The reply has one sentence, and the stream continues."""
        async with self.socket(hub) as socket:
            reply = await self.reply(socket, message)
            assert reply["status"] in (400, 404)
            assert expected in reply["detail"].lower() or expected in reply["detail"]
            await hub.publish(to={"user": "alice"}, data="on")
            assert (await socket.receive_json(timeout=60))["data"] == "on"

    async def test_bye_to_a_client_that_continues_to_send(self, hub: Hub) -> None:
        """Messages that arrive while the hub closes do not reset the connection: the client gets
        hub.bye and the Close, and the connection stays open until its own Close.
        """
        reader, writer = await self.by_hand(hub)
        async with asyncio.timeout(60):
            await hub.node.admin_commands.disconnect("alice")
            for _ in range(5):
                writer.write(b"\x8a\x80\0\0\0\0")  # a pong, masked
                await writer.drain()
                await asyncio.sleep(0.02)
            message = await reader.readuntil(b"\x88\x02")  # the Close
            assert b"disconnected" in message
            await reader.readexactly(2)
            await asyncio.sleep(0.05)  # time for a premature end
            assert not reader.at_eof()
            writer.write(b"\x88\x82\0\0\0\0\x03\xe8")
            await reader.read()
            assert reader.at_eof()
        writer.close()

    async def test_violation_after_the_close(self, hub: Hub) -> None:
        """A client that violates the protocol after the Close of the hub gets no second Close."""
        reader, writer = await self.by_hand(hub)
        async with asyncio.timeout(60):
            await hub.node.admin_commands.disconnect("alice")
            await reader.readuntil(b"\x88\x02")
            await reader.readexactly(2)
            writer.write(b"\x81\x82\0\0\0\0\xff\xff")  # no UTF-8
            assert not await reader.read()
        writer.close()

    @pytest.mark.parametrize(
        ("frame", "code"),
        [
            (b"\x81\x82\0\0\0\0\xff\xff", 1007),
            (b"\x88\x82\0\0\0\0\x03\xed", 1002),
            (b"\x88\x81\0\0\0\0\x03", 1002),
        ],
        ids=["no UTF-8", "close code 1005", "half of a close code"],
    )
    async def test_violation_has_its_close_code(self, hub: Hub, frame: bytes, code: int) -> None:
        """The hub names the violation in its Close and ends the connection."""
        reader, writer = await self.by_hand(hub)
        async with asyncio.timeout(60):
            writer.write(frame)
            assert code.to_bytes(2) in (await reader.read()).rpartition(b"\x88")[2]
        writer.close()

    async def test_client_that_never_closes(
        self, hub: Hub, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The hub waits for its Close only for a limited time."""
        monkeypatch.setattr("hub.transports.websocket._CLOSE_TIMEOUT_SECONDS", 0.05)
        reader, writer = await self.by_hand(hub)
        async with asyncio.timeout(60):
            await hub.node.admin_commands.disconnect("alice")
            assert b"disconnected" in await reader.read()
        writer.close()

    @staticmethod
    async def by_hand(hub: Hub) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a connection that answers nothing by itself, and read up to hub.open."""
        reader, writer = await asyncio.open_connection("127.0.0.1", hub.port)
        head = "GET /ws/connect/alice HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
        head += "Sec-WebSocket-Version: 13\r\n"
        given = {**UPGRADE, **KEYED}.items()
        writer.write((head + "".join(f"{k}: {v}\r\n" for k, v in given) + "\r\n").encode())
        async with asyncio.timeout(60):
            await reader.readuntil(b"hub.open")
        return reader, writer

    async def test_client_that_sends_first(self, hub: Hub) -> None:
        """The reply comes after hub.open, which is the first event."""
        read, proceed = hub.backend.events.read, asyncio.Event()

        async def late(*args: Any, **more: Any) -> Any:
            await proceed.wait()
            return await read(*args, **more)

        hub.backend.events.read = late  # type: ignore[method-assign]
        url = f"http://127.0.0.1:{hub.port}/ws/connect/alice"
        async with hub.session.ws_connect(url, autoping=False) as socket:
            await socket.send_json({"type": "ping", "id": 1})
            await asyncio.sleep(0.05)  # time for a premature reply
            proceed.set()
            message = [(await socket.receive_json(timeout=60))["event"] for _ in range(2)]
        assert message == ["hub.open", "hub.reply"]

    async def test_too_many_at_once(self, hub: Hub) -> None:
        """Further messages are refused and counted; a client that sends ever more is cut off."""
        read, proceed = hub.backend.events.read, asyncio.Event()

        async def late(*args: Any, **more: Any) -> Any:
            await proceed.wait()
            return await read(*args, **more)

        hub.backend.events.read = late  # type: ignore[method-assign]
        async with self.socket(hub, opened=False) as socket:
            for number in range(18):
                await socket.send_json({"type": "ping", "id": number})
            await until(lambda: hub.node.metrics.refused["messages"] == 2)
            proceed.set()
            message = [(await socket.receive_json(timeout=60))["data"] for _ in range(19)]
            answers = {reply["to"]: reply["status"] for reply in message[1:]}
            assert answers == {n: 200 if n < 16 else 429 for n in range(18)}
            proceed.clear()
        async with self.socket(hub, opened=False) as socket:
            for number in range(70):
                await socket.send_json({"type": "ping", "id": number})
            assert (await socket.receive(timeout=60)).type is aiohttp.WSMsgType.CLOSED

    async def test_reply_while_a_gap_is_being_filled(self, hub: Hub) -> None:
        """Messages are answered however long the broker is away."""
        async with self.socket(hub) as socket:

            async def away(*args: Any, **more: Any) -> Any:
                raise BrokerUnavailable("away")

            hub.backend.events.read = away  # type: ignore[method-assign]
            await socket.send_json({"type": "subscribe", "id": 1, "topics": ["news"]})
            assert (await self.reply(socket, {"type": "ping", "id": 2}))["to"] == 2

    async def test_topics_change(self, hub: Hub) -> None:
        """Events of new topics arrive, those of removed ones do not, and the cursor covers both."""
        async with self.socket(hub) as socket:
            more = {"type": "subscribe", "id": 1, "topics": ["b", "a"]}
            assert (await self.reply(socket, more))["topics"] == ["a", "b"]
            for topic in ("a", "b"):
                await hub.publish(to={"topic": topic}, data=topic)
                message = await socket.receive_json(timeout=60)
                assert (message["channel"], message["data"]) == (f"topic:{topic}", topic)
            less = {"type": "unsubscribe", "id": 2, "topics": ["a", "never"]}
            assert (await self.reply(socket, less))["topics"] == ["b"]
            await hub.publish(to={"topic": "a"}, data="unsubscribed")
            await hub.publish(to={"user": "alice"}, data="own")
            message = await socket.receive_json(timeout=60)
            assert message["data"] == "own"
        await hub.publish(to={"topic": "b"}, data="missed")
        async with hub.stream(
            f"/sse/connect/alice?topics=b&cursor={quote(message['id'])}"
        ) as stream:
            assert (await stream.next()).data == "missed"

    async def test_concurrent_topic_changes(self, hub: Hub) -> None:
        """Each message starts from the result of the previous one, and no event is lost."""
        async with self.socket(hub) as socket:
            for topic in ("a", "b", "c"):
                await socket.send_json({"type": "subscribe", "topics": [topic]})
            for n in range(30):
                await hub.publish(to={"user": "alice"}, data=n)
            seen = [await socket.receive_json(timeout=60) for _ in range(33)]
            replies = [s["data"]["topics"] for s in seen if s["event"] == "hub.reply"]
            assert replies == [["a"], ["a", "b"], ["a", "b", "c"]]
            assert [s["data"] for s in seen if s["event"] != "hub.reply"] == [*range(30)]

    async def test_topics_that_may_not_be_followed(self, hub: Hub) -> None:
        """They are refused, and the current ones stay."""
        async with self.socket(hub) as socket:
            for topics, status in ((["no name"], 400), (["a", "b", "c", "d"], 400)):
                message = {"type": "subscribe", "topics": topics}
                assert (await self.reply(socket, message))["status"] == status
            await hub.publish(to={"user": "alice"}, data="on")
            assert (await socket.receive_json(timeout=60))["data"] == "on"

    async def test_ping_is_answered_in_order(self, hub: Hub) -> None:
        """A pong comes between events, never inside one."""
        async with self.socket(hub) as socket:
            for n in range(20):
                await socket.ping(b"%d" % n)
                await hub.publish(to={"user": "alice"}, data="x" * 5000)
            kinds = [(await socket.receive(timeout=60)).type for _ in range(40)]
            assert kinds.count(aiohttp.WSMsgType.PONG) == 20
            assert kinds.count(aiohttp.WSMsgType.TEXT) == 20

    async def test_close_code_tells_whether_to_reconnect(self, hub: Hub) -> None:
        """3000 and above: reconnect; 3500 and above: do not."""
        async with self.socket(hub) as socket:
            await hub.node.connections.drain(0.0, asyncio.Event())
            assert (await socket.receive_json(timeout=60))["event"] == "hub.bye"
            assert (await socket.receive(timeout=60)).type is aiohttp.WSMsgType.CLOSE
            assert socket.close_code == 3000
        async with running_hub() as other, self.socket(other) as socket:
            await other.node.admin_commands.disconnect("alice")
            await socket.receive(timeout=60)
            await socket.receive(timeout=60)
            assert socket.close_code == 3500

    async def test_client_that_closes(self, hub: Hub) -> None:
        """Its Close is answered, and no state is left."""
        async with self.socket(hub) as socket:
            assert await socket.close(code=4321)
            assert socket.close_code == 4321
        async with asyncio.timeout(60):
            while len(hub.node.connections):
                await asyncio.sleep(0.01)

    @pytest.mark.parametrize(
        ("headers", "status"),
        [
            ({}, 426),
            ({"Upgrade": "websocket", "Sec-WebSocket-Version": "8"}, 426),
            ({"Upgrade": "websocket", "Sec-WebSocket-Version": "13", **UPGRADE}, 400),
            ({"Upgrade": "websocket", "Sec-WebSocket-Version": "13", **KEYED}, 426),
            (
                {
                    "Upgrade": "websocket",
                    "Sec-WebSocket-Version": "13",
                    **UPGRADE,
                    **KEYED,
                    "Origin": "https://evil.example",
                },
                403,
            ),
        ],
    )
    async def test_handshake(self, hub: Hub, headers: dict[str, str], status: int) -> None:
        """Requests that are no handshake, or come from another site."""
        async with hub.ask("GET", "/ws/connect/alice", headers=headers) as response:
            assert response.status == status

    async def test_answer_that_would_stop_with_the_socket(self, hub: Hub) -> None:
        """on_disconnect: stop is not supported here and is refused."""
        async with self.socket(hub) as socket:
            body = {"prompt": "hi", "on_disconnect": "stop"}
            reply = await self.reply(socket, {"type": "generate", "body": body})
            assert (reply["status"], reply["path"]) == (400, "body.on_disconnect")
