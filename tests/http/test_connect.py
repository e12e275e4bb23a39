"""GET /sse/connect/{user_id}, served as in production."""

from __future__ import annotations

import asyncio
import gc
import json
import socket
import struct
import sys
import tracemalloc
from collections.abc import AsyncIterator, Collection
from typing import Any

import pytest
from aiohttp.web_protocol import RequestHandler

from hub.core.channel import ALL, Channel, topic_channel, user_channel
from hub.core.cursor import UNKNOWN, format_cursor
from hub.core.sse_decoder import SseDecoder
from hub.transports.socket_writer import SocketWriter
from tests.doubles import until
from tests.http.kit import Hub, Stream, running_hub

CHANNELS = (user_channel("alice"), ALL, topic_channel("t"))


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    """A node without tokens."""
    async with running_hub() as hub:
        yield hub


async def test_headers_and_opening(hub: Hub) -> None:
    """The contract's headers; retry, id and hub.open in one event with data."""
    async with hub.stream("/sse/connect/alice") as stream:
        headers = stream.response.headers
        assert headers["Content-Type"] == "text/event-stream; charset=utf-8"
        assert headers["Cache-Control"] == "no-store, no-transform"
        assert headers["X-Accel-Buffering"] == "no"
        opened = json.loads(stream.opened.data)
        assert stream.opened.retry_ms == 3000
        assert (opened["user"], opened["node"], opened["heartbeat_seconds"]) == ("alice", "n1", 8.0)
        assert (opened["recovered"], opened["replayed"]) == (False, 0)
        assert stream.bytes.startswith(b"retry: 3000\nevent: hub.open\ndata: {")
        assert stream.bytes.endswith(f"\nid: {stream.opened.id}\n\n".encode())
        assert b"\r" not in stream.bytes


@pytest.mark.parametrize(
    ("requested", "seconds"),
    [("4", 4.0), ("2.5", 2.5), ("0.001", 1.0), ("1000", 8.0), ("1e300", 8.0)],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_shorter_heartbeats(hub: Hub, requested: str, seconds: float, method: str) -> None:
    """`?heartbeat=` is an interval within the limits of the settings, which hub.open tells."""
    body: Any = {"json": {"topics": []}} if method == "POST" else {}
    async with hub.ask(method, f"/sse/connect/alice?heartbeat={requested}", **body) as response:
        assert response.status == 200
        opened = await response.content.readuntil(b"\n\n")
    assert f'"heartbeat_seconds":{seconds}'.encode() in opened


@pytest.mark.parametrize("requested", ["0", "-1", "nan", "inf", "soon", ""])
async def test_heartbeat_that_is_no_time(hub: Hub, requested: str) -> None:
    """Any other value is refused with a sentence."""
    status, problem = await hub.call("GET", f"/sse/connect/alice?heartbeat={requested}")
    assert (status, problem["path"]) == (400, "heartbeat")
    assert problem["detail"] == "heartbeat must be a number of seconds above 0"


@pytest.mark.parametrize(("flag", "beat"), [("true", "event"), ("false", "comment")])
async def test_heartbeat_as_an_event(hub: Hub, flag: str, beat: str) -> None:
    """With `?heartbeat_event=true` a heartbeat is an event without id; the cursor stays."""
    async with hub.stream(f"/sse/connect/alice?heartbeat_event={flag}") as stream:
        (connection,) = hub.node.connections.connections
        before = connection.cursor()
        connection.send_heartbeat(0.0)
        await hub.publish(to={"user": "alice"}, event="e", data=1)
        names = [(await stream.next()).name]
        if beat == "event":
            names.append((await stream.next()).name)
        assert names == (["hub.heartbeat", "e"] if beat == "event" else ["e"])
        expected = b"event: hub.heartbeat\ndata: {}\n\n" if beat == "event" else b": hb\n"
        assert expected in stream.bytes
        assert before != connection.cursor()


async def test_published_event_has_the_publishers_cursor(hub: Hub) -> None:
    """The event's id starts with the cursor that the publisher got, and resumes after it."""
    async with hub.stream("/sse/connect/alice") as stream:
        _, answer = await hub.publish(to={"user": "alice"}, event="e", data={"n": 1})
        event = await stream.next()
    assert (event.name, event.data) == ("e", '{"n":1}')
    assert event.id.startswith(answer["published"][0]["cursor"].removesuffix("."))
    assert len(event.id) <= 21


async def test_replay_by_last_event_id(hub: Hub) -> None:
    """Every event after the id, once and in order; then live events."""
    async with hub.stream("/sse/connect/alice") as stream:
        await hub.publish(to={"user": "alice"}, data="seen")
        seen = await stream.next()
    await hub.publish(to={"user": "alice"}, data="missed 1")
    await hub.publish(to={"all": True}, data="missed by all")
    headers = {"Last-Event-ID": seen.id}
    async with hub.stream("/sse/connect/alice", headers=headers) as stream:
        opened = json.loads(stream.opened.data)
        assert (opened["recovered"], opened["replayed"]) == (True, 2)
        await hub.publish(to={"user": "alice"}, data="live")
        got = [(await stream.next()).data for _ in range(3)]
    assert got == ["missed 1", "missed by all", "live"]


async def test_cut_off_before_any_event_still_resumes(hub: Hub) -> None:
    """The id of hub.open is a cursor."""
    async with hub.stream("/sse/connect/alice") as stream:
        cursor = stream.opened.id
    await hub.publish(to={"user": "alice"}, data="missed")
    async with hub.stream(f"/sse/connect/alice?cursor={cursor}") as stream:
        assert (await stream.next()).data == "missed"


async def test_cursor_start_replays_all(hub: Hub) -> None:
    """`start` replays everything in the log."""
    for n in range(450):
        await hub.publish(to={"user": "alice"}, data=n)
    async with hub.stream("/sse/connect/alice?cursor=start") as stream:
        assert json.loads(stream.opened.data)["replayed"] == 450
        assert [(await stream.next()).data for _ in range(450)] == [str(n) for n in range(450)]


async def test_other_epoch_is_a_reset(hub: Hub) -> None:
    """The client gets hub.reset, and the stream continues live."""
    async with hub.stream("/sse/connect/alice") as stream:
        cursor = stream.opened.id
    hub.backend.events.begin_new_epoch(user_channel("alice"))
    async with hub.stream(f"/sse/connect/alice?cursor={cursor}") as stream:
        assert json.loads(stream.opened.data)["recovered"] is False
        reset = await stream.next()
        assert (reset.name, json.loads(reset.data)) == (
            "hub.reset",
            {"channel": "user:alice", "reason": "epoch"},
        )
        await hub.publish(to={"user": "alice"}, data="next")
        assert (await stream.next()).data == "next"


async def test_topics(hub: Hub) -> None:
    """A topic's events reach those who follow it, and the cursor contains its position."""
    async with hub.stream("/sse/connect/alice?topics=b,a") as stream:
        await hub.publish(to={"topic": "a"}, data="to a")
        await hub.publish(to={"topic": "c"}, data="to c")
        await hub.publish(to={"topic": "b"}, data="to b")
        first, second = await stream.next(), await stream.next()
        assert (first.data, second.data) == ("to a", "to b")
    headers = {"Last-Event-ID": first.id}
    async with hub.stream("/sse/connect/alice?topics=a,b", headers=headers) as stream:
        assert (await stream.next()).data == "to b"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/sse/connect/a%20b", "a user id has 1 to 256 printable characters"),
        ("/sse/connect/a%C2%A0b", "a user id has 1 to 256 printable characters"),
        ("/sse/connect/a%0d%0ab", "a user id has 1 to 256 printable characters"),
        ("/sse/connect/" + "a" * 257, "a user id has 1 to 256 printable characters"),
        ("/sse/connect/alice?cursor=garbage!", "this is not a cursor"),
        ("/sse/connect/alice?cursor=" + "a" * 5000, "this is not a cursor"),
        ("/sse/connect/alice?topics=a%20b", "a topic name has 1 to 256 printable characters"),
        ("/sse/connect/alice?topics=a,b,c,d", "at most 3 topics"),
        ("/sse/connect", "name the user in the URL"),
    ],
)
async def test_bad_request_names_the_reason(hub: Hub, path: str, expected: str) -> None:
    """400 and a problem document with one clear sentence."""
    async with hub.ask("GET", path) as response:
        problem = await response.json(content_type="application/problem+json")
    assert (response.status, problem["status"]) == (400, 400)
    assert expected in problem["detail"]


@pytest.mark.parametrize("parameter", ["lastEventId", "last-event-id", "last_event_id", None])
async def test_last_event_id_that_is_no_cursor(hub: Hub, parameter: str | None) -> None:
    """Another server's id, or half of one, gets a stream that begins with resets: a client cannot
    change the id that it sends.
    """
    async with hub.stream("/sse/connect/alice") as stream:
        whole = stream.opened.id
    for id_ in ("41; x", "null", "\u00e9", whole[:-1], whole[:-2]):
        way: dict[str, Any] = (
            {"params": {parameter: id_}} if parameter else {"headers": {"Last-Event-ID": id_}}
        )
        async with hub.stream("/sse/connect/alice", **way) as stream:
            assert json.loads(stream.opened.data)["recovered"] is False
            resets = [await stream.next() for _ in range(2)]
        assert [each.name for each in resets] == ["hub.reset", "hub.reset"]
        status, problem = await hub.call("GET", "/sse/connect/alice", params={"cursor": id_})
        assert (status, problem["path"]) == (400, "cursor")


@pytest.mark.parametrize("parameter", ["lastEventId", "last-event-id", "last_event_id"])
async def test_last_event_id_in_the_url(hub: Hub, parameter: str) -> None:
    """Polyfills of EventSource put the id into the URL; it has precedence over `cursor`."""
    async with hub.stream("/sse/connect/alice") as stream:
        opened = stream.opened.id
    await hub.publish(to={"user": "alice"}, data="missed")
    params = {"cursor": "live", parameter: opened}
    async with hub.stream("/sse/connect/alice", params=params) as stream:
        assert (await stream.next()).data == "missed"


async def test_poll_with_an_id_that_is_no_cursor(hub: Hub) -> None:
    """The poll gets the resets too, and a cursor that the next poll can send."""
    headers = {"Last-Event-ID": "another server's"}
    status, page = await hub.call("GET", "/poll/connect/alice?wait=5", headers=headers)
    assert (status, {each["event"] for each in page["events"]}) == (200, {"hub.reset"})
    status, page = await hub.call("GET", f"/poll/connect/alice?wait=0&cursor={page['cursor']}")
    assert (status, page["events"]) == (200, [])


async def test_nul_in_shared_data(hub: Hub) -> None:
    """NUL bytes in the data of a shared event do not displace the id."""
    async with hub.stream("/sse/connect/alice") as stream:
        await hub.publish(to={"all": True}, data="\0" * 40)
        event = await stream.next()
        await hub.publish(to={"all": True}, data="next")
        following = await stream.next()
    assert (event.data, following.data) == ("\0" * 40, "next")
    headers = {"Last-Event-ID": event.id}
    async with hub.stream("/sse/connect/alice", headers=headers) as stream:
        assert (await stream.next()).data == "next"


@pytest.mark.parametrize("method", ["HEAD", "PATCH", "PUT"])
async def test_other_methods(hub: Hub, method: str) -> None:
    """405 with Allow; a HEAD request opens no stream."""
    async with hub.ask(method, "/sse/connect/alice") as response:
        assert (response.status, response.headers["Allow"]) == (405, "GET,POST")


async def test_never_compressed(hub: Hub) -> None:
    """Whatever the client accepts."""
    headers = {"Accept-Encoding": "gzip, br, deflate"}
    async with hub.stream("/sse/connect/alice", headers=headers) as stream:
        assert "Content-Encoding" not in stream.response.headers


async def test_http_1_0_gets_no_chunks(hub: Hub) -> None:
    """nginx without proxy_http_version 1.1 gets plain bytes and Connection: close."""
    reader, writer = await asyncio.open_connection("127.0.0.1", hub.port)
    writer.write(b"GET /sse/connect/alice HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    received = b""
    while b"hub.open" not in received:
        received += await reader.read(4096)
    head, _, body = received.partition(b"\r\n\r\n")
    await hub.node.connections.drain(0.0, asyncio.Event())
    async with asyncio.timeout(60):
        assert (await reader.read()).endswith(b"\n\n")  # then the connection closes
    writer.close()
    await writer.wait_closed()
    assert b"Connection: close" in head
    assert b"Transfer-Encoding" not in head
    assert body.startswith(b"retry: 3000\n")


async def test_client_that_sends_more_than_its_request(hub: Hub) -> None:
    """A large body is not stored, and hides its sender's disconnect only while it is read."""
    _, writer = await asyncio.open_connection("127.0.0.1", hub.port)
    head = "GET /sse/connect/alice HTTP/1.1\r\nHost: x\r\nContent-Length: 30000000\r\n\r\n"
    writer.write(head.encode() + b"x" * 10_000_000)
    await until(lambda: len(hub.node.connections) == 1)
    writer.transport.abort()
    await until(lambda: len(hub.node.connections) == 0)


async def test_connection_closes_with_its_stream(hub: Hub) -> None:
    """Connection: close tells clients to send no further request on it."""
    async with hub.stream("/sse/connect/alice?topics=a,a") as stream:
        assert stream.response.headers["Connection"] == "close"


async def test_disconnect_is_noticed_at_once(hub: Hub) -> None:
    """The node forgets the connection when the client disconnects, without a write."""
    async with hub.stream("/sse/connect/alice"):
        assert len(hub.node.connections) == 1
    await until(lambda: len(hub.node.connections) == 0)


async def test_open_streams_hold_no_task(hub: Hub) -> None:
    """A live stream has neither a task of the hub nor one of aiohttp."""
    before = asyncio.all_tasks()
    clients = await open_streams(hub, 20)
    assert asyncio.all_tasks() == before
    for client in clients:
        client.close()


@pytest.mark.asyncio(loop_factories=["asyncio", "uvloop"])
async def test_memory_of_an_open_stream(hub: Hub) -> None:
    """The memory is bounded: aiohttp's request, response and protocol are freed.

    Only Python's objects are counted, with the event loop's transport but without the kernel's
    buffers. asyncio's own objects are larger from Python 3.14 on.
    """
    handlers = count_request_handlers()  # of servers that other tests keep in this process
    for client in await open_streams(hub, 20, "warm"):
        client.close()
    gc.collect()
    tasks = asyncio.all_tasks()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        clients = await open_streams(hub, 200)
        async with asyncio.timeout(60):
            while asyncio.all_tasks() - tasks:  # some are not live yet
                await asyncio.sleep(0.01)
            # aiohttp's server forgets a protocol in a callback of its task, one iteration later.
            while count_request_handlers() > handlers:
                await asyncio.sleep(0.01)
                gc.collect()
        gc.collect()
        each = (tracemalloc.get_traced_memory()[0] - before) / 200
        largest = tracemalloc.take_snapshot().statistics("lineno")[:20]
    finally:
        tracemalloc.stop()
    for client in clients:
        client.close()
    assert all(connection.is_synced for connection in hub.node.connections.connections)
    limit = 6000 if sys.version_info < (3, 14) else 6500
    assert each < limit, "\n".join(str(lines) for lines in largest)


def count_request_handlers() -> int:
    """Return the number of aiohttp's protocols in this process.

    `isinstance` would ask every object for its class. The proxies in the package of OpenAI answer
    by importing a thousand modules, whose memory would count as memory of the streams.
    """
    return sum(issubclass(type(each), RequestHandler) for each in gc.get_objects())


async def open_streams(hub: Hub, count: int, name: str = "u") -> list[socket.socket]:
    """Open streams of so many users, with sockets that cost the event loop nothing."""
    clients = []
    for n in range(count):
        client = socket.create_connection(("127.0.0.1", hub.port))
        client.sendall(f"GET /sse/connect/{name}{n} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        clients.append(client)
    async with asyncio.timeout(60):
        while sum(c.user.startswith(name) for c in hub.node.connections.connections) < count or any(
            connection.is_buffering for connection in hub.node.connections.connections
        ):
            await asyncio.sleep(0.01)
    return clients


async def test_drain_sends_bye_to_all(hub: Hub) -> None:
    """hub.bye is the last event on each of 100 streams; new streams get it too, with a 200."""
    streams = [hub.stream(f"/sse/connect/u{n}") for n in range(100)]
    opened: list[Stream] = [await stream.__aenter__() for stream in streams]
    await hub.node.connections.drain(0.0, asyncio.Event())
    for stream in opened:
        bye = await stream.next()
        assert bye.name == "hub.bye"
        data = json.loads(bye.data)
        assert 3000 <= data.pop("retry_ms") <= 3100
        assert data == {"reason": "draining", "reconnect": True}
        with pytest.raises(EOFError):
            await stream.next()
    for context in streams:
        await context.__aexit__(None, None, None)
    async with hub.stream("/sse/connect/late") as late:
        assert (late.response.status, late.opened.name) == (200, "hub.bye")


async def test_broker_away_ends_the_stream(hub: Hub) -> None:
    """A temporary error is a 200 and a stream that ends, so that browsers reconnect."""
    hub.backend.is_unavailable = True
    async with hub.stream("/sse/connect/alice") as stream:
        bye = json.loads(stream.opened.data)
    assert (stream.response.status, bye["reason"], bye["reconnect"]) == (200, "broker_away", True)


async def test_stream_that_ends_at_once_repeats_the_cursor(hub: Hub) -> None:
    """The hub.bye of a stream that has read nothing has the id that the client sent, because some
    clients forget theirs on a connection without one. It never has another one.
    """
    async with hub.stream("/sse/connect/alice?topics=t") as stream:
        sent = stream.opened.id
    _, started = await hub.call("POST", "/generations?user=alice", json={"prompt": "hi"})
    answer = f"/generations/{started['generation']}/stream?user=alice"
    await hub.node.connections.drain(0.0, asyncio.Event())
    path, header = "/sse/connect/alice?topics=t", "Last-Event-ID"
    for url, headers, expected in (
        (path, {header: sent}, sent),
        (f"{path}&cursor={sent}", {}, sent),
        (f"{path}&cursor=start", {header: sent}, sent),
        ("/sse/connect/alice", {header: sent}, f"{sent.partition('~')[0]}."),
        (path, {}, ""),
        (f"{path}&cursor=live", {}, ""),
        (f"{path}&cursor=start", {}, ""),
        (path, {header: "of another server"}, format_cursor(dict.fromkeys(CHANNELS, UNKNOWN))),
        (answer, {header: started["cursor"]}, started["cursor"]),
        (answer, {}, ""),
    ):
        async with hub.ask("GET", url, headers=headers) as response:
            (bye,) = SseDecoder().feed(await response.read())
        assert (bye.name, bye.id) == ("hub.bye", expected), (url, headers)
    body = {"topics": ["t"], "cursor": sent}
    async with hub.ask("POST", "/sse/connect/alice", json=body) as response:
        assert SseDecoder().feed(await response.read())[0].id == sent


async def test_client_that_never_reads_is_closed(hub: Hub) -> None:
    """Its socket and its outbox fill and it is closed; the others get every event."""
    _, writer = await asyncio.open_connection("127.0.0.1", hub.port, limit=1024)
    writer.write(b"GET /sse/connect/alice HTTP/1.1\r\nHost: x\r\n\r\n")
    async with hub.stream("/sse/connect/alice") as quick:
        await until(lambda: len(hub.node.connections) == 2)
        data = "x" * 30_000
        for n in range(1000):  # far more than the buffers of a kernel hold
            status, _ = await hub.publish(to={"user": "alice"}, event=f"e{n}", data=data)
            assert status == 200
            assert (await quick.next()).name == f"e{n}"
            if len(hub.node.connections) == 1:
                break
        assert len(hub.node.connections) == 1
        await hub.publish(to={"user": "alice"}, event="after", data=1)
        assert (await quick.next()).name == "after"
    writer.close()


async def test_client_that_disconnects_with_a_full_socket(hub: Hub) -> None:
    """A client that disconnects with a full socket is removed; the node does not loop on it."""
    _, writer = await asyncio.open_connection("127.0.0.1", hub.port, limit=1024)
    writer.write(b"GET /sse/connect/alice HTTP/1.1\r\nHost: x\r\n\r\n")
    await until(lambda: len(hub.node.connections) == 1)
    (connection,) = hub.node.connections.connections
    while not connection.queued_frames:
        await hub.publish(to={"user": "alice"}, data="x" * 30_000)
    writer.transport.abort()
    await until(lambda: len(hub.node.connections) == 0)
    with pytest.raises(ConnectionError):
        await connection.wait_writable()  # the recovery of a gap waits on this


async def test_publisher_cannot_inject(hub: Hub) -> None:
    """Lines in a string stay data; nothing that a publisher sends becomes a field."""
    text = "a\r\nevent: evil\rid: 9\n\ndata: x\u2028y"
    async with hub.stream("/sse/connect/alice") as stream:
        await hub.publish(to={"user": "alice"}, event="e", data=text)
        event = await stream.next()
    assert event.name == "e"
    assert event.data == "a\nevent: evil\nid: 9\n\ndata: x\u2028y"


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone counts the segments")
async def test_head_and_first_events_share_a_packet(hub: Hub) -> None:
    """A stream that begins at once is one write: head, hub.open and what the client missed."""
    await hub.publish(to={"user": "alice"}, data=1)
    async with hub.stream("/sse/connect/alice?cursor=start") as stream:
        assert (await stream.next()).data == "1"
        (connection,) = hub.node.connections.connections
        writer = connection.writer
        assert isinstance(writer, SocketWriter)
        sock = writer._transport.get_extra_info("socket")
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 192)
        assert struct.unpack_from("I", info, 156) == (1,)  # tcpi_data_segs_out


async def test_head_does_not_wait_for_the_log(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client whose stream cannot begin yet gets the head soon, and the events once afterwards."""
    subscriptions, is_back = hub.backend.subscriptions, asyncio.Event()
    subscribe = subscriptions.subscribe

    async def subscribe_later(channels: Collection[Channel]) -> None:
        await is_back.wait()
        await subscribe(channels)

    monkeypatch.setattr(subscriptions, "subscribe", subscribe_later)
    async with asyncio.timeout(60), hub.ask("GET", "/sse/connect/alice") as response:
        assert response.status == 200
        is_back.set()
        assert (await response.content.readuntil(b"\n\n")).count(b"hub.open") == 1


async def test_stream_that_ends_at_once_has_a_head(hub: Hub) -> None:
    """The hub closes a connection that it does not take: the head and hub.bye arrive."""
    await hub.node.connections.drain(0.0, asyncio.Event())
    async with asyncio.timeout(60), hub.ask("GET", "/sse/connect/alice") as response:
        assert response.status == 200
        assert (await response.read()).count(b"hub.bye") == 1
