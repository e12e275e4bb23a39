"""An agent's interrupt suspends the answer, and the value lets the next run begin."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

import msgspec
import pytest

from hub.core.durable import AskInput, Checkpoint, Restart, StreamOutput
from hub.core.generation import GenerationRequest, Message
from hub.core.generation_context import GenerationContext
from hub.core.inputs import InputRequest, StoredInput
from hub.core.interrupts import Interrupt, UpstreamInterrupted, to_messages
from hub.core.parts import Finished, Part, Text, ToolCallDelta, ToolResult, Usage
from hub.engine.generations.input_events import expired, received
from hub.engine.worker.failover import CircuitBreaker, Endpoint, Failover
from hub.engine.worker.interruptible import InterruptibleUpstream
from hub.errors import UpstreamError
from hub.ports.upstreams import Upstream
from tests.doubles import FakeClock, ScriptedUpstream

REQUEST = GenerationRequest([Message("user", "refund it")], "agent", "agent")
CONTEXT = GenerationContext(user="alice", generation="g1", attempt=1)
FUNCTION = {"name": "refund", "arguments": '{"euros":40}'}
CALL = ToolCallDelta([{"index": 0, "id": "c1", "type": "function", "function": FUNCTION}])
APPROVAL = Interrupt(
    id="i1", prompt="Refund?", tool_call="c1", is_approval=True, fields={"signature": "s"}
)
DATE = Interrupt(id="i/2", prompt="When?", schema={"type": "string"})


class Agent:
    """Implements ports.Upstream: one list of parts for each run, and its interrupts at the end."""

    def __init__(self, *runs: tuple[Sequence[Part], Sequence[Interrupt]]) -> None:
        self._runs = iter(runs)
        self.requests: list[GenerationRequest] = []

    async def stream(
        self, request: GenerationRequest, context: GenerationContext | None = None
    ) -> AsyncGenerator[Sequence[Part], None]:
        self.requests.append(request)
        parts, interrupts = next(self._runs)
        yield parts
        if interrupts:
            raise UpstreamInterrupted(interrupts)


def upstream_of(agent: Agent) -> InterruptibleUpstream:
    return InterruptibleUpstream(agent, timeout_seconds=600.0, wall=lambda: 1000.0)


async def collect(
    agent: Agent,
    checkpoint: Checkpoint | None = None,
    inputs: Mapping[str, StoredInput] | None = None,
    attempt: int = 1,
) -> list[StreamOutput]:
    context = msgspec.structs.replace(CONTEXT, attempt=attempt, inputs=inputs or {})
    stream = upstream_of(agent).resumable_stream(REQUEST, context, checkpoint)
    return [each async for batch in stream for each in batch]


def suspension(output: Sequence[StreamOutput]) -> Checkpoint:
    """Return the checkpoint of the last output, which suspends the answer."""
    asks = [each for each in output if isinstance(each, AskInput)]
    assert output[-1] is asks[-1]
    assert [each.save is not None for each in asks] == [False] * (len(asks) - 1) + [True]
    assert asks[-1].save is not None
    return Checkpoint(value=bytes(asks[-1].save.value), folded=[], parts=2)


def answers(output: Sequence[StreamOutput], **values: Any) -> dict[str, StoredInput]:
    """Return the inputs with values, by the end of their keys. None: the input expired."""
    stored = {}
    for each in output:
        if isinstance(each, AskInput):
            key, answer = each.request.input, None
            name = key.rpartition(".")[2]
            if name in values and values[name] is None:
                answer = expired("g1", key)
            elif name in values:
                answer = received("g1", each.request, values[name], "alice")
            stored[key] = StoredInput(each.request, 1, answer)
    return stored


USAGE = Usage({"prompt_tokens": 3})
END: tuple[Sequence[Part], Sequence[Interrupt]] = (
    [ToolResult("c1", "refunded"), Text("Done."), USAGE, Finished("stop")],
    [],
)


async def test_approval() -> None:
    """The input names the call and suspends the answer; the next attempt brings the decision."""
    agent = Agent(([Text("Well. "), CALL, USAGE], [APPROVAL]), END)
    output = await collect(agent)
    assert output[:-1] == [Text("Well. "), CALL, USAGE]
    (ask,) = [each for each in output if isinstance(each, AskInput)]
    assert ask.request == InputRequest(
        input="1.i1",
        prompt="Refund?",
        expires_at=1600.0,
        options=["approve", "deny"],
        tool_call="c1",
    )
    again = await collect(agent, suspension(output), answers(output, i1="approve"), 2)
    assert again == END[0]
    resumed = agent.requests[1]
    assert resumed.params == {
        "resume": [{"interruptId": "i1", "status": "resolved", "payload": {"approved": True}}]
    }
    assert resumed.messages[0] == REQUEST.messages[0]
    (call,) = resumed.messages[1].tool_calls or [{}]
    assert call["approval"] == {"signature": "s", "id": "i1", "approved": True}


async def test_several_interrupts() -> None:
    """All are asked for at once, and the agent goes on when none waits any more."""
    agent = Agent(([CALL], [DATE, APPROVAL]), END)
    output = await collect(agent)
    requests = [each.request for each in output if isinstance(each, AskInput)]
    assert [(each.options, each.schema) for each in requests] == [
        (None, {"type": "string"}),
        (["approve", "deny"], None),
    ]
    assert all("/" not in each.input for each in requests)
    first = answers(output, i1="deny")
    again = await collect(agent, suspension(output), first, 2)
    assert again == [AskInput(requests[0], again[-1].save)]  # type: ignore[union-attr]
    assert len(agent.requests) == 1
    both = first | answers(again, **{requests[0].input.rpartition(".")[2]: "tomorrow"})
    assert await collect(agent, suspension(again), both, 3) == END[0]
    assert agent.requests[1].params["resume"] == [
        {"interruptId": "i/2", "status": "resolved", "payload": "tomorrow"},
        {"interruptId": "i1", "status": "resolved", "payload": {"approved": False}},
    ]


async def test_time_limit_of_an_agent() -> None:
    """It shortens that of the settings, and the answer waits for what expires first."""
    limits = [None, 1400.0, 1500.0, 9000.0]
    interrupts = [Interrupt(id=f"{n}", prompt="?", expires_at=at) for n, at in enumerate(limits)]
    output = await collect(Agent(([], interrupts)))
    asks = [each for each in output if isinstance(each, AskInput)]
    assert {each.request.input: each.request.expires_at for each in asks} == {
        "1.0": 1600.0,
        "1.1": 1400.0,
        "1.2": 1500.0,
        "1.3": 1600.0,
    }
    assert asks[-1].request.input == "1.1"
    suspension(output)


async def test_input_that_has_expired() -> None:
    """An agent that goes on nevertheless is told that the interrupt is cancelled."""
    agent = Agent(([CALL], [APPROVAL]), END)
    output = await collect(agent)
    await collect(agent, suspension(output), answers(output, i1=None), 2)
    assert agent.requests[1].params["resume"] == [{"interruptId": "i1", "status": "cancelled"}]
    (call,) = agent.requests[1].messages[1].tool_calls or [{}]
    assert (call["approval"]["approved"], "in time" in call["approval"]["reason"]) == (False, True)


async def test_ids_that_come_again() -> None:
    """Each attempt asks with keys of its own, so that no old value decides on something new."""
    agent = Agent(([CALL], [APPROVAL]), ([Text("Again. ")], [APPROVAL]), END)
    output = await collect(agent)
    given = answers(output, i1="approve")
    output = await collect(agent, suspension(output), given, 2)
    given |= answers(output, i1="deny")
    assert [*given] == ["1.i1", "2.i1"]
    await collect(agent, suspension(output), given, 3)
    assert [message.role for message in agent.requests[2].messages] == [
        *["user", "assistant", "assistant"]
    ]
    assert agent.requests[2].params["resume"][0]["payload"] == {"approved": False}


async def test_checkpoint_of_another_kind() -> None:
    """The answer begins anew."""
    other = Checkpoint(value=b'{"id":"resp_1"}', folded=[], parts=2)
    assert (await collect(Agent(END), other))[0] == Restart()


async def test_who_cannot_be_asked() -> None:
    """A function that asks the agent gets the failure, as does an answer without people."""
    upstream = upstream_of(Agent(*[([CALL], [APPROVAL])] * 2))
    for stream in (
        upstream.stream(REQUEST, CONTEXT),
        upstream.resumable_stream(REQUEST, CONTEXT, None),
    ):
        with pytest.raises(UpstreamInterrupted):
            async for _ in stream:
                pass


@pytest.mark.parametrize("fails", [False, True])
async def test_endpoint_that_asked(fails: bool) -> None:
    """It alone gets the decision, although it is a fallback, and also if it fails then."""
    down, other = UpstreamError("upstream_error", "down", retryable=False), Agent(END)
    agent = Agent(([CALL], [APPROVAL]), END)
    first = ScriptedUpstream([down])
    upstreams: list[Upstream] = [first, upstream_of(agent), other]
    endpoints = [
        Endpoint(
            name=f"e{n}",
            upstream=upstream,
            circuit=CircuitBreaker(FakeClock(), failure_threshold=9, open_seconds=1.0),
            models=["m"],
            default_model=None,
            retries=0,
            max_retry_after_seconds=1.0,
        )
        for n, upstream in enumerate(upstreams)
    ]
    failover = Failover(endpoints, FakeClock())
    context = msgspec.structs.replace(CONTEXT, inputs={})
    stream = failover.resumable_stream(REQUEST, context, None)
    output = [each async for batch in stream for each in batch]
    if fails:
        endpoints[1] = msgspec.structs.replace(endpoints[1], upstream=ScriptedUpstream([down]))
    context = msgspec.structs.replace(context, attempt=2, inputs=answers(output, i1="approve"))
    stream = failover.resumable_stream(REQUEST, context, suspension(output))
    if fails:
        with pytest.raises(UpstreamError, match="down"):
            async for _ in stream:
                pass
    else:
        assert [each async for batch in stream for each in batch] == END[0]
    assert len(agent.requests) == (1 if fails else 2)
    assert not other.requests
    assert len(first.requests) == 1


def test_messages_of_a_run() -> None:
    """Results follow the answer that called the tools, and text after them is a new message."""
    call = {"type": "tool_call", "index": 0, "id": "c1", "run_by": "producer"}
    parts: list[dict[str, Any]] = [
        {"type": "reasoning", "text": "hm", "details": [{"a": 1}]},
        {"type": "text", "text": "Let me look."},
        {**call, "name": "find", "arguments": "{}", "extras": {"x": 1}, "result": [1]},
        {"type": "status", "text": "Looking"},
        {"type": "text", "text": "One."},
        {"type": "tool_result", "id": "c0", "result": "late"},
    ]
    function = {"name": "find", "arguments": "{}"}
    assert to_messages(parts) == [
        Message(
            "assistant",
            "Let me look.",
            tool_calls=[{"x": 1, "id": "c1", "type": "function", "function": function}],
            reasoning_content="hm",
            reasoning_details=[{"a": 1}],
        ),
        Message("tool", "[1]", tool_call_id="c1"),
        Message("assistant", "One."),
        Message("tool", "late", tool_call_id="c0"),
    ]
    assert msgspec.json.decode(msgspec.json.encode(to_messages(parts)), type=list[Message])
