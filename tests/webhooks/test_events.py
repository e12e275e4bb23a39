"""Every end of an answer has its webhooks, in the same step, and nothing else costs anything."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from hub.core.channel import topic_channel, user_channel
from hub.core.deliveries import Done
from hub.core.generation import GenerationUpdate, Status, UpdateKind
from hub.core.webhooks import EVENT_NAMES, MAX_BODY_BYTES, WEBHOOK_QUEUE, Endpoint, build_body
from hub.errors import BrokerUnavailable
from hub.ports.events import Outcome, Publication
from hub.settings import Settings
from hub.testing.backend import MemoryBackend
from hub.testing.contracts.generations import GenerationKit
from hub.testing.contracts.node import ALICE, Node
from hub.webhooks.endpoints import Endpoints
from hub.webhooks.events import WebhookDeliveries, WebhookEventLog
from tests.doubles import FakeClock
from tests.http.kit import Hub, running_hub
from tests.webhooks.receiver import SECRET

PLAIN = {"url": "https://a.example/", "secrets": [SECRET]}
RECORD = {"url": "https://b.example/", "secrets": [SECRET], "include": "record"}


@asynccontextmanager
async def hub_with(*webhooks: Mapping[str, Any]) -> AsyncIterator[Hub]:
    given = Settings(webhooks=list(webhooks)).webhooks
    async with running_hub(tables={"webhooks": given}) as hub:
        yield hub


async def take_bodies(backend: Any, *, endpoint: str | None = None) -> list[dict[str, Any]]:
    """Take everything that is due and return the bodies, each lane in order."""
    bodies = []
    while taken := await backend.deliveries.take(WEBHOOK_QUEUE, 100, lease_seconds=60.0):
        for each in taken:
            if endpoint is None or each.lane == endpoint:
                bodies.append(json.loads(each.body))
            await backend.deliveries.complete(each, Done())
    return bodies


async def start(hub: Hub, **more: Any) -> str:
    status, body = await hub.call("POST", "/generations?user=alice", json={"prompt": "hi", **more})
    assert status == 202
    generation: str = body["generation"]
    return generation


async def test_stopped_while_queued() -> None:
    """An answer that is stopped before any worker has it ends with its webhook."""
    async with hub_with(PLAIN) as hub:
        generation = await start(hub)
        await hub.call("DELETE", f"/generations/{generation}?user=alice")
        (body,) = await take_bodies(hub.backend)
    assert body["type"] == "generation.stopped"
    assert body["data"]["generation"] == generation
    assert body["data"]["user"] == "alice"
    assert body["timestamp"].endswith("Z")


async def test_external_producer() -> None:
    """What a process of the application ends, it gets as a webhook, with the whole record."""
    async with hub_with(PLAIN, RECORD) as hub:
        status, attempt = await hub.call(
            "POST",
            "/generations",
            internal=True,
            json={"to": {"user": "alice"}, "producer": "external"},
        )
        assert status == 201, attempt
        parts = [{"seq": 0, "type": "text", "text": "hello"}, {"seq": 1, "type": "end"}]
        status, posted = await hub.call(
            "POST",
            f"/generations/{attempt['generation']}/parts",
            internal=True,
            json=parts,
            headers={"Hub-Lease": attempt["lease"]},
        )
        assert status == 200, posted
        bodies = await take_bodies(hub.backend)
        snapshot = (await hub.call("GET", f"/generations/{attempt['generation']}", internal=True))[
            1
        ]
    assert [body["type"] for body in bodies] == ["generation.done"] * 2
    records = [body["data"].get("record") for body in bodies]
    record = next(record for record in records if record)
    assert record["text"] == "hello"
    del snapshot["moments"]  # only the route has them
    assert record == snapshot


class Case:
    """The event log with endpoints, over a backend in memory."""

    def __init__(self, *endpoints: Endpoint) -> None:
        self.backend = MemoryBackend()
        self.finds = 0
        registry = Endpoints(self.backend.webhooks, FakeClock(), endpoints)
        deliveries = WebhookDeliveries(registry)
        raw = self.backend.events
        self.publish_calls: list[int] = []
        publish = raw.publish

        async def counted(publications: Any) -> Any:
            self.publish_calls.append(len(publications))
            return await publish(publications)

        raw.publish = counted  # type: ignore[method-assign]
        find = self.backend.generations.find

        async def counted_find(generation: str) -> Any:
            self.finds += 1
            return await find(generation)

        self.backend.generations.find = counted_find  # type: ignore[method-assign]
        self.log = WebhookEventLog(raw, self.backend.generations, registry, deliveries)

    async def run(self, status: Status, *, entries: bytes = b"") -> str:
        """Begin and end an answer of alice."""
        kit = GenerationKit(Node(self.backend, listens=False))
        await kit.create()
        await kit.update(UpdateKind.BEGIN, status=Status.RUNNING)
        await self.end(kit.id, status, entries=entries)
        return kit.id

    async def end(self, generation: str, status: Status, **more: Any) -> Outcome:
        update = GenerationUpdate(generation, 1, UpdateKind.END, status, **more)
        data = json.dumps({"generation": generation}).encode()
        publication = Publication(
            channel=ALICE, name=f"generation.{status.value}", data=data, update=update
        )
        (published,) = await self.log.publish([publication])
        return published.outcome


def endpoint(number: int = 1, **more: Any) -> Endpoint:
    return Endpoint(id=f"s_{number:012}", url="https://a.example/", secrets=(SECRET,), **more)


@pytest.mark.parametrize("status", [Status.DONE, Status.STOPPED, Status.FAILED])
async def test_each_end(status: Status) -> None:
    """Each kind of end is delivered to the endpoints that want it, once."""
    case = Case(endpoint(1), endpoint(2, events=("generation.failed",)), endpoint(3, events=()))
    generation = await case.run(status)
    assert await case.end(generation, Status.DONE) is Outcome.ENDED
    bodies = await take_bodies(case.backend)
    expected = 2 if status is Status.FAILED else 1
    assert [body["type"] for body in bodies] == [f"generation.{status.value}"] * expected
    assert {body["data"]["user"] for body in bodies} == {"alice"}


async def test_cost() -> None:
    """Without an endpoint for it an end costs nothing; without `include` it costs no read."""
    for endpoints, finds in (
        ((), 0),
        ((endpoint(1, events=("inbox.read",), include="record"),), 0),
        ((endpoint(1), endpoint(2)), 0),
        ((endpoint(1), endpoint(2, include="record"), endpoint(3, include="record")), 1),
    ):
        case = Case(*endpoints)
        await case.run(Status.DONE)
        assert case.finds == finds
        assert case.publish_calls[-1] == 1
        before = case.finds
        await case.log.publish([Publication(channel=ALICE, name="generation.done", data=b"1")])
        await case.log.try_publish([Publication(channel=ALICE, name="n", data=b"1")])
        assert case.finds == before
        wanted = sum("generation.done" in each.events for each in endpoints)
        assert len(await take_bodies(case.backend)) == wanted


async def test_large_record() -> None:
    """A record that is too large for a body is left out, and the body says so."""
    case = Case(endpoint(1, include="record"))
    kit = GenerationKit(Node(case.backend, listens=False))
    await kit.create()
    await kit.update(UpdateKind.BEGIN, status=Status.RUNNING)
    record = case.backend.generations.records[kit.id]
    large = msgspec.structs.replace(
        record,
        request=msgspec.structs.replace(record.request, metadata={"x": "y" * MAX_BODY_BYTES}),
    )
    case.backend.generations.records[kit.id] = large
    await case.end(kit.id, Status.DONE)
    (body,) = await take_bodies(case.backend)
    assert (body["data"]["record"], body["data"]["record_omitted"]) == (None, "too_large")


async def test_record_cannot_be_read() -> None:
    """An end whose record cannot be read is not published without its webhook."""
    case = Case(endpoint(1, include="record"))
    kit = GenerationKit(Node(case.backend, listens=False))
    await kit.create()
    await kit.update(UpdateKind.BEGIN, status=Status.RUNNING)
    case.backend.is_unavailable = True
    with pytest.raises(BrokerUnavailable):
        await case.end(kit.id, Status.DONE)
    update = GenerationUpdate(kit.id, 1, UpdateKind.END, Status.DONE)
    end = Publication(channel=ALICE, name="generation.done", data=b"{}", update=update)
    (result,) = await case.log.try_publish([end])
    assert isinstance(result, BrokerUnavailable)
    case.backend.is_unavailable = False
    assert await case.end(kit.id, Status.DONE) is Outcome.WRITTEN
    assert len(await take_bodies(case.backend)) == 1


async def test_nobody_publishes_around_it() -> None:
    """No part of a node holds the event log that writes no webhooks, so none can end an answer
    without them.
    """
    async with hub_with(PLAIN) as hub:
        raw = hub.backend.events
        logs = [each for each in gc.get_objects() if type(each) is WebhookEventLog]
        (log,) = [each for each in logs if each._events is raw]
        holders = [
            vars(holder)
            for holder in gc.get_objects()
            if str(type(holder).__module__).startswith("hub.")
            and hasattr(holder, "__dict__")
            and any(value is raw for value in vars(holder).values())
        ]
        own = [vars(hub.backend), vars(log)]
        assert [each for each in holders if all(each is not one for one in own)] == []


async def test_endpoints_of_others() -> None:
    """A process that did not create an endpoint knows it after its next look."""
    backend, clock = MemoryBackend(), FakeClock()
    first, second = (Endpoints(backend.webhooks, clock) for _ in range(2))
    created = await first.create("https://a.example/", EVENT_NAMES, None)
    assert first.of_event("generation.done") == [created]
    assert second.of_event("generation.done") == ()
    task = asyncio.create_task(second.run())
    await asyncio.sleep(0)
    assert second.of_event("generation.done") == [created]
    await first.delete(created.id)
    await clock.advance(5.0)
    assert second.of_event("generation.done") == ()
    task.cancel()


async def test_events_of_others() -> None:
    """Events that other parts have are built with the user or the topic of their channel."""
    backend = MemoryBackend()
    registry = Endpoints(backend.webhooks, FakeClock(), [endpoint(1), endpoint(2, events=())])
    deliveries = WebhookDeliveries(registry, now=lambda: 0.0)
    (built,) = deliveries.build("inbox.read", ALICE, {"unread": 0})
    assert built.body == build_body("inbox.read", {"user": "alice", "unread": 0}, 0.0)
    assert (built.channel, built.lane) == (ALICE, endpoint(1).id)
    (built,) = deliveries.build("push.failed", topic_channel("t"), {})
    assert json.loads(built.body)["data"] == {"topic": "t"}
    assert user_channel("alice") == ALICE
