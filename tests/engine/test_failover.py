"""Retries, the next in line, rests: all before the first delta, none after it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from hub.core.generation import GenerationRequest, Message
from hub.core.stream_parts import Finished, StreamPart, TextDelta, Usage
from hub.engine.failover import CircuitBreaker, Endpoint, Failover
from hub.errors import UpstreamError
from tests.doubles import FakeClock, ScriptedUpstream, settled

QUESTION = GenerationRequest([Message("user", "hi")], upstream="a", model="m")
GOOD: list[Any] = [TextDelta("x"), Finished("stop")]


def broken(**more: Any) -> UpstreamError:
    """503, or what is said instead."""
    return UpstreamError("upstream_status", "no", **{"retryable": True, **more})


class Turns:
    """An upstream that answers each time by the next script; the last one stays."""

    def __init__(self, *scripts: list[Any]) -> None:
        self._upstreams = [ScriptedUpstream(script) for script in scripts]
        self.asked: list[GenerationRequest] = []

    def stream(self, question: GenerationRequest) -> Any:
        upstream = self._upstreams[min(len(self.asked), len(self._upstreams) - 1)]
        self.asked.append(question)
        return upstream.stream(question)


class Line:
    """Endpoints a, b, … in line on a clock that stands."""

    def __init__(self, *upstreams: Turns, **options: Any) -> None:
        self.clock = FakeClock()
        self.failover = Failover(
            [
                Endpoint(
                    name=name,
                    upstream=upstream,
                    circuit=CircuitBreaker(self.clock, failure_threshold=3, open_seconds=30.0),
                    **{"retries": 2, "max_retry_after_seconds": 20.0, **options},
                )
                for name, upstream in zip("abc", upstreams, strict=False)
            ],
            self.clock,
        )

    async def ask(self) -> list[StreamPart]:
        """The pieces; time passes as it is slept through."""
        return await self._through([])

    async def fails(self) -> tuple[UpstreamError, list[StreamPart]]:
        pieces: list[StreamPart] = []
        with pytest.raises(UpstreamError) as caught:
            await self._through(pieces)
        return caught.value, pieces

    async def _through(self, pieces: list[StreamPart]) -> list[StreamPart]:
        async def read() -> None:
            async for some in self.failover.stream(QUESTION):
                pieces.extend(some)

        reading = asyncio.create_task(read())
        while not reading.done():
            await settled()
            await self.clock.advance(0.1)
        await reading
        return pieces


async def test_asked_again_until_it_answers() -> None:
    """The reader sees one answer."""
    upstream = Turns([broken()], [Usage({"n": 1}), broken()], GOOD)
    line = Line(upstream)
    assert await line.ask() == [Usage({"n": 1}), *GOOD]
    assert len(upstream.asked) == 3


async def test_retry_after_is_waited_for() -> None:
    """As long as the endpoint says, if that is not too long."""
    upstream = Turns([broken(retry_after_seconds=7.0)], GOOD)
    line = Line(upstream)
    begun = line.clock.now()
    assert await line.ask() == GOOD
    assert 7.0 <= line.clock.now() - begun < 8.0
    upstream = Turns([broken(retry_after_seconds=3600.0)], GOOD)
    error, _ = await Line(upstream).fails()
    assert error.retry_after_seconds == 3600.0
    assert len(upstream.asked) == 1


async def test_next_in_line() -> None:
    """When one is given up, the next one is asked, for a model that it has."""
    first, second = Turns([broken()]), Turns(GOOD)
    line = Line(first, second, retries=1, default_model="its own")
    assert await line.ask() == GOOD
    assert [question.model for question in first.asked] == ["m", "m"]
    assert [question.model for question in second.asked] == ["its own"]


async def test_nothing_is_begun_anew_after_the_first_delta() -> None:
    """The failure is told, and what came stays."""
    first, second = Turns([TextDelta("x"), broken()]), Turns(GOOD)
    error, pieces = await Line(first, second).fails()
    assert (error.code, pieces) == ("upstream_status", [TextDelta("x")])
    assert (len(first.asked), len(second.asked)) == (1, 0)


async def test_what_cannot_pass_is_not_repeated() -> None:
    """A wrong key: not the same endpoint again, but the next one. A bad question: nobody."""
    first, second = Turns([broken(retryable=False)]), Turns(GOOD)
    assert await Line(first, second).ask() == GOOD
    assert len(first.asked) == 1
    refusal = broken(retryable=False, rejects_request=True)
    first, second = Turns([refusal]), Turns(GOOD)
    error, _ = await Line(first, second).fails()
    assert error is refusal
    assert second.asked == []


async def test_one_that_fails_often_rests() -> None:
    """Nobody asks it for a while; then one question tries it."""
    first, second = Turns(*[[broken()]] * 4, GOOD), Turns(GOOD)
    line = Line(first, second, retries=0)
    for _ in range(5):
        assert await line.ask() == GOOD
    assert len(first.asked) == 3
    await line.clock.advance(30.0)
    assert await line.ask() == GOOD  # tries it, in vain
    assert len(first.asked) == 4
    assert await line.ask() == GOOD
    assert len(first.asked) == 4
    await line.clock.advance(30.0)
    second_before = len(second.asked)
    assert await line.ask() == GOOD
    assert await line.ask() == GOOD
    assert (len(first.asked), len(second.asked)) == (6, second_before)


async def test_all_rest() -> None:
    """Says so."""
    line = Line(Turns([broken()]), retries=5)
    error, _ = await line.fails()
    assert error.code == "upstream_status"
    error, _ = await line.fails()
    assert (error.code, error.retryable) == ("upstream_circuit_open", True)


def test_half_open_lets_one_try() -> None:
    """And only one."""
    clock = FakeClock()
    circuit = CircuitBreaker(clock, failure_threshold=1, open_seconds=5.0)
    circuit.record_failure()
    assert not circuit.allow()
    clock._now += 5.0
    assert [circuit.allow(), circuit.allow()] == [True, False]
    circuit.record_success()
    assert [circuit.allow(), circuit.allow()] == [True, True]
