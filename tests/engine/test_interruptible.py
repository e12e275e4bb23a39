"""An agent's interrupt becomes an input of the answer, and its value lets the next run begin."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Any

import msgspec
import pytest

from hub.core.durable import AskInput, Checkpoint, Restart, Save, StreamOutput
from hub.core.generation import GenerationRequest, Message
from hub.core.generation_context import GenerationContext
from hub.core.inputs import InputAnswer, InputRequest
from hub.core.interrupts import Interrupt, UpstreamInterrupted, to_messages
from hub.core.parts import Finished, Part, Text, ToolCallDelta, ToolResult, Usage
from hub.engine.input_events import expired, received
from hub.engine.interruptible import InterruptibleUpstream

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
        self.contexts: list[GenerationContext | None] = []

    async def stream(
        self, request: GenerationRequest, context: GenerationContext | None = None
    ) -> AsyncGenerator[Sequence[Part], None]:
        self.requests.append(request)
        self.contexts.append(context)
        parts, interrupts = next(self._runs)
        yield parts
        if interrupts:
            raise UpstreamInterrupted(interrupts)


class People:
    """Gives these values for the inputs, in order. None: the input expires."""

    def __init__(self, *values: Any) -> None:
        self._values = [*values]
        self.keys: list[str] = []

    async def wait(self, key: str) -> InputAnswer:
        self.keys.append(key)
        value = self._values.pop(0)
        if value is None:
            return expired("g1", key)
        request = InputRequest(input=key, prompt="?", expires_at=1.0)
        return received("g1", request, value, "alice")


async def collect(
    agent: Agent, people: People, checkpoint: Checkpoint | None = None
) -> list[StreamOutput]:
    context = msgspec.structs.replace(CONTEXT, wait_for_input=people.wait)
    upstream = InterruptibleUpstream(agent, lambda: 1000.0)
    stream = upstream.resumable_stream(REQUEST, context, checkpoint)
    return [each async for batch in stream for each in batch]


USAGE = Usage({"prompt_tokens": 3})
END: tuple[Sequence[Part], Sequence[Interrupt]] = (
    [ToolResult("c1", "refunded"), Text("Done."), USAGE, Finished("stop")],
    [],
)


async def test_approval() -> None:
    """The input names the call, the next run has the decision, and the usage is the sum."""
    agent, people = Agent(([Text("Well. "), CALL, USAGE], [APPROVAL]), END), People("approve")
    output = await collect(agent, people)
    assert [each for each in output if not isinstance(each, AskInput | Save)] == [
        *[Text("Well. "), CALL, USAGE],
        *[ToolResult("c1", "refunded"), Text("Done."), Usage({"prompt_tokens": 6})],
        Finished("stop"),
    ]
    (ask,) = [each for each in output if isinstance(each, AskInput)]
    assert ask.request == InputRequest(
        input="1.1.i1",
        prompt="Refund?",
        expires_at=4600.0,
        options=["approve", "deny"],
        tool_call="c1",
    )
    resumed = agent.requests[1]
    assert resumed.params == {
        "resume": [{"interruptId": "i1", "status": "resolved", "payload": {"approved": True}}]
    }
    assert resumed.messages[0] == REQUEST.messages[0]
    (call,) = resumed.messages[1].tool_calls or [{}]
    assert call["approval"] == {"signature": "s", "id": "i1", "approved": True}
    assert [None if each is None else each.run for each in agent.contexts] == [1, 2]


async def test_values_and_expired_inputs() -> None:
    """A value of another form is the answer as it is; what nobody answers is cancelled."""
    agent, people = Agent(([CALL], [DATE, APPROVAL]), END), People("tomorrow", None)
    output = await collect(agent, people)
    requests = [each.request for each in output if isinstance(each, AskInput)]
    assert [(each.options, each.schema) for each in requests] == [
        (None, {"type": "string"}),
        (["approve", "deny"], None),
    ]
    assert all("/" not in key for key in people.keys)
    assert agent.requests[1].params["resume"] == [
        {"interruptId": "i/2", "status": "resolved", "payload": "tomorrow"},
        {"interruptId": "i1", "status": "cancelled"},
    ]
    (call,) = agent.requests[1].messages[1].tool_calls or [{}]
    assert (call["approval"]["approved"], "in time" in call["approval"]["reason"]) == (False, True)


async def test_ids_that_come_again() -> None:
    """Each run asks with keys of its own, so that no old value decides on something new."""
    agent = Agent(([CALL], [APPROVAL]), ([Text("Again. ")], [APPROVAL]), END)
    people = People("approve", "deny")
    await collect(agent, people)
    assert people.keys == ["1.1.i1", "1.2.i1"]
    assert [message.role for message in agent.requests[2].messages] == [
        *["user", "assistant", "assistant"]
    ]


async def test_worker_that_takes_over() -> None:
    """It waits for the same inputs, and the agent is not asked again."""
    output = await collect(Agent(([CALL], [APPROVAL]), END), People("approve"))
    (save,) = [each for each in output if isinstance(each, Save)]
    checkpoint = Checkpoint(value=bytes(save.value), folded=[], parts=2)
    agent, people = Agent(END), People("approve")
    again = await collect(agent, people, checkpoint)
    assert people.keys == ["1.1.i1"]
    assert [type(each) for each in again[:2]] == [AskInput, Save]
    assert agent.requests[0].params["resume"][0]["payload"] == {"approved": True}
    other = Checkpoint(value=b'{"id":"resp_1"}', folded=[], parts=2)
    anew = await collect(Agent(END), People(), other)
    assert anew[0] == Restart()


async def test_what_cannot_wait() -> None:
    """A function that asks the agent gets the failure, as does an answer that cannot wait."""
    upstream = InterruptibleUpstream(Agent(*[([CALL], [APPROVAL])] * 2))
    for stream in (
        upstream.stream(REQUEST, CONTEXT),
        upstream.resumable_stream(REQUEST, CONTEXT, None),
    ):
        with pytest.raises(UpstreamInterrupted):
            async for _ in stream:
                pass


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
