"""The traffic of the soak test: publishers that retry, and clients that reconnect."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Sequence

import aiohttp
import jwt
import msgspec

from hub.core.sse_decoder import ServerSentEvent, SseDecoder
from tests.soak.ledger import Ledger
from tests.soak.run import Soak

SECRET = secrets.token_hex(32)
KEY = secrets.token_hex(16)
TOKEN_SECONDS = (
    6.0,
    20.0,
)  # a stream ends with its token, and the client reconnects with a new one
_STREAM_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=3, sock_read=6)


async def publish(soak: Soak, ledger: Ledger, channel: str, pause_seconds: float) -> None:
    """Publish the events of a channel, each with an id and again until a node accepts it."""
    kind, _, name = channel.partition(":")
    to = {"all": True} if kind == "all" else {kind: name}
    headers = {"Authorization": f"Bearer {KEY}"}
    n = 0
    while soak.is_driving:
        n += 1
        body = {
            "to": to,
            "id": f"{channel}/{n}",
            "data": {"channel": channel, "n": n, "at": time.monotonic()},
        }
        result = await soak.call("POST", "/publish", body, internal=True, headers=headers)
        soak.counts["duplicates detected"] += result["published"][0]["duplicate"]
        ledger.acknowledged[channel] = n
        await asyncio.sleep(soak.random.uniform(0.5, 1.5) * pause_seconds)


class Client:
    """A client that reconnects with its cursor to a random node after every break."""

    def __init__(
        self, soak: Soak, ledger: Ledger, name: str, user: str, topics: Sequence[str]
    ) -> None:
        self.name = name
        self.opened = asyncio.Event()
        self._soak = soak
        self._ledger = ledger
        self._claims = {"sub": user, "topics": list(topics)}
        self._path = f"/sse/connect/{user}" + (f"?topics={','.join(topics)}" if topics else "")
        self._cursor = ""
        ledger.add_client(name, [f"user:{user}", "all", *(f"topic:{t}" for t in topics)])

    async def run(self) -> None:
        """Stay connected until cancelled."""
        soak = self._soak
        while True:
            node = soak.random.choice(soak.nodes)
            headers = {"Authorization": f"Bearer {self._token()}"}
            if self._cursor:
                headers["Last-Event-ID"] = self._cursor
            try:
                async with soak.session.get(
                    node.url + self._path, headers=headers, timeout=_STREAM_TIMEOUT
                ) as response:
                    if response.status != 200:
                        raise AssertionError(f"{response.status} {await response.text()}")
                    soak.responses[self.name] = node, response
                    soak.counts["connections"] += 1
                    decoder = SseDecoder()
                    async for chunk in response.content.iter_any():
                        for event in decoder.feed(chunk):
                            self._on_event(event)
            except (aiohttp.ClientError, TimeoutError, OSError):
                soak.counts["breaks"] += 1
            finally:
                soak.responses.pop(self.name, None)
            await asyncio.sleep(soak.random.uniform(0.05, 0.5))

    def _token(self) -> str:
        """Return a token that is valid for some seconds."""
        until = time.time() + self._soak.random.uniform(*TOKEN_SECONDS)
        return jwt.encode({**self._claims, "exp": until}, SECRET)

    def _on_event(self, event: ServerSentEvent) -> None:
        soak, ledger, data = self._soak, self._ledger, msgspec.json.decode(event.data)
        if event.name == "hub.reset":
            ledger.record_reset(self.name, data["channel"])
        elif event.name == "hub.open":
            self.opened.set()
        elif event.name == "hub.bye":
            soak.counts[f"bye {data['reason']}"] += 1
        elif event.name == "notification":
            ledger.record_event(self.name, data["channel"], data["n"])
            delay = time.monotonic() - data["at"]
            ledger.slowest_seconds = max(ledger.slowest_seconds, delay)
        if event.id:
            self._cursor = event.id
