"""Limits over HTTP, and the address of a client behind proxies."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from typing import Any

import grpc
import msgspec
import pytest
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from hub.api.api_keys import ApiKey, ApiKeys, hash_key
from hub.api.client_address import ClientAddresses
from hub.core.rate_limit import TokenBucket
from hub.errors import OperatorError
from hub.grpc import hub_pb2 as pb
from hub.grpc.hub_pb2_grpc import HubInternalStub
from tests.http.kit import LIMITS, running_hub

BROWSER = {"User-Agent": "Mozilla/5.0"}


def test_bucket() -> None:
    """A burst of one second, then the given rate; a large request delays the next one."""
    bucket = TokenBucket(10.0, 0.0)
    assert [bucket.take(0.0) for _ in range(10)] == [0.0] * 10
    assert bucket.take(0.0) == pytest.approx(0.1)
    assert bucket.take(0.1) == 0.0
    assert bucket.take(5.0, 35) == 0.0
    assert bucket.take(5.0) == pytest.approx(2.6)
    slow = TokenBucket(0.5, 0.0)
    assert slow.take(0.0) == 0.0
    assert slow.take(0.0) == pytest.approx(2.0)


async def test_publishes_in_a_second() -> None:
    """Each key has its own limit; 429 with Retry-After."""
    ring = ApiKeys([ApiKey(name, hash_key(name), frozenset({"publish"})) for name in ("a", "b")])
    body = {"to": {"user": "alice"}}
    async with running_hub(keys=ring, rate=5.0) as hub:

        async def publish(key: str, path: str = "/publish", body: Any = body) -> tuple[int, Any]:
            headers = {"Authorization": f"Bearer {key}"}
            async with hub.ask("POST", path, internal=True, json=body, headers=headers) as r:
                return r.status, r.headers.get("Retry-After")

        assert [(await publish("a"))[0] for _ in range(5)] == [200] * 5
        assert await publish("a") == (429, "1")
        assert (await publish("b"))[0] == 200
        assert (await publish("b", "/publish/batch", [body] * 4))[0] == 200
        assert (await publish("b", "/publish/batch", [body] * 4))[0] == 429


async def test_publishes_by_whatever_route() -> None:
    """A key has one limit for single events, batches and gRPC."""
    body = {"to": {"user": "alice"}}
    async with (
        running_hub(rate=0.01) as hub,
        hub.serving_grpc(),
        grpc.aio.insecure_channel(f"127.0.0.1:{hub.grpc_internal_port}") as channel,
    ):
        assert (await hub.publish(**body))[0] == 200
        assert (await hub.publish(**body))[0] == 429
        assert (await hub.call("POST", "/publish/batch", internal=True, json=[body]))[0] == 429
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await HubInternalStub(channel).Publish(pb.PublishRequest(user="alice"))
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_lines_are_delayed() -> None:
    """Lines of a streamed body are published at the rate of the key, and none is refused."""
    headers = {"Content-Type": "application/x-ndjson"}
    line = json.dumps({"to": {"user": "alice"}}).encode() + b"\n"
    started_at, answers = time.monotonic(), b""
    async with running_hub(rate=50.0) as hub:
        for count in (60, 1):
            path, data = "/publish/batch", line * count
            async with hub.ask("POST", path, internal=True, data=data, headers=headers) as r:
                answers += await r.read()
    assert answers.count(b'"cursor":"') == 61
    assert time.monotonic() - started_at > 11 / 50


async def test_streams_from_one_address() -> None:
    """Further streams are refused until one has closed."""
    limits = msgspec.structs.replace(LIMITS, max_per_address=2)
    async with running_hub(limits=limits) as hub:
        async with (
            hub.stream("/sse/connect/a"),
            hub.stream("/sse/connect/b"),
            hub.ask("GET", "/sse/connect/c") as response,
        ):
            assert response.status == 429
            assert int(response.headers["Retry-After"]) > 0
        async with asyncio.timeout(60):
            while len(hub.node.connections):
                await asyncio.sleep(0.01)
        async with hub.stream("/sse/connect/c"):
            assert hub.node.connections.count_at_address("127.0.0.1") == 1


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/generations?user=a", {"prompt": "hi"}),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "hi"}]}),
        ("/v1/responses", {"input": "hi", "stream": True}),
    ],
)
async def test_address_with_too_many_streams_starts_nothing(path: str, body: Any) -> None:
    """A generation whose stream would be refused is not started."""
    limits = msgspec.structs.replace(LIMITS, max_per_address=1)
    async with running_hub(limits=limits) as hub, hub.stream("/sse/connect/a"):
        accept = {"Accept": "text/event-stream"}
        async with hub.ask("POST", path, json=body, headers=accept) as response:
            assert response.status == 429
        assert not hub.backend.generations.records
        queued = {"input": "hi", "background": True}
        status, response = await hub.call("POST", "/v1/responses", json=queued)
        assert status == 200
        status, ended = await hub.call("POST", f"/v1/responses/{response['id']}/cancel")
        assert (status, ended["status"]) == (200, "cancelled")


@pytest.mark.parametrize(
    ("remote", "forwarded", "address"),
    [
        ("203.0.113.5", ["1.2.3.4"], "203.0.113.5"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["1.2.3.4"], "1.2.3.4"),
        ("10.0.0.1", ["6.6.6.6, 1.2.3.4"], "1.2.3.4"),
        ("10.0.0.1", ["6.6.6.6", "1.2.3.4, 10.9.9.9"], "1.2.3.4"),
        ("10.0.0.1", ["6.6.6.6, nonsense"], "10.0.0.1"),
        ("10.0.0.1", ["10.1.1.1, 10.2.2.2"], "10.1.1.1"),
        ("2001:db8::1", ["2001:db8:1::7"], "2001:db8:1::7"),
        # A listener on :: sees IPv4 clients and proxies in this form.
        ("::ffff:203.0.113.5", ["1.2.3.4"], "203.0.113.5"),
        ("::ffff:10.0.0.1", ["1.2.3.4"], "1.2.3.4"),
        ("10.0.0.1", ["6.6.6.6, ::ffff:1.2.3.4, ::ffff:10.9.9.9"], "1.2.3.4"),
        ("2001:DB8::0:1", [], "2001:db8::1"),
    ],
)
def test_client_behind_proxies(remote: str, forwarded: list[str], address: str) -> None:
    """Only the headers of trusted proxies count, not those of the client."""
    headers: Any = [("X-Forwarded-For", each) for each in forwarded]
    request = make_mocked_request("GET", "/", headers=CIMultiDict(headers)).clone(remote=remote)
    assert ClientAddresses(["10.0.0.0/8", "2001:db8::1"]).of(request) == address


@pytest.mark.parametrize("network", ["::ffff:10.0.0.0/104", "::ffff:10.0.0.1", "::ffff:0:0/96"])
def test_trusted_network_in_ipv6_form(network: str) -> None:
    """A network of IPv4-mapped addresses, as a listener on :: reports them, means IPv4 ones."""
    headers: Any = [("X-Forwarded-For", "1.2.3.4")]
    for remote in ("10.0.0.1", "::ffff:10.0.0.1"):
        request = make_mocked_request("GET", "/", headers=CIMultiDict(headers))
        assert ClientAddresses([network]).of(request.clone(remote=remote)) == "1.2.3.4"


def test_invalid_network() -> None:
    """It is a configuration error."""
    with pytest.raises(OperatorError, match="trusted_proxies"):
        ClientAddresses(["proxy.internal"])


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example:8080", **BROWSER}, 403),
        ({"Host": "evil.example", "Origin": "http://evil.example"}, 403),
        ({"Host": "localhost:8080", **BROWSER}, 200),
        ({"Host": "127.0.0.1", **BROWSER}, 200),
        ({"Host": "[::1]:8080", **BROWSER}, 200),
        ({"Host": "evil.example"}, 200),
    ],
)
async def test_dns_rebinding(headers: dict[str, str], status: int) -> None:
    """Without tokens, a browser that used another host name gets nothing."""
    async with running_hub() as hub:
        async with hub.ask("GET", "/sse/connect/alice", headers=headers) as response:
            assert response.status == status
        body = {"to": {"user": "alice"}}
        async with hub.ask("POST", "/publish", internal=True, json=body, headers=headers) as r:
            assert r.status == status


async def test_bye_after_the_frames_that_wait() -> None:
    """A client whose socket is full when the hub ends its stream gets the rest, then hub.bye."""
    async with running_hub() as hub:
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        client.setblocking(False)
        await asyncio.get_running_loop().sock_connect(client, ("127.0.0.1", hub.port))
        reader, writer = await asyncio.open_connection(sock=client, limit=8192)
        writer.write(b"GET /sse/connect/alice HTTP/1.0\r\n\r\n")
        await reader.readuntil(b"hub.open")
        (connection,) = hub.node.connections.connections
        published = 0
        while not connection.queued_frames:
            await hub.publish(to={"user": "alice"}, data=f"{published} " + "x" * 20_000)
            published += 1
        await hub.node.connections.drain(0.0, asyncio.Event())
        async with asyncio.timeout(60):
            received = await reader.read()
        assert received.count(b"event: notification") == published
        assert b"event: hub.bye" in received[-300:]
        writer.close()
