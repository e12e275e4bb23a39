"""Answers that a process writes with the client: every part once, whatever happens to its posts."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import msgspec
import pytest
from aiohttp import web

from hub.http.server import ListenAddress, listen
from hub.producer import Source, Status
from hub_client import (
    BadRequest,
    GenerationStopped,
    HubClient,
    HubUnreachable,
    InputTimeout,
    LeaseLost,
    ProducedAnswer,
    RetryPolicy,
    SyncHubClient,
    SyncProducedAnswer,
)
from hub_client.producing import AttemptFacts, PartsOutbox
from tests.http.kit import Hub, running_hub

FAST = 5.0  # the shortest lease


class Fault(Exception):
    """Cuts the connection of a request."""


class Relay:
    """Passes requests to a hub; `on_request` and `on_response` may raise Fault to cut them."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self.posts: list[list[dict[str, Any]]] = []
        self.controls = 0  # control streams that were opened
        self.control_faults = 0  # the first of them, which are cut
        self.on_request: Callable[[], None] = lambda: None
        self.on_response: Callable[[], None] = lambda: None

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if request.path.endswith("/control"):
            return await self._pass_stream(request)
        body = await request.read()
        is_post = request.path.endswith("/parts")
        if is_post:
            self.posts.append(await request.json())
        try:
            if is_post:
                self.on_request()
            headers = {
                k: v for k, v in request.headers.items() if k.startswith(("Hub", "Content-T"))
            }
            async with self._hub.ask(
                request.method, str(request.rel_url), internal=True, data=body, headers=headers
            ) as response:
                answer = web.Response(
                    status=response.status,
                    body=await response.read(),
                    content_type=response.content_type,
                )
            if is_post:
                self.on_response()
        except Fault:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        return answer

    async def _pass_stream(self, request: web.Request) -> web.StreamResponse:
        self.controls += 1
        if self.controls <= self.control_faults:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        headers = {"Hub-Lease": request.headers["Hub-Lease"]}
        async with self._hub.ask("GET", request.path, internal=True, headers=headers) as stream:
            passed = web.StreamResponse(status=stream.status)
            passed.content_type = stream.content_type
            await passed.prepare(request)
            with suppress(ConnectionError):
                async for chunk in stream.content.iter_any():
                    await passed.write(chunk)
        return passed


@asynccontextmanager
async def relayed() -> AsyncIterator[tuple[Hub, Relay, HubClient]]:
    """Run a hub, a relay in front of its internal listener, and a client of the relay."""
    async with running_hub() as hub:
        relay = Relay(hub)
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", relay.handle)
        async with (
            listen(app, ListenAddress("127.0.0.1", 0, "x"), cancel_handlers=False) as port,
            HubClient(
                f"http://127.0.0.1:{hub.port}",
                internal_url=f"http://127.0.0.1:{port}",
                user="alice",
                retry=RetryPolicy(min_delay_seconds=0.001),
            ) as backend,
        ):
            yield hub, relay, backend


async def read(hub: Hub, answer: ProducedAnswer) -> dict[str, Any]:
    status, record = await hub.call("GET", f"/generations/{answer.generation}?user=alice")
    assert status == 200
    result: dict[str, Any] = record
    return result


async def test_parts_in_their_order() -> None:
    """Texts, objects and classes of hub.producer; leaving the block ends the answer as done."""
    async with relayed() as (hub, relay, backend):
        async with backend.generation(user="alice", model="agent", messages="why?") as answer:
            await answer.write(Status("Searching"))
            await answer.write("Hel")
            await answer.write("lo")
            await answer.write({"type": "tool_call", "id": "t", "name": "find", "arguments": "{}"})
            await answer.write(Source("https://a.example"))
            await answer.flush()
            assert (await read(hub, answer))["status"] == "running"
        record = await read(hub, answer)
    assert (record["status"], record["text"], record["model"]) == ("done", "Hello", "agent")
    types = [part["type"] for part in record["parts"]]
    assert types == ["status", "text", "tool_call", "source"]
    seqs = [part["seq"] for post in relay.posts for part in post]
    assert seqs == [*range(len(seqs))]


async def test_ends() -> None:
    """An exception fails the answer without its text; `done` and `fail` say more."""
    async with relayed() as (hub, _, backend):
        with pytest.raises(ZeroDivisionError):
            async with backend.generation(user="alice") as failed:
                await failed.write("a")
                raise ZeroDivisionError("a secret")
        record = await read(hub, failed)
        assert (record["status"], record["code"]) == ("failed", "producer_error")
        assert "secret" not in str(record)
        async with backend.generation(user="alice") as worded:
            await worded.fail("out_of_stock", "There is none left.", retryable=True)
        record = await read(hub, worded)
        assert (record["code"], record["retryable"]) == ("out_of_stock", True)
        async with backend.generation(user="alice") as long:
            await long.done("length", usage={"completion_tokens": 3})
            with pytest.raises(RuntimeError, match="its end already"):
                await long.write("more")
        record = await read(hub, long)
        assert (record["finish_reason"], record["usage"]) == ("length", {"completion_tokens": 3})


@pytest.mark.parametrize("seed", range(6))
async def test_every_part_once_although_connections_are_cut(seed: int) -> None:
    """Requests and responses of posts are cut at random."""
    rng = random.Random(seed)

    def cut() -> None:
        if rng.random() < 0.3:
            raise Fault

    async with relayed() as (hub, relay, backend):
        relay.on_request = relay.on_response = cut
        async with backend.generation(user="alice") as answer:
            for n in range(60):
                await answer.write({"type": "data", "name": "n", "value": n, "id": str(n)})
                if rng.random() < 0.3:
                    await asyncio.sleep(0.03)
        record = await read(hub, answer)
    assert record["status"] == "done"
    assert [part["value"] for part in record["parts"]] == [*range(60)]
    assert len(relay.posts) > 2


async def test_stop() -> None:
    """It raises at the next call, and leaving the block says nothing more."""
    async with relayed() as (hub, _, backend):
        with pytest.raises(GenerationStopped) as caught:
            async with backend.generation(user="alice", lease_seconds=FAST) as answer:
                await answer.write("a")
                await answer.flush()
                await hub.call("DELETE", f"/generations/{answer.generation}?user=alice")
                while True:
                    await answer.write("b")
                    await asyncio.sleep(0.01)
        assert caught.value.by == "alice"
        assert answer.is_stopped
        record = await read(hub, answer)
        async with backend.generation(user="alice") as second:
            await hub.call("DELETE", f"/generations/{second.generation}?user=alice")
        assert second.is_stopped
    assert (record["status"], record["by"]) == ("stopped", "alice")
    assert set(record["text"]) <= {"a", "b"}


@pytest.mark.parametrize("signal", ["stop", "lease"])
async def test_signal_while_posts_fail(signal: str) -> None:
    """The control stream tells of a stop and of a lost lease, also after its own loss."""
    async with relayed() as (hub, relay, backend):

        def refuse() -> None:
            raise Fault

        relay.control_faults = 2
        expected = GenerationStopped if signal == "stop" else LeaseLost
        with pytest.raises(expected):
            async with backend.generation(user="alice", id="k", lease_seconds=900) as answer:
                await answer.write("a")
                await answer.flush()
                relay.on_request = refuse
                await answer.write("b")
                if signal == "stop":
                    await hub.call("DELETE", f"/generations/{answer.generation}?user=alice")
                else:
                    body = {"to": {"user": "alice"}, "producer": "external", "id": "k"}
                    await hub.call("POST", "/generations", internal=True, json=body)
                async with asyncio.timeout(60):
                    await answer.flush()
        assert relay.controls > 2


async def test_control_stream_ends_with_the_answer() -> None:
    """No task is left when the block ends, and the answer ends although there is no such stream."""
    before = asyncio.all_tasks()
    async with relayed() as (hub, relay, backend):
        for faults in (0, 1_000_000):
            relay.control_faults = faults
            async with backend.generation(user="alice") as answer:
                await answer.write("a")
            await asyncio.sleep(0)
            names = {task.get_name() for task in asyncio.all_tasks() - before}
            assert "hub producer control" not in names
            assert (await read(hub, answer))["status"] == "done"


async def test_end_does_not_wait_for_the_next_renewal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaving the block returns when the hub has the end."""
    monkeypatch.setattr("hub_client.producing.MAX_RENEW_SECONDS", 300.0)
    async with relayed() as (_, _, backend), asyncio.timeout(60):
        async with backend.generation(user="alice", lease_seconds=900) as answer:
            await answer.write("a")
        async with backend.generation(user="alice", lease_seconds=900) as ended:
            await ended.done()


async def test_next_attempt() -> None:
    """The same id begins another attempt; the first one has lost its lease."""
    async with relayed() as (hub, _, backend):
        with pytest.raises(LeaseLost):
            async with backend.generation(user="alice", id="k") as first:
                await first.write("lost")
                await first.flush()
                async with backend.generation(user="alice", id="k") as second:
                    assert (second.generation, second.attempt) == (first.generation, 2)
                    await second.write("new")
                await first.write("more")
                await first.flush()
        record = await read(hub, second)
        assert (record["status"], record["text"]) == ("done", "new")
        with pytest.raises(BadRequest) as ended:
            async with backend.generation(user="alice", id="k"):
                pass
        assert ended.value.code == "ended"


async def test_checkpoint() -> None:
    """The next attempt gets its value and the parts up to it, and continues after them."""
    async with relayed() as (hub, _, backend):
        with pytest.raises(LeaseLost):
            async with backend.generation(user="alice", id="k") as first:
                await first.write("kept ", checkpoint={"page": 2})
                await first.write("lost")
                await first.flush()
                async with backend.generation(user="alice", id="k") as second:
                    assert second.checkpoint == {"page": 2}
                    assert second.previous == [{"type": "text", "text": "kept "}]
                    await second.write("and new")
                await first.write("more")
                await first.flush()
        record = await read(hub, second)
    assert (record["status"], record["text"]) == ("done", "kept and new")


async def steer(hub: Hub, answer: AttemptFacts, words: str) -> None:
    path = f"/generations/{answer.generation}/steer?user=alice"
    status, _ = await hub.call("POST", path, json={"message": words})
    assert status == 202


@pytest.mark.parametrize("control_faults", [0, 1_000_000])
async def test_messages_of_the_user(control_faults: int) -> None:
    """Each is returned once, whether the control stream or a post tells of it first; a later
    attempt gets those after its checkpoint, or all of them without one.
    """
    async with relayed() as (hub, relay, backend):
        relay.control_faults = control_faults

        async def next_messages(answer: ProducedAnswer) -> list[str]:
            async with asyncio.timeout(60):
                while not (messages := answer.steering()):
                    if control_faults:
                        await answer.write({"type": "status", "text": "waiting"})
                        await answer.flush()
                    await asyncio.sleep(0)
            return [each.text for each in messages]

        with pytest.raises(LeaseLost):
            async with backend.generation(user="alice", id="k", lease_seconds=900) as first:
                assert first.steering() == []
                await steer(hub, first, "one")
                assert await next_messages(first) == ["one"]
                await steer(hub, first, "two")
                async with backend.generation(user="alice", id="k") as second:
                    assert [each.n for each in second.steering()[:1]] == [0]
                    await second.write("kept", checkpoint=1)
                    await second.flush()
                    await steer(hub, second, "three")
                    async with backend.generation(user="alice", id="k") as third:
                        assert third.checkpoint == 1
                        assert await next_messages(third) == ["three"]
                        assert third.steering() == []


async def test_messages_without_an_event_loop() -> None:
    """The blocking form learns of them with its posts."""

    def produce(url: str, generation: Callable[[str], object]) -> list[str]:
        texts: list[str] = []
        with SyncHubClient(url) as backend, backend.generation(user="alice") as answer:
            generation(answer.generation)
            while not texts:
                answer.write("x")
                answer.flush()
                texts = [each.text for each in answer.steering()]
        return texts

    async with relayed() as (hub, _, backend):
        loop = asyncio.get_running_loop()
        started: asyncio.Future[str] = loop.create_future()
        producing = asyncio.create_task(
            asyncio.to_thread(
                produce,
                backend._internal_url or "",
                lambda name: loop.call_soon_threadsafe(started.set_result, name),
            )
        )
        path = f"/generations/{await started}/steer?user=alice"
        await hub.call("POST", path, json={"message": "one"})
        assert await producing == ["one"]


async def answer_input(hub: Hub, generation: str, key: str, value: str) -> None:
    path = f"/generations/{generation}/inputs/{key}?user=alice"
    async with asyncio.timeout(60):
        while (await hub.call("POST", path, json={"value": value}))[0] != 200:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("control_faults", [0, 1_000_000])
async def test_input(control_faults: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The call waits for the value, which the control stream or a renewal tells; a later attempt
    gets it at once.
    """
    if control_faults:
        monkeypatch.setattr("hub_client.producing.MAX_RENEW_SECONDS", 0.01)
    async with relayed() as (hub, relay, backend):
        relay.control_faults = control_faults
        with pytest.raises(LeaseLost):
            async with backend.generation(user="alice", id="k", lease_seconds=900) as first:
                answering = asyncio.create_task(
                    answer_input(hub, first.generation, "refund", "approve")
                )
                options = ["approve", "deny"]
                assert await first.input("refund", "Refund?", options=options) == "approve"
                await answering
                async with backend.generation(user="alice", id="k") as second:
                    assert second.inputs == {"refund": "approve"}
                    assert await second.input("refund", "Refund?", options=options) == "approve"
                await first.write("more")
                await first.flush()
        record = await read(hub, second)
        assert [part["state"] for part in record["parts"]] == ["received"]


async def test_suspension() -> None:
    """The attempt ends, and the next one has the state and the value; also in the blocking form."""

    def suspend(url: str) -> str:
        with SyncHubClient(url) as backend, backend.generation(user="alice", id="s") as answer:
            answer.suspend("refund", "Refund?", state=[1])
            return answer.generation

    async with relayed() as (hub, _, backend):
        async with backend.generation(user="alice", id="k") as first:
            await first.write("kept ")
            await first.suspend("refund", "Refund?", options=["yes", "no"], state={"page": 2})
            with pytest.raises(RuntimeError):
                await first.write("more")
        assert (await read(hub, first))["status"] == "suspended"
        await answer_input(hub, first.generation, "refund", "yes")
        async with backend.generation(user="alice", id="k") as second:
            assert (second.checkpoint, second.inputs) == ({"page": 2}, {"refund": "yes"})
            await second.write("and new")
        record = await read(hub, second)
        assert (record["status"], record["text"]) == ("done", "kept and new")
        generation = await asyncio.to_thread(suspend, backend._internal_url or "")
        await answer_input(hub, generation, "refund", "yes")
        async with backend.generation(user="alice", id="s") as third:
            assert (third.checkpoint, third.inputs) == ([1], {"refund": "yes"})


async def test_input_that_nobody_answers_or_that_is_stopped() -> None:
    """It raises what has happened."""
    async with relayed() as (hub, _, backend):
        hub.node.producers._now = lambda: 2e9
        async with backend.generation(user="alice") as answer:
            with pytest.raises(InputTimeout):
                await answer.input("refund", "Refund?", timeout_seconds=0.01)
        with pytest.raises(GenerationStopped):
            async with backend.generation(user="alice") as stopped:
                waiting = asyncio.create_task(stopped.input("other", "Other?"))
                await stopped.flush()
                await hub.call("DELETE", f"/generations/{stopped.generation}?user=alice")
                await waiting


async def test_input_without_an_event_loop() -> None:
    """The blocking form waits as well."""

    def produce(url: str, started: Callable[[str], object]) -> Any:
        with SyncHubClient(url) as backend, backend.generation(user="alice") as answer:
            started(answer.generation)
            return answer.input("refund", "Refund?")

    async with relayed() as (hub, _, backend):
        loop = asyncio.get_running_loop()
        started: asyncio.Future[str] = loop.create_future()
        producing = asyncio.create_task(
            asyncio.to_thread(
                produce,
                backend._internal_url or "",
                lambda name: loop.call_soon_threadsafe(started.set_result, name),
            )
        )
        await answer_input(hub, await started, "refund", "yes")
        assert await producing == "yes"


async def test_hub_that_stays_away() -> None:
    """Posts are repeated for the time of a lease; then leaving the block raises."""
    async with relayed() as (_, relay, backend):
        with pytest.raises(HubUnreachable):
            async with backend.generation(user="alice") as answer:
                delivery = answer._current
                delivery.attempt = msgspec.structs.replace(delivery.attempt, lease_seconds=1.0)

                def refuse() -> None:
                    raise Fault

                relay.on_request = refuse
                await answer.write("a")
    assert len(relay.posts) > 2


async def test_wrong_part() -> None:
    """A value that is no part raises at once; one that the hub refuses fails the answer."""
    async with relayed() as (hub, _, backend):
        async with backend.generation(user="alice") as answer:
            for wrong in (7, {"text": "a"}, None, [1]):
                with pytest.raises(TypeError, match="a part is"):
                    await answer.write(wrong)  # type: ignore[arg-type]
            await answer.write("good")
        assert (await read(hub, answer))["text"] == "good"
        with pytest.raises(BadRequest):
            async with backend.generation(user="alice") as other:
                await other.write({"type": "unknown"})
                await other.flush()


@pytest.mark.parametrize("seed", range(2))
async def test_without_an_event_loop(seed: int) -> None:
    """The blocking form has the same order, repeats, stops and ends."""
    rng = random.Random(seed)

    def cut() -> None:
        if rng.random() < 0.3:
            raise Fault

    def produce(url: str) -> SyncProducedAnswer:
        policy = RetryPolicy(min_delay_seconds=0.001)
        with SyncHubClient(url, retry=policy) as backend:
            with backend.generation(user="alice", model="agent") as answer:
                for n in range(40):
                    answer.write({"type": "data", "name": "n", "value": n, "id": str(n)})
                answer.flush()
            with pytest.raises(ZeroDivisionError), backend.generation(user="alice") as failed:
                failed.write(str(1 / 0))
            return answer

    async with relayed() as (hub, relay, backend):
        relay.on_request = relay.on_response = cut
        answer = await asyncio.to_thread(produce, backend._internal_url or "")
        _, record = await hub.call("GET", f"/generations/{answer.generation}?user=alice")
        assert (record["status"], record["model"]) == ("done", "agent")
        assert [part["value"] for part in record["parts"]] == [*range(40)]
        _, listed = await hub.call("GET", "/generations?user=alice&status=failed")
        assert [each["code"] for each in listed["generations"]] == ["producer_error"]


async def test_stop_without_an_event_loop() -> None:
    """It raises at the next call."""

    def produce(url: str, started: Callable[[str], object]) -> None:
        with (
            SyncHubClient(url) as backend,
            backend.generation(user="alice", lease_seconds=FAST) as answer,
        ):
            answer.write("a")
            answer.flush()
            started(answer.generation)
            for n in range(100_000):
                answer.write({"type": "data", "name": "n", "value": n, "transient": True})

    async with relayed() as (hub, _, backend):
        loop = asyncio.get_running_loop()
        generation: asyncio.Future[str] = loop.create_future()
        producing = asyncio.create_task(
            asyncio.to_thread(
                produce,
                backend._internal_url or "",
                lambda name: loop.call_soon_threadsafe(generation.set_result, name),
            )
        )
        await hub.call("DELETE", f"/generations/{await generation}?user=alice")
        with pytest.raises(GenerationStopped):
            await producing


def test_texts_share_a_part_until_it_is_sent() -> None:
    """Their order with other parts stays, and the numbers have no hole."""
    outbox = PartsOutbox()
    for part in ("a", "b", {"type": "reasoning", "text": "r"}, "c"):
        outbox.add(part)
    first = outbox.next_batch()
    assert [(part["seq"], part["text"]) for part in first] == [(0, "ab"), (1, "r"), (2, "c")]
    outbox.add("d")
    assert [part["seq"] for part in outbox.next_batch()] == [0, 1, 2, 3]
    outbox.acknowledge(2)
    assert [part["text"] for part in outbox.next_batch()] == ["d"]
    outbox.acknowledge(3)
    assert (len(outbox), outbox.size_bytes) == (0, 0)
