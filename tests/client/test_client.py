"""The Python client with a scripted server: resuming, retries, tokens and final errors."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from hub.core.sse import encode_event, with_id, with_retry
from hub.http.errors import problem_response
from hub.http.server import ListenAddress, listen, tls_context
from hub_client import (
    Forbidden,
    HubClient,
    HubUnavailable,
    HubUnreachable,
    NotAHub,
    NotFound,
    RetryPolicy,
    StreamEnded,
    StreamReset,
    SyncHubClient,
    To,
    TooManyRequests,
    Unauthorized,
)
from hub_client.http import Token
from hub_client.request import Request
from tests.certificates import write_certificate
from tests.topologies import free_ports

QUICK = RetryPolicy(min_delay_seconds=0.001)


class Scripted:
    """A server that sends one prepared response to each request, and then repeats the last one."""

    def __init__(self, *responses: bytes | web.Response) -> None:
        self.responses = list(responses)
        self.requests: list[web.Request] = []
        self.bodies: list[bytes] = []
        self.url = ""

    @property
    def cursors(self) -> list[str]:
        return [request.query["cursor"] for request in self.requests]

    @property
    def tokens(self) -> list[str]:
        return [request.headers["Authorization"].split()[1] for request in self.requests]

    @asynccontextmanager
    async def client(
        self, token: Token = None, retry: RetryPolicy = QUICK
    ) -> AsyncIterator[HubClient]:
        app = web.Application()
        app.add_routes([web.route("*", "/{path:.*}", self.respond)])
        address = ListenAddress("127.0.0.1", 0, "x")
        async with listen(app, address, cancel_handlers=True, shutdown_timeout_seconds=0.1) as port:
            self.url = url = f"http://127.0.0.1:{port}"
            async with HubClient(url, token, internal_url=url, user="alice", retry=retry) as client:
                yield client

    async def respond(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        self.bodies.append(await request.read())
        prepared = self.responses.pop(0) if len(self.responses) > 1 else self.responses[0]
        if isinstance(prepared, web.Response):
            return web.Response(
                status=prepared.status, body=prepared.body, headers=prepared.headers
            )
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(prepared)
        if request.transport is not None and not prepared.endswith(b"\n\n"):
            request.transport.abort()
        return response


def event(name: str, cursor: str) -> bytes:
    return with_retry(with_id(encode_event("e", b'"%b"' % name.encode()), cursor.encode()), 1)


def bye(reason: str, *, reconnect: bool) -> bytes:
    data = {"reason": reason, "reconnect": reconnect, "retry_ms": 1}
    return encode_event("hub.bye", json.dumps(data).encode())


def json_response(value: Any, status: int = 200) -> web.Response:
    return web.Response(status=status, body=json.dumps(value), content_type="application/json")


async def take(client: HubClient, count: int, **options: Any) -> list[str]:
    async with client.events(**options) as events:
        return [(await anext(events)).data for _ in range(count)]


async def test_resumes_from_the_last_event() -> None:
    """The client reconnects with the cursor of the last complete event."""
    server = Scripted(
        event("1", "aaaaa-1"),
        event("2", "aaaaa-2") + b"id: aaaaa-9\ndata: ha",
        event("3", "aaaaa-3"),
    )
    async with server.client() as client:
        assert await take(client, 3) == ["1", "2", "3"]
    assert server.cursors == ["live", "aaaaa-1", "aaaaa-2"]


async def test_bye_that_asks_to_reconnect() -> None:
    """The client reconnects after the requested time; with `control` it yields the hub.bye."""
    server = Scripted(
        event("1", "aaaaa-1") + bye("draining", reconnect=True), event("2", "aaaaa-2")
    )
    async with server.client() as client:
        assert await take(client, 2) == ["1", "2"]
        server.responses.insert(0, event("1", "aaaaa-1") + bye("draining", reconnect=True))
        async with client.events(control=True) as events:
            assert [(await anext(events)).name for _ in range(3)] == ["e", "hub.bye", "e"]


async def test_bye_that_ends_the_stream() -> None:
    """StreamEnded has the reason of the hub and comes after all events."""
    server = Scripted(event("1", "aaaaa-1") + bye("disconnected", reconnect=False))
    async with server.client() as client, client.events() as events:
        assert (await anext(events)).data == "1"
        with pytest.raises(StreamEnded, match="disconnected"):
            await anext(events)
    assert len(server.requests) == 1


async def test_reset_is_raised_and_the_stream_continues() -> None:
    """A reset is raised with the cursor where the stream continues, or yielded with `control`."""
    lost = encode_event("hub.reset", b'{"channel":"user:alice","reason":"trimmed"}')
    server = Scripted(event("1", "aaaaa-1") + with_id(lost, b"aaaaa-7") + event("2", "aaaaa-8"))
    async with server.client() as client:
        async with client.events() as events:
            assert (await anext(events)).data == "1"
            with pytest.raises(StreamReset, match="user:alice") as caught:
                await anext(events)
            assert (caught.value.reason, caught.value.cursor) == ("trimmed", "aaaaa-7")
            assert (await anext(events)).data == "2"
        async with client.events(control=True) as events:
            assert [(await anext(events)).name for _ in range(3)] == ["e", "hub.reset", "e"]


async def test_stream_continues_after_a_timeout() -> None:
    """A timeout around the next event loses nothing, while connected and during a delay."""
    server = Scripted(event("1", "aaaaa-1"), event("2", "aaaaa-2"))
    policy = RetryPolicy(min_delay_seconds=0.2)
    async with server.client(retry=policy) as client, client.events() as events:
        assert (await anext(events)).data == "1"
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await anext(events)
        assert (await anext(events)).data == "2"
    assert server.cursors == ["live", "aaaaa-1"]


async def test_dropped_stream_closes_its_connection() -> None:
    """A stream without references has no connection, and neither has a closed client."""
    disconnected = asyncio.Event()

    async def hold(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(event("1", "aaaaa-1"))
        try:
            await asyncio.Event().wait()
        finally:
            disconnected.set()
        return response

    app = web.Application()
    app.add_routes([web.get("/sse/connect", hold)])
    address = ListenAddress("127.0.0.1", 0, "x")
    async with (
        listen(app, address, cancel_handlers=True, shutdown_timeout_seconds=0.1) as port,
        asyncio.timeout(60),
    ):
        async with HubClient(f"http://127.0.0.1:{port}") as client:
            async for _ in client.events():
                break
            await disconnected.wait()
            disconnected.clear()
            kept = client.events()
            await anext(kept)
        await disconnected.wait()


async def test_temporary_error_is_retried() -> None:
    """A 502 from a proxy is retried."""
    server = Scripted(web.Response(status=502), event("1", "aaaaa-1"))
    async with server.client() as client:
        assert await take(client, 1) == ["1"]


async def test_refusal_is_final() -> None:
    """A 403 is not retried, and the error has the sentence of the hub."""
    server = Scripted(problem_response(403, "the token is another user's"))
    async with server.client("t") as client:
        with pytest.raises(Forbidden, match="another user's") as caught:
            await take(client, 1)
    assert caught.value.status == 403
    assert len(server.requests) == 1


async def test_incomplete_refusal_times_out() -> None:
    """Opening a stream times out when the body of an error response never arrives."""

    async def hang(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=403, headers={"Content-Length": "9"})
        await response.prepare(request)
        await asyncio.Event().wait()
        return response

    app = web.Application()
    app.add_routes([web.get("/generations/g1", hang)])
    address = ListenAddress("127.0.0.1", 0, "x")
    policy = RetryPolicy(timeout_seconds=0.05, min_delay_seconds=60, max_delay_seconds=60)
    async with (
        listen(app, address, cancel_handlers=True, shutdown_timeout_seconds=0.1) as port,
        HubClient(f"http://127.0.0.1:{port}", retry=policy) as client,
        asyncio.timeout(60),
    ):
        http = client.join("g1")._client
        request = Request(method="GET", path="/generations/g1", read=lambda _: None)
        with pytest.raises(HubUnreachable):
            await http.open_stream(request)


@pytest.mark.parametrize("url", ["127.0.0.1:8080", "ws://hub", "http://", "http://hub:x"])
def test_wrong_url_is_refused_at_once(url: str) -> None:
    """The constructors raise ValueError, because a stream would retry the URL without end."""
    with pytest.raises(ValueError, match="url must be an http://"):
        HubClient(url)
    with pytest.raises(ValueError, match="internal_url must be an http://"):
        HubClient("http://hub", internal_url=url)
    with pytest.raises(ValueError, match="internal_url must be an http://"):
        SyncHubClient(url)


async def test_server_that_is_not_a_hub() -> None:
    """An HTML page with status 200 is neither a stream nor the response to a publish."""
    server = Scripted(web.Response(body=b"<h1>It works!</h1>", content_type="text/html"))
    async with server.client() as client:
        with pytest.raises(NotAHub, match="is not a hub: it sends text/html"):
            await take(client, 1)
        attempts = len(server.requests)
        assert attempts == RetryPolicy().max_attempts
        with pytest.raises(NotAHub, match="is not a hub"):
            await client.publish({"all": True})
    assert len(server.requests) == 2 * attempts


async def test_refusal_of_a_server_that_is_not_a_hub() -> None:
    """An error page has no reason, so the error names the URL, without its query string."""
    server = Scripted(web.Response(status=404, body=b"<h1>Not here</h1>"))
    async with server.client() as client:
        with pytest.raises(NotFound) as refused:
            await client.inbox.list(unread=True)
        url = f"{server.url}/inbox"
        assert str(refused.value) == f"{url}: 404 Not Found"

        def list_blocking() -> None:
            with SyncHubClient(server.url) as blocking:
                blocking.publish({"all": True})

        with pytest.raises(NotFound, match=f"{server.url}/publish: 404 Not Found"):
            await asyncio.to_thread(list_blocking)


async def test_page_of_another_server_between_connections() -> None:
    """A stream and a request survive the HTML page of a captive portal or of a restarting proxy."""

    def page() -> web.Response:
        return web.Response(body=b"<h1>Log in</h1>", content_type="text/html")

    server = Scripted(page(), event("1", "aaaaa-1"), page(), page(), event("2", "aaaaa-2"))
    async with server.client() as client:
        assert await take(client, 2) == ["1", "2"]
    published = {"published": [{"channel": "all", "cursor": "aaaaa-1", "duplicate": False}]}
    server = Scripted(page(), web.json_response(published))
    async with server.client() as client:
        assert (await client.publish({"all": True}))[0].channel == "all"


async def test_many_topics_are_sent_by_post() -> None:
    """Topics that would make the URL too long are in the body."""
    server = Scripted(event("1", "aaaaa-1"))
    topics = [f"{n:0100}" for n in range(30)]
    async with server.client() as client:
        await take(client, 1, topics=topics, cursor="start")
    assert server.requests[0].method == "POST"
    assert json.loads(server.bodies[0]) == {"topics": topics, "cursor": "start"}


@pytest.mark.parametrize("is_async", [True, False])
async def test_expired_token_is_renewed(is_async: bool) -> None:
    """A 401 and the end of a stream by expiry renew the token; a reconnection keeps it."""
    tokens: list[str] = []

    def renew() -> str:
        tokens.append(f"t{len(tokens) + 1}")
        return tokens[-1]

    async def renew_async() -> str:
        return renew()

    server = Scripted(
        event("1", "aaaaa-1"),
        problem_response(401, "the token has expired"),
        event("2", "aaaaa-2") + bye("expired", reconnect=False),
        event("3", "aaaaa-3"),
    )
    async with server.client(renew_async if is_async else renew) as client:
        assert await take(client, 3) == ["1", "2", "3"]
    assert server.tokens == ["t1", "t1", "t2", "t3"]


async def test_token_from_a_file() -> None:
    """The newline at the end is not part of the token."""
    server = Scripted(event("1", "aaaaa-1"))
    for token in ("t\n", lambda: " t\r\n"):
        async with server.client(token) as client:
            await take(client, 1)
    assert server.tokens == ["t", "t"]


async def test_token_that_cannot_be_renewed() -> None:
    """A fixed token is not retried, and a renewed token is retried only once."""
    server = Scripted(problem_response(401, "the token has expired"))
    async with server.client("t") as client:
        with pytest.raises(Unauthorized):
            await take(client, 1)
    async with server.client(lambda: "t") as client:
        with pytest.raises(Unauthorized):
            await take(client, 1)
    assert len(server.requests) == 3


async def test_retries_have_the_same_key() -> None:
    """After a 503, a 429 and a broken response, the publish has the same idempotency key."""
    away = problem_response(503, "the broker is away; try again")
    too_many = problem_response(
        429, "this key may publish 1 event a second", headers={"Retry-After": "0"}
    )
    good = json_response({"published": [{"channel": "all", "cursor": "c", "duplicate": False}]})
    server = Scripted(away, too_many, b"", good)
    server.responses[2] = b"{"  # the connection is reset
    async with server.client() as client:
        (published,) = await client.publish({"all": True}, "e", 1)
    assert (published.channel, published.cursor, published.duplicate) == ("all", "c", False)
    assert len(server.bodies) == 4
    assert len(set(server.bodies)) == 1
    assert len(json.loads(server.bodies[0])["id"]) == 32


async def test_retries_end() -> None:
    """The last error is raised, and a long Retry-After is not waited for."""
    server = Scripted(problem_response(503, "the broker is away; try again"))
    async with server.client() as client:
        with pytest.raises(HubUnavailable, match="the broker is away"):
            await client.publish({"all": True})
    assert len(server.requests) == 4
    headers = {"Retry-After": "60"}
    server = Scripted(problem_response(429, "no", code="too_many_generations", headers=headers))
    async with server.client() as client:
        with pytest.raises(TooManyRequests) as caught:
            await client.ask("hi")
    assert (caught.value.retry_after_seconds, len(server.requests)) == (60.0, 1)
    assert caught.value.code == "too_many_generations"


async def test_reason_why_the_hub_is_not_reached(tmp_path: Path) -> None:
    """The error says in the words of the system why there is no connection."""
    cert, key = write_certificate(tmp_path)
    address = ListenAddress("127.0.0.1", 0, "x", tls=tls_context(cert, key, "x"))
    async with listen(web.Application(), address, cancel_handlers=True) as port:
        reasons = {
            f"https://localhost:{port}": "certificate.*SSL_CERT_FILE",
            f"http://127.0.0.1:{free_ports(1)[0]}": "Connection refused",
            "http://nowhere.invalid": "[Nn]ame",
        }
        for url, reason in reasons.items():
            async with HubClient(url, user="alice", retry=RetryPolicy(max_attempts=1)) as client:
                with pytest.raises(HubUnreachable, match=reason):
                    await client.ask("hi")
            sync = SyncHubClient(internal_url=url, key="k", retry=RetryPolicy(max_attempts=1))
            with pytest.raises(HubUnreachable, match=reason):
                await asyncio.to_thread(sync.publish, To(user="alice"), "hi")


async def test_error_page_of_a_proxy_has_no_code() -> None:
    """An error that is no problem document has a status, and no code."""
    server = Scripted(web.Response(status=404, body="<html>nginx</html>"))
    async with server.client() as client:
        with pytest.raises(NotFound) as caught:
            await client.publish({"all": True})
    assert (caught.value.status, caught.value.code) == (404, None)


async def test_retried_restart_has_the_same_key() -> None:
    """The retries of a restart share a key, and another restart has another key."""
    server = Scripted(problem_response(503, "the broker is away; try again"), b"{")
    async with server.client() as client:
        for _ in range(2):
            with pytest.raises(HubUnreachable):
                await client.join("g1").restart()
    keys = [request.headers["Idempotency-Key"] for request in server.requests]
    attempts = QUICK.max_attempts
    assert keys == [keys[0]] * attempts + [keys[attempts]] * attempts
    assert keys[0] != keys[attempts]
