"""Ten thousand broken requests to a real node: each is answered with a reason and does no harm.

A valid request of every route is changed in one to four places, in its bytes or in its JSON. The
seed is fixed, so that a failure is reproducible.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import pytest

from tests.e2e.cluster import Cluster, create_cluster

REQUESTS: Final = 10_000
READERS: Final = 20
_PUBLISH: Final = {"to": {"user": "fuzz"}, "event": "e", "data": {"a": [1, "ü"]}, "id": "k"}
_CALL: Final = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
CHAT: Final = {
    "stream": True,
    "messages": [
        {"role": "user", "content": [{"type": "text", "text": "hi"}]},
        {"role": "assistant", "tool_calls": [_CALL]},
        {"role": "tool", "tool_call_id": "c", "content": "7"},
    ],
}
RESPONSE: Final = {
    "background": True,
    "input": [
        {"role": "user", "content": [{"type": "input_image", "image_url": "x:y"}]},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "7"},
    ],
    "tools": [{"type": "function", "name": "f"}],
    "tool_choice": {"type": "function", "name": "f"},
    "text": {"format": {"type": "json_schema", "schema": {}}},
    "reasoning": {"effort": "low"},
}
_TOOL: Final = {"type": "tool-f", "toolCallId": "c", "state": "output-available", "output": 1}
UI: Final = {
    "id": "chat",
    "messages": [
        {
            "role": "user",
            "id": "u",
            "parts": [{"type": "file", "mediaType": "image/x", "url": "u"}],
        },
        {"role": "assistant", "id": "a", "parts": [{"type": "step-start"}, _TOOL]},
    ],
}
AGUI: Final = {
    "threadId": "t",
    "runId": "r",
    "messages": [{"id": "u", "role": "user", "content": [{"type": "image", "source": {}}]}],
    "tools": [{"name": "f"}],
    "context": [{"value": "v"}],
    "forwardedProps": {"params": {}},
}
_BLOCKS: Final[dict[str, list[Any]]] = {
    "user": [
        {"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}},
        {"type": "document", "source": {"type": "text", "data": "d"}, "title": "t"},
        {"type": "tool_result", "tool_use_id": "c", "content": [{"type": "text", "text": "7"}]},
    ],
    "assistant": [
        {"type": "thinking", "thinking": "hm", "signature": "hub1_W10="},
        {"type": "redacted_thinking", "data": "x"},
        {"type": "tool_use", "id": "c", "name": "f", "input": {"a": 1}},
    ],
}
MESSAGES: Final = {
    "stream": True,
    "max_tokens": 9,
    "system": [{"type": "text", "text": "s"}],
    "messages": [{"role": role, "content": blocks} for role, blocks in _BLOCKS.items()],
    "tools": [{"name": "f", "input_schema": {"type": "object"}}],
    "tool_choice": {"type": "tool", "name": "f", "disable_parallel_tool_use": True},
    "stop_sequences": ["x"],
    "metadata": {"user_id": "u"},
    "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": {}}},
}
PUBLIC: Final[list[tuple[str, str, Any]]] = [
    ("GET", "/generations/g00aaaaaaaaaaaaaaaa?user=fuzz", None),
    ("DELETE", "/generations/g00aaaaaaaaaaaaaaaa?user=fuzz", None),
    ("POST", "/generations/g00aaaaaaaaaaaaaaaa/restart?user=fuzz", None),
    ("POST", "/generations?user=fuzz", {"prompt": "hi", "params": {"t": 1}, "id": "x"}),
    ("POST", "/generations?user=fuzz", {"messages": [{"role": "user", "content": "hi"}]}),
    ("POST", "/generations/stream?user=fuzz&heartbeat=4", {"prompt": "hi"}),
    ("GET", "/generations/g00aaaaaaaaaaaaaaaa/stream?user=fuzz&cursor=7kQ2x-4C", None),
    ("GET", "/sse/connect/fuzz?topics=a,b&cursor=7kQ2x-4C", None),
    ("GET", "/sse/connect?user=fuzz", None),
    ("GET", "/sse/connect/fuzz?ticket=abc", None),
    ("POST", "/sse/connect/fuzz", {"topics": ["a"], "cursor": "live"}),
    ("GET", "/ws/connect/fuzz", None),
    ("GET", "/poll/connect/fuzz?wait=0&cursor=live", None),
    ("POST", "/tickets?user=fuzz", None),
    ("OPTIONS", "/generations", None),
    ("POST", "/generations?user=fuzz&shape=text", {"prompt": "hi"}),
    ("POST", "/v1/chat/completions", CHAT),
    ("GET", "/v1/models/m", None),
    ("POST", "/v1/responses", RESPONSE),
    ("GET", "/v1/responses/resp_g00aaaaaaaaaaaaaaaa?stream=true&starting_after=3", None),
    ("POST", "/v1/ui/chat", UI),
    ("GET", "/v1/ui/chat/chat/stream?startIndex=-3", None),
    ("DELETE", "/v1/ui/chat/chat", None),
    ("POST", "/v1/agui", AGUI),
    ("POST", "/v1/messages?beta=true", MESSAGES),
    ("POST", "/v1/messages/count_tokens", MESSAGES),
]
INTERNAL: Final[list[tuple[str, str, Any]]] = [
    ("POST", "/publish", _PUBLISH),
    ("POST", "/publish", {"to": {"users": ["a", "b"]}, "data": "x", "ttl_seconds": 5}),
    ("POST", "/publish", {"to": {"topic": "t"}, "ephemeral": True}),
    ("POST", "/publish/batch", [_PUBLISH, _PUBLISH]),
    ("GET", "/usage?user=fuzz&days=3&day=2026-01-31", None),
    ("DELETE", "/users/fuzz/connections?block_seconds=0", None),
    ("POST", "/revocations", {"jti": "a", "expires_at": 1e9}),
    ("GET", "/users/fuzz?limit=5", None),
    ("GET", "/users/fuzz/events?after=7kQ2x-4C&limit=3", None),
    ("GET", "/connections?limit=5", None),
    ("GET", "/nodes", None),
    ("GET", "/healthz", None),
    ("GET", "/readyz", None),
]
ODD: Final = [
    *(b"\0", b"\r\n", b"\n", b"\xff\xfe", b"\xc3\x28", b"%00", b"%ff", b"%0d%0a", b"../", b"\\"),
    *(
        b"{",
        b"]",
        b'"',
        b"null",
        b"1e999",
        b"-0",
        b"9" * 400,
        b"[" * 2000,
        b"A" * 9000,
        b"\xe2\x80\xa8",
    ),
]
VALUES: Final[list[Any]] = [
    *(None, True, -1, 0, 1e308, 2**70, "", "\0", "\r\nevent: x", "x" * 5000, "\ud800", [], {}),
    *([[]], {"user": "a", "all": True}, "a b", "..", "%2e", [None] * 50),
]


class Mutator:
    """Breaks valid requests."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def request(self, method: str, path: str, body: Any) -> bytes:
        """Return the bytes of a request, broken or not."""
        pick = self._random
        if body is not None and pick.random() < 0.6:
            body = self.broken(body)
        text = b"" if body is None else json.dumps(body).encode()
        if text and pick.random() < 0.3:
            text = self._bytes(text)
        headers = [b"Host: h", b"Content-Type: application/json"]
        if text or method == "POST":
            headers.append(b"Content-Length: %d" % len(text))
        for _ in range(pick.choice([0, 0, 0, 1, 2, 60])):
            name = pick.choice([b"Last-Event-ID", b"X-A", b"Cookie", b"Authorization", b"Accept"])
            value = pick.choice([b"text/event-stream", b"Bearer x.y.z", pick.choice(ODD), b"v"])
            headers.append(name + b": " + value.replace(b"\n", b"").replace(b"\r", b""))
        line = f"{method} {path} HTTP/1.1".encode()
        if pick.random() < 0.4:
            line = self._bytes(line)
        whole = line + b"\r\n" + b"\r\n".join(headers) + b"\r\n\r\n" + text
        return self._bytes(whole) if pick.random() < 0.1 else whole

    def _bytes(self, data: bytes) -> bytes:
        pick = self._random
        for _ in range(pick.randint(1, 4)):
            at = pick.randrange(len(data) + 1)
            match pick.randrange(4):
                case 0:
                    data = data[:at] + bytes([pick.randrange(256)]) + data[at + 1 :]
                case 1:
                    data = data[:at] + data[at + pick.randint(1, 8) :]
                case 2:
                    data = data[:at] + pick.choice(ODD) + data[at:]
                case _:
                    data = data[:at] + data[max(0, at - 20) :]
        return data

    def broken(self, value: Any) -> Any:
        """Return a JSON value with one part changed."""
        pick = self._random
        if pick.random() < 0.25:
            return pick.choice(VALUES)
        if isinstance(value, dict) and value:
            changed = dict(value)
            name = pick.choice([*changed, "odd"])
            if pick.random() < 0.3:
                changed.pop(name, None)
            else:
                changed[name] = self.broken(changed.get(name))
            return changed
        if isinstance(value, list) and value:
            return [self.broken(each) for each in value]
        return pick.choice(VALUES)


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    """A node without authentication, with an upstream but no worker."""
    async with create_cluster() as cluster:
        cluster.set("UPSTREAMS__SIM__BASE_URL", "http://127.0.0.1:9/v1")
        cluster.set("UPSTREAMS__SIM__DEFAULT_MODEL", "m")
        await cluster.start()
        yield cluster


class FirstLine(asyncio.Protocol):
    """Receives the first line of a response. is_complete: set then, and when the server closes the
    connection. A stream of asyncio would cost this process more than all the rest of a request.
    """

    def __init__(self) -> None:
        self.received = b""
        self.is_complete = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        """Add what has arrived."""
        self.received += data
        if b"\n" in self.received:
            self.is_complete.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """Complete the line: no more bytes come."""
        self.is_complete.set()

    async def wait(self, seconds: float) -> bool:
        """Wait until it is complete, at most so long, and return whether it is."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.is_complete.wait()
        return self.is_complete.is_set()


async def status_of(port: int, request: bytes) -> int | None:
    """Return the status of the response; None if the connection was closed or waits for more."""
    loop = asyncio.get_running_loop()
    transport, line = await loop.create_connection(FirstLine, "127.0.0.1", port)
    try:
        transport.write(request)
        # A node that has not answered waits for more, or it is busy until it answers a later one.
        if not await line.wait(0.05):
            await answer_to_another(port)
            await line.wait(0.1)
    finally:
        transport.abort()
    match = re.match(rb"HTTP/1\.[01] (\d{3}) ", line.received)
    return int(match[1]) if match else None


async def answer_to_another(port: int) -> None:
    """Return once a new request has been answered."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /nothing HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
    async with asyncio.timeout(60):
        await reader.read()
    writer.transport.abort()


def resident_mb(pid: int) -> float:
    """Return the resident memory of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * 4096 / 1e6


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_ten_thousand_broken_requests(cluster: Cluster) -> None:
    """No request causes a 5xx, an unexpected log line or growth."""
    mutator = Mutator(20261121)
    ports = (cluster.port, cluster.internal_port)
    routes = [(ports[0], *each) for each in PUBLIC] + [(ports[1], *each) for each in INTERNAL]
    requests = [
        (port, mutator.request(method, path, body))
        for n in range(REQUESTS)
        for port, method, path, body in [routes[n % len(routes)]]
    ]
    statuses: Counter[int | None] = Counter()
    bad: list[bytes] = []

    async def send(batch: list[tuple[int, bytes]]) -> None:
        for port, request in batch:
            status = await status_of(port, request)
            statuses[status] += 1
            if status is not None and status >= 500:
                bad.append(request[:300])

    async def send_all(some: list[tuple[int, bytes]]) -> None:
        await asyncio.gather(*(send(some[n::READERS]) for n in range(READERS)))

    await send_all(requests[: REQUESTS // 4])
    before = resident_mb(cluster.node.pid)
    await send_all(requests[REQUESTS // 4 :])
    assert bad == []
    assert cluster.node.returncode is None
    assert resident_mb(cluster.node.pid) - before < 30
    log = cluster.log("serve")
    failures = [line[:2000] for line in log.splitlines() if "request.failed" in line]
    assert failures == []
    assert "Traceback" not in log
    assert statuses[200] > REQUESTS / 20  # some were good all the same,
    assert sum(n for s, n in statuses.items() if s and 400 <= s < 500) > REQUESTS / 3  # many not
    async with cluster.session.get(f"{cluster.internal_url}/readyz") as answer:
        assert answer.status == 200


HEAD: Final = b"POST /publish HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n"
GET: Final = b"GET / HTTP/1.1\r\nHost: h\r\n"
ATTACKS: Final = {
    "a body of 100 MB": HEAD + b"Content-Length: 100000000\r\n\r\n",
    "100,000 headers": GET + b"X: y\r\n" * 100_000 + b"\r\n",
    "a path of 100 kB": b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: h\r\n\r\n",
    "a header of 100 kB": GET + b"X: " + b"b" * 100_000 + b"\r\n\r\n",
    "two lengths": GET + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n",
    "length and chunks": HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
}


async def test_protocol_level(cluster: Cluster) -> None:
    """Oversized parts, request smuggling and TLS on a plain port get a 4xx or are closed."""
    for attack, request in ATTACKS.items():
        for port in (cluster.port, cluster.internal_port):
            status = await status_of(port, request)
            assert status is None or 400 <= status < 500, attack
    assert cluster.node.returncode is None
    assert "Traceback" not in cluster.log("serve")
    assert "aaaa" not in cluster.log("serve")  # nothing of what was sent is in the log


async def test_slow_requests_hold_nothing(cluster: Cluster) -> None:
    """Clients that send a header byte by byte do not block others, and are disconnected in time."""
    slow = [await asyncio.open_connection("127.0.0.1", cluster.port) for _ in range(200)]
    for _, writer in slow:
        writer.write(b"GET /sse/connect/a HTTP/1.1\r\nHost:")
    good = b"GET /generations/g00aaaaaaaaaaaaaaaa?user=a HTTP/1.1\r\nHost: h\r\n\r\n"
    assert await status_of(cluster.port, good) == 404
    for _, writer in slow:
        writer.transport.abort()
