"""The webhooks of connected users, with nodes that share a backend."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack

from hub.core.webhooks import Endpoint
from hub.engine.streams.user_presence import GRACE_SECONDS
from hub.testing.backend import MemoryBackend
from tests.doubles import until
from tests.http.kit import running_hub


async def test_two_nodes() -> None:
    """A user with connections to both nodes is connected once, and disconnected after the last."""
    backend, other = MemoryBackend(), MemoryBackend()
    other.webhooks, other.user_presence = backend.webhooks, backend.user_presence
    endpoint = Endpoint(id="w_000000000000", url="https://hooks.example/", secrets=("whsec_x",))
    await backend.webhooks.put(endpoint, max_endpoints=10)
    store = backend.user_presence
    async with AsyncExitStack() as opened:
        hubs = [
            await opened.enter_async_context(running_hub(backend=each)) for each in (backend, other)
        ]
        for hub in hubs:
            await hub.node.webhooks.endpoints.refresh()
        tasks = [asyncio.create_task(hub.node.user_presence.run()) for hub in hubs]
        await until(lambda: store.calls == 2)  # each node has looked for others that are gone
        async with AsyncExitStack() as streams:
            for hub in hubs:
                await streams.enter_async_context(hub.stream("/sse/connect/alice"))
            await until(lambda: store.calls == 4)
            assert (await backend.deliveries.counts("webhook")).waiting == 1
        (delivery,) = await backend.deliveries.list_waiting("webhook", 9)
        for task in tasks:
            task.cancel()
    body = json.loads(delivery.body)
    assert (body["type"], body["data"]) == ("user.connected", {"user": "alice"})
    assert GRACE_SECONDS == 10  # docs/guides/webhooks.md says so
