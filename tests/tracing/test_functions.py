"""Spans of the application's functions."""

from __future__ import annotations

from contextlib import aclosing
from typing import Any

import msgspec
import pytest
from opentelemetry.trace import StatusCode

from hub.core.channel import partition_of, user_channel
from hub.core.durable import DurableState, PartOrCommand
from hub.core.generation import Generation, new_generation_id
from hub.core.parts import Finished, Part, StepEnd, StepStart, Text, Usage
from hub.engine.functions.askable_upstreams import AskableUpstreams
from hub.engine.functions.function import build_context
from hub.engine.functions.function_answers import FunctionRequest
from hub.errors import ProducerLost, UpstreamError
from hub.producer import Run
from hub.tracing.functions import TracedFunction
from hub.tracing.upstream import TracedUpstream
from tests.doubles import ScriptedUpstream
from tests.engine.test_relay import ScriptedFunction
from tests.producer.function_worker import FunctionInProcess
from tests.tracing.conftest import Spans
from tests.upstreams.kit import REQUEST

ALICE = user_channel("alice")
SAMPLED = msgspec.structs.replace(REQUEST, upstream="support", trace=f"00-{'a' * 32}-{'c' * 16}-01")
UNSAMPLED = f"00-{'a' * 32}-{'c' * 16}-00"
RECORD = Generation(new_generation_id(partition_of(ALICE)), "alice", SAMPLED)


async def read(function: Any, attempt: int = 1, record: Generation = RECORD) -> list[PartOrCommand]:
    async with aclosing(function.stream(record, attempt, DurableState())) as stream:
        return [part async for parts in stream for part in parts]


async def test_attempt_and_steps_are_spans(spans: Spans) -> None:
    """The attempt is below the caller's span, and each step below the attempt; neither has text."""

    async def support(run: Run) -> Any:
        yield "private"
        await run.step("search", lambda: "private result")
        await run.step("read", lambda: 1)

    traced = TracedFunction(FunctionInProcess(support, retries=3), spans.tracer)
    assert traced.retries == 3
    await read(traced, attempt=2)
    span, attributes = spans.only("invoke_agent support")
    assert span.parent is not None
    assert span.parent.span_id == int("c" * 16, 16)
    assert attributes.pop("gen_ai.response.time_to_first_chunk") >= 0
    assert attributes == {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.agent.name": "support",
        "gen_ai.response.finish_reasons": ("stop",),
        "hub.attempt": 2,
    }
    assert spans.names == ["step search", "step read", "invoke_agent support"]
    for name in ("step search", "step read"):
        step, _ = spans.only(name)
        assert step.parent is not None
        assert step.parent.span_id == span.context.span_id
        assert "private" not in step.to_json()
    assert "private" not in span.to_json()


async def test_asked_upstream_belongs_to_the_attempt(spans: Spans) -> None:
    """What the function asks with run.ask is a child of its span."""
    script: list[Part] = [Text("a"), Usage({"completion_tokens": 1}), Finished("stop")]
    upstream = TracedUpstream(ScriptedUpstream(script), spans.tracer, "openai")
    models: Any = {"main": type("Models", (), {"kind": "openai", "choose": lambda *_: "m"})()}
    askable = AskableUpstreams({"main": upstream}, models)

    class Requesting:
        retries = 0

        async def stream(self, record: Generation, attempt: int, state: DurableState) -> Any:
            to_llm = askable.build_request(
                record.request, upstream="main", model=None, messages=REQUEST.messages, params={}
            )
            context = build_context(record, attempt, None, state)
            request = FunctionRequest(record.request, context)
            async for parts in askable.stream(to_llm, request.generation_context):
                yield parts

    await read(TracedFunction(Requesting(), spans.tracer))
    chat, _ = spans.only("chat m")
    run, _ = spans.only("invoke_agent support")
    assert chat.parent is not None
    assert chat.parent.span_id == run.context.span_id


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (UpstreamError("producer_error", "private", retryable=False), "producer_error"),
        (ProducerLost(), "producer_lost"),
    ],
)
async def test_failed_attempt_ends_its_steps(spans: Spans, error: Exception, kind: str) -> None:
    """A failure has its code, and ends the open steps; the end of another step ends none."""
    script = [StepStart("a"), StepStart("a"), StepEnd("b"), StepEnd("a"), error]
    with pytest.raises(type(error)):
        await read(TracedFunction(ScriptedFunction([script], 0), spans.tracer))
    span, attributes = spans.only("invoke_agent support")
    assert attributes["error.type"] == kind
    assert span.status.status_code is StatusCode.ERROR
    assert spans.names == ["step a", "step a", "invoke_agent support"]


async def test_unsampled_attempt(spans: Spans) -> None:
    """A request that is not sampled makes no spans, and what the function asks knows it."""
    request = msgspec.structs.replace(SAMPLED, trace=UNSAMPLED)
    record = msgspec.structs.replace(RECORD, request=request)
    function = ScriptedFunction([[StepStart("a"), Finished("stop")]], 0)
    await read(TracedFunction(function, spans.tracer), record=record)
    assert spans.names == []
