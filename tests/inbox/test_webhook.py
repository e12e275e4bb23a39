"""The webhook of items that a user has read."""

from __future__ import annotations

import json

from hub.core.webhooks import Endpoint
from tests.http.kit import running_hub


async def test_reading_is_sent_to_endpoints() -> None:
    """One delivery for each endpoint, with the ids of the items; reading them again sends none."""
    async with running_hub() as hub:
        endpoint = Endpoint(
            id="w_000000000000",
            url="https://hooks.example/",
            secrets=("whsec_" + "a" * 32,),
            events=("inbox.read",),
        )
        await hub.backend.webhooks.put(endpoint, max_endpoints=10)
        await hub.node.webhooks.endpoints.refresh()
        _, published = await hub.publish(to={"user": "alice"}, inbox=True)
        item = published["published"][0]["item"]
        for change in ("seen", "read", "read"):
            path = f"/inbox/{change}?user=alice"
            assert (await hub.call("POST", path, json={"items": [item]}))[0] == 200
        (delivery,) = await hub.backend.deliveries.list_waiting("webhook", 9)
        body = json.loads(delivery.body)
    assert (body["type"], body["data"]) == ("inbox.read", {"user": "alice", "items": [item]})
