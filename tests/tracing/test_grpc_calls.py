from __future__ import annotations

import asyncio

from hub.grpc import hub_pb2 as pb
from hub.tracing.tracing import OpenTelemetry
from tests.grpc.kit import Reading, bearer, grpc_kit, token
from tests.tracing.conftest import Spans

CALLER = "c" * 16


def traceparent(trace: str, flags: str = "01") -> tuple[str, str]:
    return "traceparent", f"00-{trace}-{CALLER}-{flags}"


async def test_calls_join_their_callers_traces(spans: Spans) -> None:
    """Concurrent calls join their own traces; a call without a trace begins one."""
    traces = [f"{n:032x}" for n in range(1, 9)]
    async with grpc_kit(OpenTelemetry(spans.tracer)) as kit:
        key = bearer("shop-key")
        request = pb.PublishRequest(user="alice", data="1")
        calls = [kit.internal.Publish(request, metadata=[*key, traceparent(t)]) for t in traces]
        await asyncio.gather(*calls)
        await kit.internal.Publish(request, metadata=[*key, traceparent("f" * 32, "00")])
        parents = [span.parent for span in spans.ended]
        assert sorted(f"{p.trace_id:032x}" for p in parents if p) == traces
        assert {f"{p.span_id:016x}" for p in parents if p} == {CALLER}
        await kit.internal.Publish(request, metadata=key)
    assert spans.ended[-1].parent is None
    assert spans.names == ["publish user"] * 9


async def test_generation_over_grpc_keeps_the_trace(spans: Spans) -> None:
    """The worker continues the trace of the caller, and the stream is not a span."""
    async with grpc_kit(OpenTelemetry(spans.tracer)) as kit:
        request = pb.GenerateRequest(prompt="hidden")
        metadata = [*token(), traceparent("a" * 32)]
        call = Reading(kit.public.Generate(request, metadata=metadata))
        await call.next()
        (generation,) = (await kit.hub.backend.queue.list_jobs(10)).generations
        record = await kit.hub.backend.generations.find(generation)
        call.call.cancel()
    assert record is not None
    assert record.request.trace == f"00-{'a' * 32}-{CALLER}-01"
    assert spans.ended == []
