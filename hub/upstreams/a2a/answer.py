"""One answer of an agent: a message is sent, and its task is followed to the end.

    stream     the message is sent, and the agent streams what becomes of it
    send, get  an agent without streaming: the message is sent, and the task is read at intervals
    subscribe  the stream of a task that runs: after a broken connection, and by the worker that
               takes over. Its first event is the whole task

A task that needs input becomes an input request, which suspends the answer. The value is the next
message of the same task, which the next attempt sends.

Rules:
1. Once the agent can have begun a task, no failure of a connection sends the message again.
2. An event can be both in the first event of `subscribe` and behind it. It is recognised by what
   it says (a2a/repeats.py), which is not certain: a task that was subscribed to is read once more
   at its end.
3. The text so far is what matters, not who read it: a task with text that the answer has already
   yields only the rest (a2a/task.py).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Final, Protocol

import msgspec
import structlog

from hub.core.durable import AskInput, Checkpoint, Restart, ResumePoint, Save, StreamOutput
from hub.core.inputs import InputAnswer, InputRequest, StoredInput
from hub.core.parts import Finished, Part
from hub.error_codes import INPUT_TIMEOUT, UPSTREAM_ERROR, UPSTREAM_INTERRUPTED
from hub.errors import UpstreamError
from hub.upstreams.a2a.card import AgentInterface
from hub.upstreams.a2a.request import Operation
from hub.upstreams.a2a.task import NOTHING_SHOWN, SavedTask, TaskProgress
from hub.upstreams.reading.error_reports import extract_error_text

_MAX_FAILURES: Final = 8  # of connections in a row, without news of the task
_MIN_DELAY_SECONDS: Final = 0.25
_MAX_DELAY_SECONDS: Final = 5.0
_FAILURES: Final = {
    "failed": ("the agent's task failed", True),
    "rejected": ("the agent rejected the task", False),
    "canceled": ("the agent canceled the task", True),
    "auth-required": ("the agent needs an authorisation", False),
    "input-required": ("the agent asks for input, and nobody can be asked", False),
}
"""What a state becomes, and whether the question may be asked again."""
_PROMPT: Final = "The agent needs input."
_UNCERTAIN: Final = frozenset({"upstream_truncated", "upstream_timeout"})
_UNCERTAIN_STATUSES: Final = frozenset({500, 502, 504})
"""Failures after which the agent can have begun a task whose id is not known."""
_log = structlog.get_logger(__name__)


class AgentCalls(Protocol):
    """Calls one agent for one answer.

    inputs: as in GenerationContext. input_timeout_seconds: how long people have for what the agent
    asks. poll_seconds: the interval at which a task is read. idle_seconds: how long a task may have
    no news. total_seconds: how long it may take. secrets: what no error may show.
    """

    inputs: Mapping[str, StoredInput] | None
    input_timeout_seconds: float
    interface: AgentInterface
    progress: TaskProgress
    poll_seconds: float
    idle_seconds: float
    total_seconds: float
    secrets: Collection[str]

    def call(self, operation: Operation) -> AsyncGenerator[Sequence[Part], None]:
        """Call the agent, and yield what is new. Raise UpstreamError."""
        ...

    def set_input(self, key: str, value: Any) -> None:
        """Let `stream` and `send` send an input of the task from now on. value: JSON."""
        ...


def read_saved(checkpoint: Checkpoint | None) -> SavedTask | None:
    """Return what the worker before has saved, None if there is nothing to continue."""
    if checkpoint is None:
        return None
    try:
        return msgspec.json.decode(checkpoint.value, type=SavedTask)
    except msgspec.DecodeError:
        return None


def restore(checkpoint: Checkpoint | None) -> tuple[TaskProgress, bool]:
    """Return the progress of an answer, and whether the parts so far remain.

    They do not if there is no task to follow, or if the text is another one than was saved.
    """
    saved = read_saved(checkpoint)
    if checkpoint is None or saved is None or not (saved.task or saved.is_answered):
        return TaskProgress(), checkpoint is None
    text = "".join(part["text"] for part in checkpoint.folded if part["type"] == "text")
    if not saved.is_partial and len(text) == sum(chars for _, chars in saved.texts):
        return TaskProgress(saved, text), True
    return TaskProgress(msgspec.structs.replace(saved, texts=[], others={}, message=None)), False


class TaskAnswer:
    """Follows one task. calls: to its agent."""

    def __init__(self, calls: AgentCalls) -> None:
        self._calls = calls
        self._progress = calls.progress
        interface = calls.interface
        self._can_subscribe = interface.can_stream and interface.version == "1.0"
        self._has_subscribed = False
        self._failures = 0
        self._news_at = asyncio.get_running_loop().time()
        self._deadline = self._news_at + calls.total_seconds

    async def read(
        self, *, keeps_parts: bool = True
    ) -> AsyncGenerator[Sequence[StreamOutput], None]:
        """Yield the parts of the answer, each batch with a resume point behind it.

        keeps_parts: whether those of the worker before remain. Raise UpstreamError.
        """
        if not keeps_parts:
            yield [Restart()]
        operation: Operation | None = self._first_operation()
        while operation is not None:
            news = self._progress.news
            failure: UpstreamError | None = None
            try:
                async with aclosing(self._calls.call(operation)) as batches:
                    async for parts in batches:
                        if not _is_end(parts):
                            yield self._take(parts)
            except UpstreamError as error:
                failure = error
            self._progress.end_input(is_sent=failure is None or self._progress.news > news)
            if failure is not None and not self._progress.is_settled:
                operation = await self._after_failure(operation, failure, news)
            elif self._progress.state == "input-required" and self._calls.inputs is not None:
                stored = self._calls.inputs.get(self._progress.input_key)
                if stored is None or stored.answer is None:
                    yield [self._ask()]
                    return
                operation = self._take_input(stored.answer)
            else:
                operation = await self._after_end(operation)
        yield [Finished("stop")]

    def _take(self, parts: Sequence[Part]) -> Sequence[StreamOutput]:
        self._news_at = asyncio.get_running_loop().time()
        point = ResumePoint(msgspec.to_builtins(self._progress.save()))
        return [*(part for part in parts if part != NOTHING_SHOWN), point]

    def _first_operation(self) -> Operation | None:
        if self._progress.is_answered:
            return None
        return self._send() if self._progress.task is None else self._follow()

    def _send(self) -> Operation:
        return "stream" if self._calls.interface.can_stream else "send"

    def _follow(self) -> Operation:
        self._has_subscribed = self._has_subscribed or self._can_subscribe
        return "subscribe" if self._can_subscribe else "get"

    async def _after_end(self, operation: Operation) -> Operation | None:
        """Return the next operation, None at the end of the answer. Raise UpstreamError."""
        progress = self._progress
        if progress.task is None and not progress.is_answered:
            message = "the agent answered with neither a task nor a message"
            raise UpstreamError("upstream_protocol", message, retryable=False)
        if progress.is_answered:
            return None
        if progress.state in _FAILURES:
            raise _build_failure(progress, self._calls.secrets)
        if progress.state == "completed":
            needs_check, self._has_subscribed = self._has_subscribed, False
            return "get" if needs_check else None
        if operation in ("send", "get"):
            self._check_time()
            await asyncio.sleep(self._calls.poll_seconds)
        return "get"

    def _ask(self) -> AskInput:
        """Return the request of an input, which suspends the answer."""
        progress = self._progress
        request = InputRequest(
            input=progress.input_key,
            prompt=progress.words or _PROMPT,
            expires_at=round(time.time() + self._calls.input_timeout_seconds, 3),
        )
        return AskInput(request, Save(msgspec.Raw(msgspec.json.encode(progress.save()))))

    def _take_input(self, answer: InputAnswer) -> Operation:
        """Return the operation that sends an input. Raise UpstreamError if nobody has given it."""
        if answer.is_expired:
            message = "nobody has given the input that the agent asked for in time"
            raise UpstreamError(INPUT_TIMEOUT.name, message, retryable=False, rejects_request=True)
        self._calls.set_input(self._progress.input_key, answer.fields["value"])
        self._progress.begin_input()
        return self._send()

    async def _after_failure(
        self, operation: Operation, error: UpstreamError, news: int
    ) -> Operation | None:
        """Return the operation after a failed one. Raise UpstreamError."""
        progress = self._progress
        is_reported = error.code == "upstream_error" or not error.retryable
        if progress.task is None:
            error.is_final = error.code in _UNCERTAIN or error.status in _UNCERTAIN_STATUSES
            raise error
        if is_reported and operation != "subscribe":
            raise error
        if is_reported:  # the task has ended, or the agent cannot let anybody subscribe
            self._can_subscribe = self._has_subscribed = False
            return "get"
        self._failures = 1 if progress.news > news else self._failures + 1
        if self._failures > _MAX_FAILURES:
            raise error
        self._check_time()
        _log.info("upstream.task_resumed", task=progress.task, code=error.code)
        if self._failures > 1:
            delay = _MIN_DELAY_SECONDS * 2.0 ** (self._failures - 2)
            await asyncio.sleep(min(_MAX_DELAY_SECONDS, delay))
        return self._follow()

    def _check_time(self) -> None:
        """Raise UpstreamError for a task without news, or one that takes too long."""
        now = asyncio.get_running_loop().time()
        if now - self._news_at > self._calls.idle_seconds:
            message = "the agent's task had no news for too long"
            raise UpstreamError("upstream_timeout", message, retryable=True)
        if now > self._deadline:
            message = "the agent's task took too long"
            raise UpstreamError("upstream_timeout", message, retryable=True)


def _is_end(parts: Sequence[Part]) -> bool:
    """Whether these are the end of a response, which is not that of the answer."""
    return all(isinstance(part, Finished) for part in parts)


def _build_failure(progress: TaskProgress, secrets: Collection[str]) -> UpstreamError:
    message, is_retryable = _FAILURES[progress.state]
    is_interrupted = progress.state in ("auth-required", "input-required")
    words = extract_error_text(progress.words, secrets)
    return UpstreamError(
        UPSTREAM_INTERRUPTED.name if is_interrupted else UPSTREAM_ERROR.name,
        f"{message}: {words}" if words else message,
        retryable=is_retryable,
        rejects_request=True,  # the agent has done its work: it is not asked again, nor another one
        reported_code=progress.state,
    )
