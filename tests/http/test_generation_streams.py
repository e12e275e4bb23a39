"""One generation as a stream of its own: a client that joins late misses nothing and gets nothing
twice.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from hub.core.channel import user_channel
from hub.core.fair_queue import Admission
from hub.core.generation import GenerationUpdate, Status, UpdateKind
from hub.errors import BrokerUnavailable
from hub.ports.events import Publication
from hub.transports import held_heads
from tests.doubles import Gate, settled, until
from tests.http.kit import Hub, Stream, running_hub

ALICE = "?user=alice"
STREAMED = {"Accept": "text/event-stream"}


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    """A node without tokens."""
    async with running_hub() as hub:
        yield hub


class Author:
    """Publishes an answer as a worker does."""

    def __init__(self, hub: Hub, generation: str) -> None:
        self._hub = hub
        self.generation = generation
        self._next = 0

    async def begin(self) -> None:
        await self._write(
            "started", {"attempt": 1}, GenerationUpdate(self.generation, 1, UpdateKind.BEGIN)
        )

    async def publish_delta(self, text: str) -> None:
        step = GenerationUpdate(
            self.generation, 1, UpdateKind.DELTA, index=self._next, entries=text.encode()
        )
        await self._write("delta", {"i": self._next, "text": text}, step)
        self._next += 1

    async def end(self) -> None:
        step = GenerationUpdate(self.generation, 1, UpdateKind.END, Status.DONE)
        await self._write("done", {"finish_reason": "stop", "deltas": self._next}, step)

    async def _write(self, name: str, fields: dict[str, Any], step: GenerationUpdate) -> None:
        data = json.dumps({"generation": self.generation, **fields}, separators=(",", ":"))
        publication = Publication(
            channel=user_channel("alice"),
            name=f"generation.{name}",
            data=data.encode(),
            update=step,
        )
        await self._hub.backend.events.publish([publication])


async def start_answer(hub: Hub, **body: Any) -> Author:
    path = f"/generations{ALICE}"
    async with hub.ask("POST", path, json={"prompt": "hi", **body}) as response:
        return Author(hub, (await response.json())["generation"])


@asynccontextmanager
async def joined(hub: Hub, author: Author, **headers: str) -> AsyncIterator[Stream]:
    path = f"/generations/{author.generation}{ALICE}"
    async with hub.ask("GET", path, headers={**STREAMED, **headers}) as response:
        assert response.status == 200
        assert response.content_type == "text/event-stream"
        yield Stream(response)


async def rest_of(stream: Stream) -> list[tuple[str, dict[str, Any]]]:
    """Return the names and data up to hub.bye, without the generation's id."""
    seen: list[tuple[str, dict[str, Any]]] = []
    while not seen or seen[-1][0] != "hub.bye":
        event = await stream.next()
        data = json.loads(event.data)
        data.pop("generation", None)
        seen.append((event.name, data))
    return seen


DONE = ("generation.done", {"finish_reason": "stop", "deltas": 2})
BYE = ("hub.bye", {"reason": "ended", "reconnect": False, "retry_ms": 3000})


async def test_late_joiner_gets_text_so_far_and_the_rest(hub: Hub) -> None:
    """Other events of the user's channel are not shown."""
    author = await start_answer(hub)
    other = await start_answer(hub)
    await author.begin()
    await other.begin()
    await author.publish_delta("Hel")
    async with joined(hub, author) as stream:
        first = await stream.next()
        await other.publish_delta("not part of it")
        await hub.publish(to={"user": "alice"}, data="nor is this")
        await author.publish_delta("lo")
        await author.end()
        assert first.name == "generation.snapshot"
        assert first.retry_ms == 3000
        assert json.loads(first.data) == {
            "generation": author.generation,
            "status": "running",
            "attempt": 1,
            "text": "Hel",
            "parts": [{"type": "text", "text": "Hel"}],
            "deltas": 1,
        }
        assert await rest_of(stream) == [
            ("generation.delta", {"i": 1, "text": "lo"}),
            DONE,
            BYE,
        ]
        assert await stream.response.content.read() == b""


async def test_many_readers_at_any_moment(hub: Hub) -> None:
    """Whenever a reader joins, its snapshot and the following events make up the whole text."""
    author = await start_answer(hub)
    words = [f"w{n} " for n in range(60)]

    async def read(after: int) -> str:
        while author._next < after:
            await asyncio.sleep(0)
        async with joined(hub, author) as stream:
            first = json.loads((await stream.next()).data)
            expected, text = first["deltas"], first["text"]
            for name, data in await rest_of(stream):
                if name == "generation.delta":
                    assert data["i"] == expected
                    expected += 1
                    text += data["text"]
            return str(text)

    async def write() -> None:
        await author.begin()
        for word in words:
            await author.publish_delta(word)
            await asyncio.sleep(0.002)
        await author.end()

    readers = [asyncio.create_task(read(n)) for n in range(0, 60, 3)]
    await write()
    assert set(await asyncio.gather(*readers)) == {"".join(words)}


async def test_joining_an_ended_answer(hub: Hub) -> None:
    """A client that joins after the end gets the whole text and the end event."""
    author = await start_answer(hub)
    await author.begin()
    await author.publish_delta("Hel")
    await author.publish_delta("lo")
    await author.end()
    async with joined(hub, author) as stream:
        first = json.loads((await stream.next()).data)
        assert (first["status"], first["text"], first["deltas"]) == ("done", "Hello", 2)
        assert await rest_of(stream) == [DONE, BYE]


async def test_resuming_goes_on_after_the_last_event(hub: Hub) -> None:
    """Last-Event-ID resumes without another snapshot."""
    author = await start_answer(hub)
    await author.begin()
    async with joined(hub, author) as stream:
        last = await stream.next()
        await author.publish_delta("Hel")
        last = await stream.next()
    await author.publish_delta("lo")
    await author.end()
    async with joined(hub, author, **{"Last-Event-ID": last.id}) as stream:
        assert await rest_of(stream) == [("generation.delta", {"i": 1, "text": "lo"}), DONE, BYE]


async def test_resumed_client_learns_at_once_that_it_is_connected(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It gets the head of the response although the stream has nothing to say yet."""
    monkeypatch.setattr(held_heads, "_HOLD_SECONDS", 3600.0)
    author = await start_answer(hub)
    await author.begin()
    async with joined(hub, author) as stream:
        last = await stream.next()
    async with joined(hub, author, **{"Last-Event-ID": last.id}) as stream:
        await author.publish_delta("Hello")
        assert json.loads((await stream.next()).data)["text"] == "Hello"


async def test_returning_after_the_end_is_over(hub: Hub) -> None:
    """204, after which EventSource stops; before the end, the remaining events and the end."""
    author = await start_answer(hub)
    await author.begin()
    await author.publish_delta("Hel")
    await author.publish_delta("lo")
    await author.end()
    async with joined(hub, author) as stream:
        snapshot, end = await stream.next(), await stream.next()
    path = f"/generations/{author.generation}{ALICE}"
    resumed = {**STREAMED, "Last-Event-ID": str(end.id or snapshot.id)}
    async with hub.ask("GET", path, headers=resumed) as response:
        assert response.status == 204
        assert await response.read() == b""


async def test_resuming_past_what_the_log_holds_begins_anew(hub: Hub) -> None:
    """The client gets a new snapshot; nothing is skipped silently."""
    author = await start_answer(hub)
    await author.begin()
    async with joined(hub, author) as stream:
        last = await stream.next()
    await author.publish_delta("Hel")
    hub.backend.events.begin_new_epoch(user_channel("alice"))
    await author.publish_delta("lo")
    async with joined(hub, author, **{"Last-Event-ID": last.id}) as stream:
        first = await stream.next()
        assert (first.name, json.loads(first.data)["text"]) == ("generation.snapshot", "Hello")


async def test_starting_with_a_stream(hub: Hub) -> None:
    """200 with the id at once, then the answer; the same key joins it and starts nothing."""
    path, body = f"/generations{ALICE}", {"prompt": "hi", "id": "k"}
    async with hub.ask("POST", path, json=body, headers=STREAMED) as response:
        assert response.status == 200
        stream = Stream(response)
        first = json.loads((await stream.next()).data)
        assert (first["status"], first["text"]) == ("queued", "")
        author = Author(hub, first["generation"])
        assert response.headers["Location"] == f"/generations/{author.generation}"
        await author.begin()
        await author.publish_delta("Hel")
        async with hub.ask("POST", path, json=body, headers=STREAMED) as again:
            second = Stream(again)
            snapshot = json.loads((await second.next()).data)
            assert (snapshot["generation"], snapshot["text"]) == (author.generation, "Hel")
            await author.publish_delta("lo")
            await author.end()
            assert (await rest_of(second))[-2:] == [DONE, BYE]
        assert (await rest_of(stream))[0] == ("generation.started", {"attempt": 1})


@pytest.mark.parametrize(("on_disconnect", "status"), [("stop", "stopping"), ("continue", None)])
async def test_client_that_disconnects(hub: Hub, on_disconnect: str, status: str | None) -> None:
    """A disconnect stops the answer if that was requested; otherwise it continues."""
    body = {"prompt": "hi", "on_disconnect": on_disconnect}
    async with hub.ask("POST", f"/generations{ALICE}", json=body, headers=STREAMED) as response:
        author = Author(hub, json.loads((await Stream(response).next()).data)["generation"])
        await author.begin()
    await until(lambda: not len(hub.node.connections))
    await settled()
    record = await hub.backend.generations.find(author.generation)
    assert record is not None
    assert record.status.value == (status or "running")
    assert record.stop_requested_by == ("alice" if status else None)


async def test_ended_answer_is_not_stopped_by_a_disconnect(hub: Hub) -> None:
    """The normal end stays."""
    body = {"prompt": "hi", "on_disconnect": "stop"}
    async with hub.ask("POST", f"/generations{ALICE}", json=body, headers=STREAMED) as response:
        stream = Stream(response)
        author = Author(hub, json.loads((await stream.next()).data)["generation"])
        await author.begin()
        await author.end()
        await rest_of(stream)
    record = await hub.backend.generations.find(author.generation)
    assert record is not None
    assert (record.status, record.stop_requested_by) == (Status.DONE, None)


async def test_whose_answer_it_is(hub: Hub) -> None:
    """Another user's answer is refused with a status, not with a stream."""
    author = await start_answer(hub)
    path = f"/generations/{author.generation}?user=bob"
    async with hub.ask("GET", path, headers=STREAMED) as response:
        assert response.status == 403
    async with hub.ask("GET", "/generations/g00nothing" + ALICE, headers=STREAMED) as response:
        assert response.status == 404


async def test_reading_an_ended_answer_leaves_no_state(hub: Hub) -> None:
    """No connection stays behind, and no heartbeat."""
    author = await start_answer(hub)
    await author.begin()
    await author.end()
    for _ in range(5):
        async with joined(hub, author) as stream:
            await stream.next()
            await rest_of(stream)
    assert len(hub.node.connections) == 0
    assert hub.node.heartbeat_wheel._slot_of == {}


async def test_stopped_while_queued_has_the_fields_of_any_end(hub: Hub) -> None:
    """The end event has the same fields, whichever process writes it."""
    author = await start_answer(hub)
    await hub.node.generations.stop(author.generation, "alice")
    async with joined(hub, author) as stream:
        await stream.next()
        name, data = (await rest_of(stream))[0]
    assert name == "generation.stopped"
    assert set(data) == {"by", "usage", "deltas", "seconds"}
    assert set(data["seconds"]) == {"queued", "first_delta", "total"}


async def test_client_that_disconnects_before_its_stream_starts(hub: Hub) -> None:
    """on_disconnect: stop is valid from the first moment on."""
    join = hub.node.generations.join
    joined_ids: list[str] = []
    joins, has_left = asyncio.Event(), asyncio.Event()

    async def slow(record: Any, cursor: Any) -> Any:
        joined_ids.append(record.id)
        joins.set()
        await has_left.wait()
        return await join(record, cursor)

    hub.node.generations.join = slow  # type: ignore[method-assign]
    body = {"prompt": "hi", "on_disconnect": "stop"}
    call = hub.ask("POST", f"/generations{ALICE}", json=body, headers=STREAMED)
    waiting = asyncio.create_task(call.__aenter__())
    await joins.wait()
    waiting.cancel()
    await asyncio.wait([waiting])
    has_left.set()
    async with asyncio.timeout(60):
        while (await hub.backend.generations.stop_requested_by(joined_ids[0])) is None:
            await asyncio.sleep(0.01)


async def test_client_that_disconnects_while_its_answer_is_stored(hub: Hub) -> None:
    """The answer gets its job at once, not when a check finds that it has none."""
    store, gate = hub.backend.generations, Gate()
    create = store.create
    gate.close()

    async def slow(*arguments: Any) -> Any:
        created = await create(*arguments)
        await gate.passed()
        return created

    store.create = slow  # type: ignore[method-assign]
    waiting = asyncio.create_task(hub.call("POST", f"/generations{ALICE}", json={"prompt": "hi"}))
    await until(lambda: gate.waiting == 1)
    waiting.cancel()
    await asyncio.wait([waiting])
    for _ in range(20):  # the server notices it meanwhile
        await asyncio.sleep(0.005)
    gate.open()
    await settled()
    assert (await hub.backend.queue.list_jobs(9)).total == 1


async def test_refused_retry_of_a_request_that_never_reached_the_queue(hub: Hub) -> None:
    """The client gets the refusal, and does not wait for an answer that cannot come."""
    put = hub.backend.queue.enqueue

    async def lost(job: Any) -> Any:
        raise BrokerUnavailable("away")

    hub.backend.queue.enqueue = lost  # type: ignore[method-assign]
    path, body = f"/generations{ALICE}", {"prompt": "hi", "id": "k"}
    assert (await hub.call("POST", path, json=body))[0] == 503

    async def full(job: Any) -> Any:
        return Admission.USER_FULL

    hub.backend.queue.enqueue = full  # type: ignore[method-assign]
    assert (await hub.call("POST", path, json=body))[0] == 429
    hub.backend.queue.enqueue = put  # type: ignore[method-assign]
    assert (await hub.call("POST", path, json=body))[0] == 202
    assert await hub.backend.queue.reserve(1.0) is not None


@pytest.mark.parametrize(
    ("accept", "beat"),
    [
        ("text/event-stream", b"event: hub.heartbeat\ndata: {}\n\n"),
        ("application/x-ndjson", b'{"event":"hub.heartbeat","data":{}}\n'),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_heartbeats_of_an_answer(hub: Hub, method: str, accept: str, beat: bytes) -> None:
    """The stream of one answer has the heartbeats that its client asks for."""
    query = f"{ALICE}&heartbeat=2.5&heartbeat_event=true"
    path = f"/generations{query}"
    if method == "GET":
        path = f"/generations/{(await start_answer(hub)).generation}{query}"
    body: Any = {"json": {"prompt": "hi"}} if method == "POST" else {}
    async with hub.ask(method, path, headers={"Accept": accept}, **body) as response:
        assert response.status == 200
        await response.content.readuntil(b"\n")
        (connection,) = hub.node.connections.connections
        assert connection.heartbeat_seconds == 2.5
        connection.send_heartbeat(0.0)
        received = b""
        while beat not in received:
            received += await response.content.readany()


@pytest.mark.parametrize(
    ("query", "path"),
    [
        ("heartbeat=soon", "heartbeat"),
        ("heartbeat=0", "heartbeat"),
        ("shape=cumulative&heartbeat_event=1", "heartbeat_event"),
        ("shape=cumulative&heartbeat=-1", "heartbeat"),
    ],
)
async def test_refused_heartbeat_starts_nothing(hub: Hub, query: str, path: str) -> None:
    """A heartbeat that the hub cannot send is a 400, for a new answer and for one that is read."""
    url = f"/generations{ALICE}&{query}"
    more: Any = {"json": {"prompt": "hi"}, "headers": STREAMED}
    status, problem = await hub.call("POST", url, **more)
    assert (status, problem["path"]) == (400, path)
    assert not hub.backend.generations.records
    author = await start_answer(hub)
    url = f"/generations/{author.generation}{ALICE}&{query}"
    status, problem = await hub.call("GET", url, headers=STREAMED)
    assert (status, problem["path"]) == (400, path)


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("*/*", "text/event-stream"),
        ("application/json", "text/event-stream"),
        ("application/x-ndjson", "application/x-ndjson"),
        ("application/x-ndjson, text/event-stream", "text/event-stream"),
    ],
)
async def test_routes_that_always_stream(hub: Hub, accept: str, content_type: str) -> None:
    """/generations/stream and /generations/{id}/stream stream whatever the client accepts, for
    generated clients, which have one type of response for each route.
    """
    headers = {"Accept": accept}
    body: Any = {"prompt": "hi", "on_disconnect": "stop"}
    path = f"/generations/stream{ALICE}"
    async with hub.ask("POST", path, headers=headers, json=body) as response:
        assert (response.status, response.content_type) == (200, content_type)
        location = response.headers["Location"]
        (record,) = hub.backend.generations.records
        assert location == f"/generations/{record}"
        path = f"{location}/stream{ALICE}"
        async with hub.ask("GET", path, headers=headers) as joined_response:
            assert (joined_response.status, joined_response.content_type) == (200, content_type)
    status, problem = await hub.call("GET", f"/generations/g00aaaaaaaaaaaaaaaa/stream{ALICE}")
    assert (status, problem["code"]) == (404, "generation_not_found")
