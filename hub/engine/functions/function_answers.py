"""The upstreams that one run of a function asks, as the worker sees it.

Rules:
1. The worker has the API keys. The child process sends a request, and gets parts.
2. An upstream is read when the child asks for more, and its connection is closed as soon as the
   answer ends, the function drops it, or the run ends in any way.
3. The usage is counted here, whatever the function does with the parts.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Sequence
from contextlib import aclosing
from typing import Any

import msgspec

from hub.core.generation import GenerationRequest, Message
from hub.core.generation_context import GenerationContext
from hub.core.parts import Finished, Part, ToolCallDelta, Usage
from hub.core.usage import UsageCount
from hub.engine.functions.askable_upstreams import AskableUpstreams
from hub.engine.tasks import BackgroundTasks
from hub.engine.worker.upstream_reading import read_parts
from hub.errors import CallerError, UpstreamError
from hub.producer.answer import AnswerEnd, AskRequest
from hub.producer.failures import UpstreamReport
from hub.producer.protocol import Answered, Ask, AskClose, AskMore
from hub.producer.run import RunContext


class FunctionRequest(msgspec.Struct, frozen=True):
    """What a function is called for. request: that of the user; context: what the function sees."""

    request: GenerationRequest
    context: RunContext

    @property
    def generation_context(self) -> GenerationContext:
        """For whom an upstream answers that the function asks."""
        context = self.context
        return GenerationContext(
            user=context.user,
            generation=context.generation,
            attempt=context.attempt,
            chat=context.chat,
            metadata=context.metadata,
        )


class RunAnswers:
    """The answers that a run reads.

    number: that of the run. request: what the run answers. send: sends a message to the child
    process. on_usage: called with the usage of the whole run when an upstream reports more.
    """

    def __init__(
        self,
        number: int,
        request: FunctionRequest,
        upstreams: AskableUpstreams,
        send: Callable[[Answered], None],
        on_usage: Callable[[], None],
    ) -> None:
        self._number = number
        self._request = request.request
        self._context = request.generation_context
        self._upstreams = upstreams
        self._send = send
        self._on_usage = on_usage
        self._open: dict[int, _OpenAnswer] = {}  # by number of the call
        self._background = BackgroundTasks()
        self._call_ids: set[str] = set()  # of the tool calls of all answers
        self.usage = UsageCount()

    def on_message(self, message: Ask | AskMore | AskClose) -> None:
        """Take what the child process sent."""
        answer = self._open.get(message.call)
        if isinstance(message, Ask):
            self._start(message)
        elif answer is None:
            pass  # it has ended meanwhile
        elif isinstance(message, AskMore):
            answer.wanted.set()
        else:
            self._close(message.call)

    def _start(self, message: Ask) -> None:
        answer = self._open[message.call] = _OpenAnswer()
        answer.wanted.set()
        work = self._answer(message.call, message.request, answer)
        answer.task = self._background.run("answer for a function", work)

    def close(self) -> None:
        """Close the connections to all upstreams."""
        for call in tuple(self._open):
            self._close(call)

    def _close(self, call: int) -> None:
        answer = self._open.pop(call)
        self.usage.end(call)
        if answer.task is not None:
            answer.task.cancel()

    async def _answer(self, call: int, request: AskRequest, answer: _OpenAnswer) -> None:
        try:
            await self._relay(call, request, answer)
        except CallerError as error:
            self._end(call, AnswerEnd(message=f"run.ask: {error}", is_refused=True))
        except UpstreamError as error:
            self._end(call, _describe(error, answer.usage))

    async def _relay(self, call: int, ask: AskRequest, answer: _OpenAnswer) -> None:
        """Pass the parts on, each time that the child asks for more."""
        request = self._upstreams.build_request(self._request, **_decode(ask))
        ids = _UniqueCallIds(self._call_ids)
        async with aclosing(self._upstreams.stream(request, self._context)) as stream:
            while True:
                await answer.wanted.wait()
                parts = await read_parts(stream, request.upstream)
                self._count(call, parts, answer)
                passed_on = [ids.replace(part) for part in parts if _is_passed_on(part)]
                reasons = [part.reason for part in parts if isinstance(part, Finished)]
                if reasons:
                    end = AnswerEnd(finish_reason=reasons[0], usage=answer.usage)
                    self._end(call, end, passed_on)
                    return
                if passed_on:
                    answer.wanted.clear()
                    self._send(Answered(self._number, call, passed_on))

    def _count(self, call: int, parts: Sequence[Part], answer: _OpenAnswer) -> None:
        for part in parts:
            if isinstance(part, Usage):
                answer.usage = {**answer.usage, **part.tokens}
                self.usage.report(call, part.tokens)
                self._on_usage()

    def _end(self, call: int, end: AnswerEnd, parts: Sequence[Part] = ()) -> None:
        self._open.pop(call, None)
        self.usage.end(call)
        self._send(Answered(self._number, call, [*parts], end))


class _OpenAnswer:
    """An answer that is read. wanted: whether the child has asked for more."""

    def __init__(self) -> None:
        self.wanted = asyncio.Event()
        self.usage: dict[str, Any] = {}
        self.task: asyncio.Task[None] | None = None


class _UniqueCallIds:
    """Replaces ids of tool calls that an earlier answer of the run has: some servers count them.

    taken: those of all answers.
    """

    def __init__(self, taken: set[str]) -> None:
        self._taken = taken

    def replace(self, part: Part) -> Part:
        """Return the part with ids that no other call of the run has."""
        if not isinstance(part, ToolCallDelta):
            return part
        return ToolCallDelta([self._replace(call) for call in part.calls])

    def _replace(self, call: dict[str, Any]) -> dict[str, Any]:
        id_ = call.get("id")  # only the first delta of a call has one
        if id_ is None:
            return call
        while id_ in self._taken:
            id_ = f"call_{secrets.token_hex(12)}"
        self._taken.add(id_)
        return {**call, "id": id_}


def _is_passed_on(part: Part) -> bool:
    return not isinstance(part, Usage | Finished)


def _decode(ask: AskRequest) -> dict[str, Any]:
    """Return the parameters of AskableUpstreams.build_request. Raise CallerError."""
    try:
        messages = msgspec.json.decode(ask.messages, type=list[Message])
    except msgspec.ValidationError as error:
        raise CallerError(f"messages: {error}", path="messages") from None
    return {
        "upstream": ask.upstream,
        "model": ask.model,
        "messages": messages,
        "params": msgspec.json.decode(ask.params),
    }


def _describe(error: UpstreamError, usage: dict[str, Any]) -> AnswerEnd:
    return AnswerEnd(
        usage=usage,
        code=error.code,
        message=error.message,
        retryable=error.retryable,
        report=UpstreamReport(error.status, error.reported_code, error.param),
    )
