"""What the hub says of itself in a stream is what its description says: no field more or less."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from hub.core.channel import user_channel
from hub.core.event import encode_json
from hub.core.generation import GenerationUpdate, Status, UpdateKind
from hub.core.stream_parts import (
    Finished,
    ReasoningDelta,
    TextDelta,
    TextReplaced,
    ToolCallDelta,
    Usage,
)
from hub.core.system_events import CONTROL_EVENTS, GENERATION_EVENTS
from hub.engine.relay import Relay
from hub.engine.stop_signal import StopSignal
from hub.engine.tasks import SystemClock
from hub.errors import UpstreamError
from hub.http.generations import GenerationResponse
from hub.ports.events import Publication
from tests.doubles import RELAY_LIMITS, ScriptedUpstream
from tests.http.kit import Hub, check_described, running_hub

CALL = {"index": 0, "id": "c", "function": {"name": "f", "arguments": ""}}
WHOLE = [
    ReasoningDelta("hm"),
    TextDelta("a"),
    TextReplaced("b"),
    ToolCallDelta([CALL]),
    Finished("stop"),
]
BROKEN = UpstreamError("upstream_error", "it broke", retryable=True)


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    """A node without tokens."""
    async with running_hub() as hub:
        yield hub


class Heard:
    """The events of a WebSocket, each held against its description."""

    def __init__(self, socket: Any) -> None:
        self._socket = socket
        self.names: set[str] = set()

    async def up_to(self, last: str) -> None:
        """Hears on until then."""
        name = ""
        async with asyncio.timeout(5):
            while name != last:
                message = json.loads(await self._socket.receive_str())
                name = message["event"]
                check_described(name, message["data"])
                self.names.add(name)


async def asked(hub: Hub) -> str:
    """A question of alice's."""
    _, started = await hub.call("POST", "/generations?user=alice", json={"prompt": "hi"})
    generation: str = started["generation"]
    return generation


async def relayed(hub: Hub, generation: str, *script: Any, stop: StopSignal | None = None) -> None:
    """Answered by a worker with this upstream."""
    upstreams = {"main": ScriptedUpstream(script)}
    relay = Relay(
        hub.backend.events, hub.backend.generations, upstreams, SystemClock(), RELAY_LIMITS
    )
    await relay.run(generation, stop or StopSignal())


async def begun_before(hub: Hub) -> str:
    """A question that a worker began and left."""
    generation = await asked(hub)
    step = GenerationUpdate(generation, 1, UpdateKind.BEGIN, Status.RUNNING)
    data = encode_json({"generation": generation, "attempt": 1, "model": "m1"})
    channel = user_channel("alice")
    begun = Publication(channel=channel, name="generation.started", data=data, update=step)
    await hub.backend.events.publish([begun])
    return generation


async def test_every_event_is_as_described(hub: Hub) -> None:
    """Heard over WebSocket, where all of a user's come but a snapshot and a token's expiry."""
    url = f"http://127.0.0.1:{hub.port}/ws/connect/alice?cursor=zzzzz-1"
    async with hub.session.ws_connect(url) as socket:
        heard = Heard(socket)
        await heard.up_to("hub.open")
        await relayed(hub, await asked(hub), *WHOLE)
        await heard.up_to("generation.done")
        await relayed(
            hub, await asked(hub), TextDelta("a"), Usage({"completion_tokens": 1}), BROKEN
        )
        await heard.up_to("generation.failed")
        stop = StopSignal()
        stop.set("alice")
        await relayed(hub, await begun_before(hub), stop=stop)
        await heard.up_to("generation.stopped")
        subscribe = {"type": "subscribe", "topics": ["t"]}
        for said in ({"type": "ping", "id": 1}, {"type": "no"}, {"type": "stop"}, subscribe):
            await socket.send_json(said)
            await heard.up_to("hub.reply")
        await socket.send_json({"type": "stop", "generation": await asked(hub)})
        await heard.up_to("generation.stopped")
        await relayed(hub, await begun_before(hub), *WHOLE)
        await heard.up_to("generation.done")
        await hub.call("DELETE", "/users/alice/connections", internal=True)
        await heard.up_to("hub.bye")
    expected = {*CONTROL_EVENTS, *GENERATION_EVENTS} - {"hub.expiring", "generation.snapshot"}
    assert heard.names == expected


async def test_snapshot_is_as_described(hub: Hub) -> None:
    """As a stream and as JSON, which the document describes too."""
    generation = await asked(hub)
    await relayed(hub, generation, *WHOLE)
    path = f"/generations/{generation}?user=alice"
    async with hub.stream(path, headers={"Accept": "text/event-stream"}) as stream:
        assert stream.opened.name == "generation.snapshot"
        check_described(stream.opened.name, json.loads(stream.opened.data))
    _, looked = await hub.call("GET", path)
    assert msgspec.to_builtins(msgspec.convert(looked, GenerationResponse)) == looked
