"""Retries, fallbacks and circuit breakers act before the first delta, and never after it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from structlog.testing import capture_logs

from hub.core.generation import GenerationRequest, Message
from hub.core.generation_context import GenerationContext
from hub.core.parts import Finished, Part, Text, Usage
from hub.engine.worker.failover import CircuitBreaker, Failover
from hub.errors import UpstreamError
from tests.defaults import endpoint
from tests.doubles import FakeClock, ScriptedUpstream, settled

REQUEST = GenerationRequest([Message("user", "hi")], upstream="a", model="m")
GOOD: list[Any] = [Text("x"), Finished("stop")]


def failure(**more: Any) -> UpstreamError:
    """Return the error of a 503, changed by the parameters."""
    return UpstreamError("upstream_status", "no", **{"retryable": True, **more})


class SequencedUpstream:
    """An upstream that uses the next script for each call, and the last one for all others."""

    def __init__(self, *scripts: list[Any]) -> None:
        self._upstreams = [ScriptedUpstream(script) for script in scripts]
        self.requests: list[GenerationRequest] = []

    def stream(self, request: GenerationRequest, context: GenerationContext | None = None) -> Any:
        upstream = self._upstreams[min(len(self.requests), len(self._upstreams) - 1)]
        self.requests.append(request)
        return upstream.stream(request)


class FailoverTest:
    """A failover with the endpoints a, b, … on a fake clock."""

    def __init__(self, *upstreams: SequencedUpstream, **options: Any) -> None:
        self.clock = FakeClock()
        self.failover = Failover(
            [
                endpoint(
                    name=name,
                    upstream=upstream,
                    circuit=CircuitBreaker(self.clock, failure_threshold=3, open_seconds=30.0),
                    **{"retries": 2, "max_retry_after_seconds": 20.0, **options},
                )
                for name, upstream in zip("abc", upstreams, strict=False)
            ],
            self.clock,
        )

    async def collect(self) -> list[Part]:
        """Return the parts; the clock advances while the failover sleeps."""
        return await self._read_into([])

    async def collect_failure(self) -> tuple[UpstreamError, list[Part]]:
        parts: list[Part] = []
        with pytest.raises(UpstreamError) as caught:
            await self._read_into(parts)
        return caught.value, parts

    async def _read_into(self, parts: list[Part]) -> list[Part]:
        async def read() -> None:
            async for batch in self.failover.stream(REQUEST):
                parts.extend(batch)

        reading = asyncio.create_task(read())
        while not reading.done():
            await settled()
            await self.clock.advance(0.1)
        await reading
        return parts


async def test_retries() -> None:
    """The same endpoint is called again; the reader sees one answer."""
    upstream = SequencedUpstream([failure()], [Usage({"n": 1}), failure()], GOOD)
    case = FailoverTest(upstream)
    assert await case.collect() == [Usage({"n": 1}), *GOOD]
    assert len(upstream.requests) == 3


async def test_retry_after() -> None:
    """The delay that the endpoint requests is kept, unless it is too long."""
    upstream = SequencedUpstream([failure(retry_after_seconds=7.0)], GOOD)
    case = FailoverTest(upstream)
    started_at = case.clock.now()
    assert await case.collect() == GOOD
    assert 7.0 <= case.clock.now() - started_at < 8.0
    upstream = SequencedUpstream([failure(retry_after_seconds=3600.0)], GOOD)
    error, _ = await FailoverTest(upstream).collect_failure()
    assert error.retry_after_seconds == 3600.0
    assert len(upstream.requests) == 1


async def test_fallback() -> None:
    """After the last retry the next endpoint is called, with a model that it serves."""
    first, second = SequencedUpstream([failure()]), SequencedUpstream(GOOD)
    case = FailoverTest(first, second, retries=1, default_model="its own")
    assert await case.collect() == GOOD
    assert [request.model for request in first.requests] == ["m", "m"]
    assert [request.model for request in second.requests] == ["its own"]


async def test_no_retry_after_the_first_delta() -> None:
    """A failure after the first delta is reported, and the parts before it are kept."""
    first, second = SequencedUpstream([Text("x"), failure()]), SequencedUpstream(GOOD)
    error, parts = await FailoverTest(first, second).collect_failure()
    assert (error.code, parts) == ("upstream_status", [Text("x")])
    assert (len(first.requests), len(second.requests)) == (1, 0)


async def test_failures_that_are_not_retryable() -> None:
    """After such a failure the next endpoint is called; a rejected request ends the calls."""
    first, second = SequencedUpstream([failure(retryable=False)]), SequencedUpstream(GOOD)
    assert await FailoverTest(first, second).collect() == GOOD
    assert len(first.requests) == 1
    refusal = failure(retryable=False, rejects_request=True)
    first, second = SequencedUpstream([refusal]), SequencedUpstream(GOOD)
    error, _ = await FailoverTest(first, second).collect_failure()
    assert error is refusal
    assert second.requests == []


async def test_a_request_that_may_have_begun_is_not_sent_again() -> None:
    """Neither to the same endpoint nor to the next one."""
    uncertain = failure(is_final=True)
    first, second = SequencedUpstream([uncertain]), SequencedUpstream(GOOD)
    error, _ = await FailoverTest(first, second).collect_failure()
    assert error is uncertain
    assert (len(first.requests), second.requests) == (1, [])


async def test_log_of_a_failure() -> None:
    """The log has the upstream's status and words."""
    upstream = SequencedUpstream([failure(status=529, retryable=False)])
    with capture_logs() as logs:
        await FailoverTest(upstream).collect_failure()
    fields = ("event", "upstream", "code", "status", "message")
    assert [[line.get(name) for name in fields] for line in logs] == [
        ["upstream.failed", "a", "upstream_status", 529, "no"]
    ]


async def test_circuit_opens_after_repeated_failures() -> None:
    """The endpoint is not called while its circuit is open; then one request tries it."""
    first, second = SequencedUpstream(*[[failure()]] * 4, GOOD), SequencedUpstream(GOOD)
    case = FailoverTest(first, second, retries=0)
    for _ in range(5):
        assert await case.collect() == GOOD
    assert len(first.requests) == 3
    await case.clock.advance(30.0)
    assert await case.collect() == GOOD  # the trial request fails
    assert len(first.requests) == 4
    assert await case.collect() == GOOD
    assert len(first.requests) == 4
    await case.clock.advance(30.0)
    second_before = len(second.requests)
    assert await case.collect() == GOOD
    assert await case.collect() == GOOD
    assert (len(first.requests), len(second.requests)) == (6, second_before)


async def test_all_circuits_open() -> None:
    """The error has a code of its own."""
    case = FailoverTest(SequencedUpstream([failure()]), retries=5)
    error, _ = await case.collect_failure()
    assert error.code == "upstream_status"
    error, _ = await case.collect_failure()
    assert (error.code, error.retryable) == ("upstream_circuit_open", True)


def test_half_open_circuit_allows_one_trial() -> None:
    """Only one request is allowed until its outcome is recorded."""
    clock = FakeClock()
    circuit = CircuitBreaker(clock, failure_threshold=1, open_seconds=5.0)
    circuit.record_failure()
    assert not circuit.allow()
    clock._now += 5.0
    assert [circuit.allow(), circuit.allow()] == [True, False]
    circuit.record_success()
    assert [circuit.allow(), circuit.allow()] == [True, True]
