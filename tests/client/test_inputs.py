"""Inputs and messages in the Python client: the events of an answer, and the requests."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from hub.core.channel import user_channel
from hub.core.generation import GenerationUpdate, UpdateKind
from hub.ports.events import Publication
from hub_client import (
    Answer,
    BadRequest,
    HubClient,
    HubClientError,
    InputExpired,
    InputReceived,
    InputRequested,
    NotFound,
    Started,
    Steered,
    SyncHubClient,
)
from tests.http.kit import Hub, running_hub
from tests.http.test_external_producers import KEYS

REQUEST: dict[str, Any] = {
    "input": "refund",
    "prompt": "Refund 40 €?",
    "options": ["approve", "deny"],
    "schema": None,
    "expires_at": 4102444800.5,
    "tool_call": None,
}
PART = {"type": "input", **REQUEST}


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    """A node without authentication and without workers."""
    async with running_hub(keys=KEYS) as running:
        yield running


async def publish(hub: Hub, answer: Answer, name: str, **fields: Any) -> None:
    """Publish an event of the answer as a worker does. Inputs change the record nowhere here."""
    kinds = {"started": UpdateKind.BEGIN, "delta": UpdateKind.DELTA}
    update = None
    if name in kinds:
        entries = str(fields.get("text", "")).encode()
        update = GenerationUpdate(answer.id, 1, kinds[name], index=0, entries=entries)
    data = json.dumps({"generation": answer.id, **fields}, separators=(",", ":")).encode()
    channel = user_channel("alice")
    event = Publication(channel=channel, name=f"generation.{name}", data=data, update=update)
    await hub.backend.events.publish([event])


async def test_events_and_state(hub: Hub) -> None:
    """An answer waits until its inputs have a value, or nobody gives one in time."""
    url = f"http://127.0.0.1:{hub.port}"
    async with asyncio.timeout(60), HubClient(url, user="alice") as client:
        answer = await client.ask("refund me")
        events = answer.events()
        statuses = []
        await publish(hub, answer, "started", attempt=1, model="m")
        await publish(hub, answer, "input_requested", i=0, **REQUEST)
        await publish(hub, answer, "input_requested", i=1, **{**REQUEST, "input": "other"})
        await publish(hub, answer, "input_received", input="refund", value={"n": 1}, by="bob")
        await publish(hub, answer, "input_expired", input="other")
        await publish(hub, answer, "steered", n=0, message={"role": "user"}, by="alice")
        read = []
        for _ in range(6):
            read.append(await anext(events))
            statuses.append((answer.status, [part["input"] for part in answer.waiting_inputs]))
        assert read == [
            Started(generation=answer.id, attempt=1, model="m"),
            InputRequested(generation=answer.id, i=0, **REQUEST),
            InputRequested(generation=answer.id, i=1, **{**REQUEST, "input": "other"}),
            InputReceived(generation=answer.id, input="refund", value={"n": 1}, by="bob"),
            InputExpired(generation=answer.id, input="other"),
            Steered(generation=answer.id, n=0, message={"role": "user"}, by="alice"),
        ]
        assert statuses == [
            ("running", []),
            ("waiting", ["refund"]),
            ("waiting", ["refund", "other"]),
            ("waiting", ["other"]),
            ("running", []),
            ("running", []),
        ]
        assert answer.parts == [
            {**PART, "state": "received", "value": {"n": 1}, "by": "bob"},
            {**PART, "input": "other", "state": "expired"},
        ]


async def test_messages(hub: Hub) -> None:
    """`steer` returns the number of the message, and `on_busy` the running answer from its start.

    A repeated request does not deliver a message twice, and an answer that takes none is an error.
    """
    async with HubClient(f"http://127.0.0.1:{hub.port}", user="alice") as client:
        answer = await client.ask("hi", upstream="support", chat="c")
        await publish(hub, answer, "started", attempt=1, model="m")
        await publish(hub, answer, "delta", i=0, text="Hel")
        assert await client.steer(answer.id, "shorter") == 0
        assert await answer.steer({"role": "user", "content": "in English"}) == 1
        steered = await client.ask("and a hat", upstream="support", chat="c", on_busy="steer")
        assert steered.id == answer.id
        assert await anext(steered) == "Hel"
        relayed = await client.ask("hi")
        with pytest.raises(BadRequest) as caught:
            await relayed.steer("shorter")
        assert caught.value.code == "not_steerable"
        with pytest.raises(NotFound):
            await client.steer("g00aaaaaaaaaaaaaaaa", "shorter")


async def test_without_an_event_loop(hub: Hub) -> None:
    """SyncHubClient has the same methods, with the URL of the public listener."""
    url = f"http://127.0.0.1:{hub.port}"
    async with HubClient(url, user="alice") as client:
        answer = await client.ask("hi", upstream="support")

    def run() -> None:
        with SyncHubClient(url=url, user="alice") as blocking:
            assert blocking.steer(answer.id, "shorter") == 0
            assert blocking.stop(answer.id) == "stopping"
            with pytest.raises(HubClientError, match="needs the internal listener"):
                blocking.nodes()
        with SyncHubClient(url) as blocking, pytest.raises(HubClientError, match="public listener"):
            blocking.respond(answer.id, "refund", "approve")

    await asyncio.to_thread(run)
    with pytest.raises(ValueError, match="needs internal_url or url"):
        SyncHubClient()
    with pytest.raises(ValueError, match=r"^url must be"):
        SyncHubClient(url="127.0.0.1:8080")
