"""The traffic of the soak test: publishers that retry, and clients that reconnect."""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections import Counter
from collections.abc import Sequence

import aiohttp
import jwt
import msgspec

from hub.core.sse_decoder import ServerSentEvent, SseDecoder
from tests.processes import Node
from tests.soak.ledger import Ledger

SECRET = secrets.token_hex(32)
KEY = secrets.token_hex(16)
TOKEN_SECONDS = (
    6.0,
    20.0,
)  # a stream ends with its token, and the client reconnects with a new one
_PUBLISH_TIMEOUT = aiohttp.ClientTimeout(total=5)
_STREAM_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=3, sock_read=6)


class Traffic:
    """The state that publishers and clients share."""

    def __init__(
        self, nodes: Sequence[Node], session: aiohttp.ClientSession, ledger: Ledger, seed: int
    ) -> None:
        self.nodes = nodes
        self.session = session
        self.ledger = ledger
        self.random = random.Random(seed)
        self.publishing = True
        self.counts: Counter[str] = Counter()
        self.slowest_seconds = 0.0
        self.responses: dict[str, tuple[Node, aiohttp.ClientResponse]] = {}

    def drop(self, node: Node) -> None:
        """Close the connections of all clients of a node."""
        for client_node, response in list(self.responses.values()):
            if client_node is node:
                response.close()


async def publish(traffic: Traffic, channel: str, pause_seconds: float) -> None:
    """Publish the events of a channel, each with an id and again until a node accepts it."""
    kind, _, name = channel.partition(":")
    to = {"all": True} if kind == "all" else {kind: name}
    n = 0
    while traffic.publishing:
        n += 1
        while True:
            body = {
                "to": to,
                "id": f"{channel}/{n}",
                "data": {"channel": channel, "n": n, "at": time.monotonic()},
            }
            node = traffic.random.choice(traffic.nodes)
            try:
                async with traffic.session.post(
                    f"{node.internal_url}/publish",
                    json=body,
                    headers={"Authorization": f"Bearer {KEY}"},
                    timeout=_PUBLISH_TIMEOUT,
                ) as response:
                    if response.status == 200:
                        result = await response.json()
                        traffic.counts["duplicates detected"] += result["published"][0]["duplicate"]
                        break
                    if response.status != 503:
                        raise AssertionError(f"{response.status} {await response.text()}")
                    traffic.counts["503"] += 1
            except (aiohttp.ClientError, TimeoutError, OSError):
                traffic.counts["publishes without a response"] += 1
            await asyncio.sleep(0.1)
        traffic.ledger.acknowledged[channel] = n
        await asyncio.sleep(traffic.random.uniform(0.5, 1.5) * pause_seconds)


class Client:
    """A client that reconnects with its cursor to a random node after every break."""

    def __init__(self, traffic: Traffic, name: str, user: str, topics: Sequence[str]) -> None:
        self.name = name
        self.opened = asyncio.Event()
        self._traffic = traffic
        self._claims = {"sub": user, "topics": list(topics)}
        self._path = f"/sse/connect/{user}" + (f"?topics={','.join(topics)}" if topics else "")
        self._cursor = ""
        traffic.ledger.add_client(name, [f"user:{user}", "all", *(f"topic:{t}" for t in topics)])

    async def run(self) -> None:
        """Stay connected until cancelled."""
        traffic = self._traffic
        while True:
            node = traffic.random.choice(traffic.nodes)
            headers = {"Authorization": f"Bearer {self._token()}"}
            if self._cursor:
                headers["Last-Event-ID"] = self._cursor
            try:
                async with traffic.session.get(
                    node.url + self._path, headers=headers, timeout=_STREAM_TIMEOUT
                ) as response:
                    if response.status != 200:
                        raise AssertionError(f"{response.status} {await response.text()}")
                    traffic.responses[self.name] = node, response
                    traffic.counts["connections"] += 1
                    decoder = SseDecoder()
                    async for chunk in response.content.iter_any():
                        for event in decoder.feed(chunk):
                            self._on_event(event)
            except (aiohttp.ClientError, TimeoutError, OSError):
                traffic.counts["breaks"] += 1
            finally:
                traffic.responses.pop(self.name, None)
            await asyncio.sleep(traffic.random.uniform(0.05, 0.5))

    def _token(self) -> str:
        """Return a token that is valid for some seconds."""
        until = time.time() + self._traffic.random.uniform(*TOKEN_SECONDS)
        return jwt.encode({**self._claims, "exp": until}, SECRET)

    def _on_event(self, event: ServerSentEvent) -> None:
        traffic, data = self._traffic, msgspec.json.decode(event.data)
        if event.name == "hub.reset":
            traffic.ledger.record_reset(self.name, data["channel"])
        elif event.name == "hub.open":
            self.opened.set()
        elif event.name == "hub.bye":
            traffic.counts[f"bye {data['reason']}"] += 1
        elif event.name == "notification":
            traffic.ledger.record_event(self.name, data["channel"], data["n"])
            delay = time.monotonic() - data["at"]
            traffic.slowest_seconds = max(traffic.slowest_seconds, delay)
        if event.id:
            self._cursor = event.id
