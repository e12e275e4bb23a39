"""What endpoints have stored with the earlier answers of a chat."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence

import msgspec
import pytest

from hub.core.durable import Checkpoint, ResumePoint, StreamOutput
from hub.core.generation import Generation, GenerationRequest, Message
from hub.core.generation_context import GenerationContext
from hub.core.parts import Finished, Part, Text
from hub.engine.attempts.stop_signal import StopSignal
from hub.engine.worker.failover import CircuitBreaker, Failover
from hub.engine.worker.relay import Relay
from hub.ports.queue import Lease
from hub.testing.backend import MemoryBackend
from tests.defaults import endpoint
from tests.doubles import RELAY_LIMITS, FakeClock


class Agent:
    """Implements ResumableUpstream. Each answer stores its number. earlier: what came with each."""

    def __init__(self) -> None:
        self.earlier: list[Mapping[str, bytes]] = []

    async def stream(
        self, request: GenerationRequest, context: GenerationContext | None = None
    ) -> AsyncGenerator[Sequence[Part], None]:
        yield [Finished("stop")]

    async def resumable_stream(
        self,
        request: GenerationRequest,
        context: GenerationContext | None,
        checkpoint: Checkpoint | None,
    ) -> AsyncGenerator[Sequence[StreamOutput], None]:
        assert context is not None
        self.earlier.append(context.earlier)
        yield [Text("x"), ResumePoint({"answer": len(self.earlier)})]
        yield [Finished("stop")]

    async def cancel(self, request: GenerationRequest, checkpoint: Checkpoint) -> None:
        pass


@pytest.mark.parametrize("is_remembering", [True, False])
async def test_an_answer_gets_what_the_one_before_has_stored(is_remembering: bool) -> None:
    """Only of the same upstream, user, chat and channel, and only if the upstream wants it."""
    backend, clock, agent = MemoryBackend(), FakeClock(), Agent()
    circuit = CircuitBreaker(clock, failure_threshold=3, open_seconds=30.0)
    failover = Failover([endpoint(name="one", upstream=agent, circuit=circuit)], clock)
    relay = Relay(
        backend.events, backend.generations, {"main": failover, "other": failover}, clock,
        RELAY_LIMITS, remembering={"main"} if is_remembering else set(),
    )  # fmt: skip
    prompts = [
        ("alice", "main", "c", None),
        ("alice", "main", "c", None),
        ("alice", "other", "c", None),
        ("alice", "main", "d", None),
        ("alice", "main", None, None),
        ("bob", "main", "c", None),
        ("alice", "main", "c", "news"),
        ("alice", "main", "c", None),
    ]
    for n, (user, upstream, chat, topic) in enumerate(prompts):
        request = GenerationRequest(
            [Message("user", "hi")], upstream=upstream, model="m", chat=chat, topic=topic
        )
        record = Generation(f"g00{n:016d}", user, request)
        await backend.generations.create(record, None)
        lease = Lease(record.id, user, upstream, str(n), topic=topic)
        await relay.run(lease, StopSignal())
    numbers = [
        {name: msgspec.json.decode(value)["answer"] for name, value in each.items()}
        for each in agent.earlier
    ]
    expected = [{}, {"one": 1}, {}, {}, {}, {}, {}, {"one": 2}]
    assert numbers == (expected if is_remembering else [{}] * len(prompts))
