"""An upstream that does not give up at once: retries, the next one in line, and rests.

Before the first delta a failure is nobody's business: the same endpoint is asked again after a
pause (its own Retry-After, or a doubling one), then the next in line. After the first delta an
answer is never begun anew behind the reader's back: the failure is told.

An endpoint that fails several times in a row rests: nobody asks it for a while, then one question
tries it.
"""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Final

import msgspec
import structlog

from hub.core.generation import GenerationRequest
from hub.core.stream_parts import StreamPart, Usage
from hub.errors import UpstreamError
from hub.ports.clock import Clock
from hub.ports.upstreams import Upstream

_MIN_RETRY_SECONDS: Final = 0.25
_MAX_RETRY_SECONDS: Final = 5.0
_log = structlog.get_logger(__name__)


class CircuitBreaker:
    """Whether an endpoint may be asked: closed, open (it rests), half open (one may try)."""

    def __init__(self, clock: Clock, *, failure_threshold: int, open_seconds: float) -> None:
        self._clock = clock
        self._failure_threshold = failure_threshold
        self._open_seconds = open_seconds
        self._failures = 0
        self._open_until = 0.0
        self._trial_until = 0.0

    @property
    def is_open(self) -> bool:
        """Whether it is open, or half open with somebody trying."""
        now = self._clock.now()
        return self._failures >= self._failure_threshold and (
            now < self._open_until or now < self._trial_until
        )

    def allow(self) -> bool:
        """Whether the endpoint may be asked now; half open, only the first one gets a yes."""
        if self.is_open:
            return False
        if self._failures >= self._failure_threshold:
            self._trial_until = self._clock.now() + self._open_seconds
        return True

    def record_success(self) -> None:
        """It answers."""
        self._failures = 0

    def record_failure(self) -> None:
        """It does not."""
        self._failures += 1
        self._trial_until = 0.0
        if self._failures >= self._failure_threshold:
            self._open_until = self._clock.now() + self._open_seconds


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """One upstream in line. models: those it takes, empty when any; another upstream's question
    for a model that it does not take is asked for `default_model`. retries: after the first try.
    max_retry_after_seconds: what it asks for beyond that is not waited for.
    """

    name: str
    upstream: Upstream
    circuit: CircuitBreaker
    models: Sequence[str] = ()
    default_model: str | None = None
    retries: int = 2
    max_retry_after_seconds: float = 20.0

    def with_own_model(self, request: GenerationRequest) -> GenerationRequest:
        """The question for a model that this endpoint has."""
        if request.upstream == self.name or request.model in self.models:
            return request
        model = self.default_model or next(iter(self.models), request.model)
        return msgspec.structs.replace(request, model=model)


class Failover:
    """Implements ports.Upstream by several, asked in their order."""

    def __init__(self, endpoints: Sequence[Endpoint], clock: Clock) -> None:
        self._endpoints = endpoints
        self._clock = clock

    async def stream(
        self, request: GenerationRequest
    ) -> AsyncGenerator[Sequence[StreamPart], None]:
        """See ports.Upstream.stream."""
        failure: UpstreamError | None = None
        for endpoint in self._endpoints:
            for turn in range(endpoint.retries + 1):
                if not endpoint.circuit.allow():
                    message = f"the upstream {endpoint.name!r} has failed often and rests"
                    failure = failure or UpstreamError(
                        "upstream_circuit_open", message, retryable=True
                    )
                    break
                begun = False
                try:
                    stream = endpoint.upstream.stream(endpoint.with_own_model(request))
                    async with aclosing(stream) as answer:
                        async for pieces in answer:
                            begun = begun or not all(isinstance(p, Usage) for p in pieces)
                            yield pieces
                except UpstreamError as error:
                    failure = error
                    if not error.rejects_request:
                        endpoint.circuit.record_failure()
                else:
                    endpoint.circuit.record_success()
                    return
                _log.warning(
                    "upstream.failed", upstream=endpoint.name, code=failure.code, begun=begun
                )
                if begun or failure.rejects_request:
                    raise failure
                if not failure.retryable or turn == endpoint.retries:
                    break
                pause = _retry_delay(failure, turn)
                if pause > endpoint.max_retry_after_seconds:
                    break
                await self._clock.sleep(pause)
        if failure is not None:
            raise failure


def _retry_delay(failure: UpstreamError, turn: int) -> float:
    """Seconds until the same endpoint is asked again."""
    if failure.retry_after_seconds is not None:
        return failure.retry_after_seconds
    pause = min(_MAX_RETRY_SECONDS, _MIN_RETRY_SECONDS * 2.0**turn)
    return pause * random.uniform(0.5, 1.0)
