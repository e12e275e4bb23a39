"""The hub's own events have exactly the fields that their description has."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from hub.core.channel import user_channel
from hub.core.durable import AskInput, Checkpoint
from hub.core.event import encode_json
from hub.core.generation import GenerationUpdate, Status, UpdateKind
from hub.core.inputs import InputRequest
from hub.core.journal_entries import encode_checkpoint
from hub.core.parts import (
    Data,
    File,
    Finished,
    Reasoning,
    Replace,
    Source,
    StepEnd,
    StepStart,
    Text,
    ToolCallDelta,
    ToolResult,
    Usage,
)
from hub.core.parts import Status as StatusPart
from hub.core.parts_journal import PartsLimits
from hub.core.system_events import CONTROL_EVENTS, GENERATION_EVENTS
from hub.engine.attempts.attempt_events import AttemptEvents
from hub.engine.attempts.stop_signal import StopSignal
from hub.engine.tasks import SystemClock
from hub.engine.worker.relay import Relay
from hub.errors import UpstreamError
from hub.http.routes.generation_snapshot import GenerationResponse
from hub.ports.events import Publication
from hub.ports.queue import Lease
from hub.producer import Run
from tests.described_responses import check_json
from tests.doubles import RELAY_LIMITS, ScriptedUpstream
from tests.http.kit import Hub, check_described, running_hub
from tests.producer.function_worker import FunctionInProcess

CALL = {"index": 0, "id": "c", "function": {"name": "f", "arguments": ""}}
WHOLE = [
    Reasoning("hm"),
    Text("a"),
    Replace("b"),
    ToolCallDelta([CALL]),
    ToolResult("c", {"n": None}, is_error=True),
    Source("https://a.example", title="A", id="s"),
    File(data="aGk=", media_type="text/plain", name="hi.txt"),
    StatusPart("Writing"),
    StepStart("s"),
    StepEnd("s"),
    Data("d", None, id="x", transient=True),
    Finished("stop"),
]
BROKEN = UpstreamError("upstream_error", "it broke", retryable=True)


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    """A node without tokens."""
    async with running_hub() as hub:
        yield hub


class EventChecker:
    """Reads the events of a WebSocket and checks each against its description."""

    def __init__(self, socket: Any) -> None:
        self._socket = socket
        self.names: set[str] = set()

    async def read_until(self, last: str) -> None:
        """Read on until this event."""
        name = ""
        async with asyncio.timeout(60):
            while name != last:
                message = json.loads(await self._socket.receive_str())
                name = message["event"]
                check_described(name, message["data"])
                check_json("public", {"$ref": "#/components/schemas/SystemLine"}, message)
                check_json("public", {"$ref": "#/components/schemas/StreamLine"}, message)
                self.names.add(name)


async def start_generation(hub: Hub) -> str:
    """Start a generation of alice."""
    _, started = await hub.call("POST", "/generations?user=alice", json={"prompt": "hi"})
    generation: str = started["generation"]
    return generation


async def relay_generation(
    hub: Hub, generation: str, *script: Any, stop: StopSignal | None = None
) -> None:
    """Relay the generation from an upstream with this script."""
    upstreams = {"main": ScriptedUpstream(script)}
    relay = Relay(
        hub.backend.events, hub.backend.generations, upstreams, SystemClock(), RELAY_LIMITS
    )
    await relay.run(Lease(generation, "alice", "main", "1"), stop or StopSignal())


async def continue_generation(hub: Hub) -> None:
    """Continue a generation at the checkpoint of a worker that was lost."""
    checkpoint = encode_checkpoint(Checkpoint(value=b"1", folded=[], parts=0))
    generation = await start_elsewhere(hub, checkpoint)

    async def function(run: Run) -> str:
        return "a"

    functions = {"main": FunctionInProcess(function, retries=1)}
    events, store = hub.backend.events, hub.backend.generations
    relay = Relay(events, store, {}, SystemClock(), RELAY_LIMITS, functions=functions)
    await relay.run(Lease(generation, "alice", "main", "1"), StopSignal())


async def start_elsewhere(hub: Hub, entries: bytes = b"") -> str:
    """Start a generation that another worker began and left. entries: of its journal."""
    generation = await start_generation(hub)
    step = GenerationUpdate(generation, 1, UpdateKind.BEGIN, Status.RUNNING, entries=entries)
    data = encode_json({"generation": generation, "attempt": 1, "model": "m1"})
    channel = user_channel("alice")
    started = Publication(channel=channel, name="generation.started", data=data, update=step)
    await hub.backend.events.publish([started])
    return generation


async def ask_for_inputs(hub: Hub) -> None:
    """Ask for two inputs, of which one is answered by the user, and the other one expires."""
    generation, clock = await start_elsewhere(hub), time.time()
    record = await hub.backend.generations.find(generation)
    assert record is not None
    limits = PartsLimits(max_part_bytes=1000, max_record_bytes=1000)
    events = AttemptEvents.resume(record, limits)
    for key, seconds in (("a", 60.0), ("b", -1.0)):
        request = InputRequest(input=key, prompt="?", expires_at=clock + seconds)
        await hub.backend.events.publish(events.command(AskInput(request), None))
    path = f"/generations/{generation}/inputs"
    status, _ = await hub.call("POST", f"{path}/a?user=alice", json={"value": 1})
    assert status == 200
    status, _ = await hub.call("POST", f"{path}/b?user=alice", json={"value": 1})
    assert status == 409


async def test_every_event_is_as_described(hub: Hub) -> None:
    """Over WebSocket, which shows all events of a user except a snapshot and a token's expiry."""
    url = f"http://127.0.0.1:{hub.port}/ws/connect/alice?cursor=zzzzz-1.&heartbeat_event=true"
    async with hub.session.ws_connect(url) as socket:
        checker = EventChecker(socket)
        await checker.read_until("hub.open")
        (connection,) = hub.node.connections.connections
        connection.send_heartbeat(0.0)
        await checker.read_until("hub.heartbeat")
        await relay_generation(hub, await start_generation(hub), *WHOLE)
        await checker.read_until("generation.done")
        await relay_generation(
            hub,
            await start_generation(hub),
            Text("a"),
            Usage({"completion_tokens": 1}),
            BROKEN,
        )
        await checker.read_until("generation.failed")
        stop = StopSignal()
        stop.set("alice")
        await relay_generation(hub, await start_elsewhere(hub), stop=stop)
        await checker.read_until("generation.stopped")
        subscribe = {"type": "subscribe", "topics": ["t"]}
        for message in ({"type": "ping", "id": 1}, {"type": "no"}, {"type": "stop"}, subscribe):
            await socket.send_json(message)
            await checker.read_until("hub.reply")
        await socket.send_json({"type": "stop", "generation": await start_generation(hub)})
        await checker.read_until("generation.stopped")
        await relay_generation(hub, await start_elsewhere(hub), *WHOLE)
        await checker.read_until("generation.done")
        await continue_generation(hub)
        await checker.read_until("generation.done")
        body = {"prompt": "hi", "upstream": "support"}
        _, steerable = await hub.call("POST", "/generations?user=alice", json=body)
        path = f"/generations/{steerable['generation']}/steer?user=alice"
        await hub.call("POST", path, json={"message": "and a hat"})
        await checker.read_until("generation.steered")
        await ask_for_inputs(hub)
        await checker.read_until("generation.input_expired")
        await hub.call("DELETE", "/users/alice/connections", internal=True)
        await checker.read_until("hub.bye")
    expected = {*CONTROL_EVENTS, *GENERATION_EVENTS} - {"hub.expiring", "generation.snapshot"}
    assert checker.names == expected


async def test_snapshot_is_as_described(hub: Hub) -> None:
    """As a stream, and as JSON, which OpenAPI describes too."""
    generation = await start_generation(hub)
    await relay_generation(hub, generation, *WHOLE)
    path = f"/generations/{generation}?user=alice"
    async with hub.stream(path, headers={"Accept": "text/event-stream"}) as stream:
        assert stream.opened.name == "generation.snapshot"
        check_described(stream.opened.name, json.loads(stream.opened.data))
    _, snapshot = await hub.call("GET", path)
    assert msgspec.to_builtins(msgspec.convert(snapshot, GenerationResponse)) == snapshot
