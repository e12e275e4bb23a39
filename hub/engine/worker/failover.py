"""Retries, fallbacks and circuit breakers in front of upstreams.

A failure before the first delta is retried without informing the client: the same endpoint is
called again after a delay (its Retry-After header, or an exponential backoff), then the next
endpoint. After the first delta an answer is never started again, because the client has already
seen a part of it: the failure is reported. Only an endpoint that can continue an answer is called
again then, by itself (ports/upstreams.py).

An endpoint that fails several times in a row opens its circuit breaker: it is not called for a
while, and then one trial request decides.
"""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Final, TypeVar

import msgspec
import structlog

from hub.core.durable import AskInput, Checkpoint, Restart, ResumePoint, StreamOutput
from hub.core.generation import GenerationRequest
from hub.core.generation_context import GenerationContext
from hub.core.parts import Part, Usage
from hub.engine.worker.resumable import ResumableAnswer, cancel_answer, read_checkpoint
from hub.errors import UpstreamError
from hub.ports.clock import Clock
from hub.ports.upstreams import Upstream

_MIN_RETRY_SECONDS: Final = 0.25
_MAX_RETRY_SECONDS: Final = 5.0
T = TypeVar("T")
_log = structlog.get_logger(__name__)


class CircuitBreaker:
    """Decides whether an endpoint may be called.

    closed: it may. open: after `failure_threshold` failures in a row, not for `open_seconds`.
    half open: after that time one trial request may, and its outcome closes or opens the breaker.
    """

    def __init__(self, clock: Clock, *, failure_threshold: int, open_seconds: float) -> None:
        self._clock = clock
        self._failure_threshold = failure_threshold
        self._open_seconds = open_seconds
        self._failures = 0  # since the last success
        self._open_until = 0.0
        self._trial_until = 0.0  # a trial request that takes longer no longer blocks another

    @property
    def is_open(self) -> bool:
        """Whether the breaker is open, or half open while a trial request runs."""
        now = self._clock.now()
        return self._failures >= self._failure_threshold and (
            now < self._open_until or now < self._trial_until
        )

    def allow(self) -> bool:
        """Return whether a request may be sent now; the caller must record its outcome.

        When the breaker is half open, the first call starts the trial.
        """
        if self.is_open:
            return False
        if self._failures >= self._failure_threshold:
            self._trial_until = self._clock.now() + self._open_seconds
        return True

    def record_success(self) -> None:
        """Close the breaker."""
        self._failures = 0

    def record_failure(self) -> None:
        """Count a failure, and open the breaker at the threshold."""
        self._failures += 1
        self._trial_until = 0.0
        if self._failures >= self._failure_threshold:
            self._open_until = self._clock.now() + self._open_seconds


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """An upstream with its circuit breaker and its retry policy.

    models: the models it serves; empty means any. default_model: replaces the model of a request
    for another upstream that this one does not serve. retries: calls after the first one.
    max_retry_after_seconds: the longest Retry-After that is waited for.
    """

    name: str
    upstream: Upstream
    circuit: CircuitBreaker
    models: Sequence[str]
    default_model: str | None
    retries: int
    max_retry_after_seconds: float

    def with_own_model(self, request: GenerationRequest) -> GenerationRequest:
        """Return the request for a model that this endpoint serves."""
        if request.upstream == self.name or request.model in self.models:
            return request
        model = self.default_model or next(iter(self.models), request.model)
        return msgspec.structs.replace(request, model=model)


class Failover:
    """Implements ports.upstreams.ResumableUpstream by several endpoints, called in order."""

    def __init__(self, endpoints: Sequence[Endpoint], clock: Clock) -> None:
        self._endpoints = endpoints
        self._clock = clock

    def stream(
        self, request: GenerationRequest, context: GenerationContext | None = None
    ) -> AsyncGenerator[Sequence[Part], None]:
        """See ports.upstreams.Upstream.stream."""
        return self._call(
            request, self._endpoints, lambda endpoint, own: endpoint.upstream.stream(own, context)
        )

    def resumable_stream(
        self,
        request: GenerationRequest,
        context: GenerationContext | None,
        checkpoint: Checkpoint | None,
    ) -> AsyncGenerator[Sequence[StreamOutput], None]:
        """See ports.upstreams.ResumableUpstream.resumable_stream.

        The endpoint that has the answer is called first, and alone if it has asked a person.
        """
        answer = ResumableAnswer(context, checkpoint)
        first = [each for each in self._endpoints if each.name == answer.endpoint]
        others = [each for each in self._endpoints if each.name != answer.endpoint]
        return self._call(
            request,
            first if first and answer.is_exclusive else [*first, *others],
            lambda endpoint, own: answer.open(endpoint.name, endpoint.upstream, own),
        )

    async def cancel(self, request: GenerationRequest, checkpoint: Checkpoint) -> None:
        """See ports.upstreams.ResumableUpstream.cancel."""
        name, own_checkpoint = read_checkpoint(checkpoint)
        for endpoint in self._endpoints:
            if endpoint.name == name and own_checkpoint is not None:
                own_request = endpoint.with_own_model(request)
                await cancel_answer(endpoint.upstream, own_request, own_checkpoint)

    async def _call(
        self,
        request: GenerationRequest,
        endpoints: Sequence[Endpoint],
        open_answer: Callable[[Endpoint, GenerationRequest], AsyncGenerator[Sequence[T], None]],
    ) -> AsyncGenerator[Sequence[T], None]:
        """Yield the answer of the first endpoint that has one."""
        failure: UpstreamError | None = None
        for endpoint in endpoints:
            for retry in range(endpoint.retries + 1):
                if not endpoint.circuit.allow():
                    failure = failure or _circuit_open_error(endpoint)
                    break
                has_output = False
                try:
                    stream = open_answer(endpoint, endpoint.with_own_model(request))
                    async with aclosing(stream):
                        async for parts in stream:
                            has_output = has_output or any(map(_is_seen, parts))
                            if AskInput in map(type, parts) and any(
                                map(_suspends, parts)
                            ):  # nobody reads on
                                endpoint.circuit.record_success()  # nobody reads on
                            yield parts
                except UpstreamError as error:
                    failure = error
                    if not error.rejects_request:
                        endpoint.circuit.record_failure()
                else:
                    endpoint.circuit.record_success()
                    return
                _log.warning(
                    "upstream.failed",
                    upstream=endpoint.name,
                    code=failure.code,
                    status=failure.status,
                    message=failure.message,
                    has_output=has_output,
                )
                if has_output or failure.rejects_request or failure.is_final:
                    raise failure
                if not failure.retryable or retry == endpoint.retries:
                    break
                delay = _retry_delay(failure, retry)
                if delay > endpoint.max_retry_after_seconds:
                    break
                await self._clock.sleep(delay)
        if failure is not None:
            raise failure


def _is_seen(output: object) -> bool:
    """Return whether it is a part that a reader sees."""
    return not isinstance(output, Usage | ResumePoint | Restart)


def _suspends(output: object) -> bool:
    return isinstance(output, AskInput) and output.save is not None


def _circuit_open_error(endpoint: Endpoint) -> UpstreamError:
    message = f"the upstream {endpoint.name!r} failed repeatedly and is not called for a while"
    return UpstreamError("upstream_circuit_open", message, retryable=True)


def _retry_delay(failure: UpstreamError, retry: int) -> float:
    """Return the seconds until the next call of the same endpoint; retry: counts from 0."""
    if failure.retry_after_seconds is not None:
        return failure.retry_after_seconds
    delay = min(_MAX_RETRY_SECONDS, _MIN_RETRY_SECONDS * 2.0**retry)
    return delay * random.uniform(0.5, 1.0)
