"""Runs an application's function in a test, without a server, a process or Redis.

    result = await run_producer(support, prompt="hi")
    assert result.text == "Hello"

The code is that of a worker: the relay, the checks of parts, steps, checkpoints and retries. Only
the child process is missing, and the backend is in memory. What the worker sends to the function
and back passes through JSON, as between processes.
"""

from __future__ import annotations

import asyncio
import inspect
import math
import time
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any, Final

import msgspec

from hub.core.channel import partition_of, user_channel
from hub.core.durable import AskInput, DurableState, PartOrCommand, has_commands
from hub.core.event import encode_json
from hub.core.generation import (
    Generation,
    GenerationRequest,
    Message,
    new_generation_id,
)
from hub.core.generation import Status as GenerationStatus
from hub.core.generation_context import GenerationContext
from hub.core.inputs import InputRequest
from hub.core.parts import Finished, Part, Text
from hub.core.parts_journal import PartsLimits
from hub.core.upstream_models import UpstreamModels
from hub.engine.attempts.stop_signal import StopSignal
from hub.engine.functions.askable_upstreams import AskableUpstreams
from hub.engine.functions.function import ApplicationFunction
from hub.engine.functions.function_answers import FunctionRequest
from hub.engine.functions.function_run import ProcessRun
from hub.engine.functions.pending_inputs import PendingInputs
from hub.engine.functions.steering_feed import SteeringFeed
from hub.engine.generations.generation_jobs import GenerationJobs
from hub.engine.generations.input_events import expired, publish_answer
from hub.engine.generations.inputs import Inputs
from hub.engine.tasks import SystemClock
from hub.engine.worker.relay import Relay, RelayLimits
from hub.errors import CallerError, ProducerLost
from hub.ports.events import FROM_START
from hub.ports.queue import Lease
from hub.producer.app import Producer, producer_of
from hub.producer.call import FunctionCall
from hub.producer.output import OutputBuffer
from hub.producer.protocol import (
    Answered,
    Ask,
    AskClose,
    AskMore,
    End,
    FunctionOptions,
    InputAnswered,
    InputClose,
    Output,
    Publish,
    Published,
    Pull,
    Steered,
    ToChild,
    ToWorker,
)
from hub.producer.run import Run
from hub.producer.services import WorkerServices
from hub.testing.backend import MemoryBackend

MAX_PART_BYTES: Final = 64 * 1024
MAX_RECORD_BYTES: Final = 2 * 1024 * 1024
_UPSTREAM: Final = "function"
_USER: Final = "alice"
_to_child: Final = msgspec.json.Decoder(ToChild).decode
_to_worker: Final = msgspec.json.Decoder(ToWorker).decode

FakeAnswer = Callable[[GenerationRequest], Any] | str | Sequence[Part | str]
"""What an upstream answers that the function asks: a text, parts, or a function of the request that
returns one of them or an (async) iterable of parts. It may raise UpstreamError.
"""


class ProducerResult(msgspec.Struct, frozen=True, kw_only=True):
    """What became of an answer.

    parts: what the function yielded in its last attempt, neighbouring texts joined. text, seen: the
    text and the folded parts that a reader has at the end, as in `generation.snapshot`. status:
    `done`, `stopped` or `failed`. end: the fields of the end event, such as `code` and `usage`.
    attempts: how often the function was called. events: the names and data of all events.
    notifications: the event and the data of each `run.publish`. requests: what the function asked.
    """

    parts: list[Part]
    text: str
    seen: list[dict[str, Any]]
    status: str
    end: dict[str, Any]
    attempts: int
    events: list[tuple[str, dict[str, Any]]]
    notifications: list[tuple[str, Any]]
    requests: list[GenerationRequest]


async def run_producer(
    function: Callable[..., Any],
    *,
    prompt: str | None = None,
    messages: Sequence[Mapping[str, Any]] | None = None,
    ask: FakeAnswer = "",
    inputs: Mapping[str, Any] | None = None,
    stop_after: int | None = None,
    metadata: Mapping[str, Any] | None = None,
    params: Mapping[str, Any] | None = None,
    chat: str | None = None,
    user: str = _USER,
    steering: Mapping[int, str] | None = None,
) -> ProducerResult:
    """Run a function until its answer has ended.

    prompt, or messages: what the user asks. ask: what each upstream answers. inputs: the values
    that the user gives when the function asks for them, by key; an input that has none expires at
    once. stop_after: the answer is stopped when a reader has that many parts. steering: messages
    that the user sends while it runs: each one when the function has yielded that many parts in its
    first attempt. The others are those of the request.
    Raise CallerError for a value that the request of its input does not allow.
    """
    return await _build_answer(
        function,
        prompt=prompt,
        messages=messages,
        ask=ask,
        inputs=inputs,
        stop_after=stop_after,
        metadata=metadata,
        params=params,
        chat=chat,
        user=user,
        steering=steering,
    ).run()


async def crash_at_every_part(
    function: Callable[..., Any], *, retries: int = 1, **options: Any
) -> list[ProducerResult]:
    """Run a function once for each of its parts, and lose its process there.

    The first answer is lost before any part is published, the next one after the first part, and
    the last one before its end. One that asks for input is also lost before
    and after the value. The attempt that follows has what is stored by then. retries: those
    of the function, whatever it declares; with 0, the answers fail. options: those of
    run_producer. Return what became of each answer.
    A function that is lost gets CancelledError where it waits, or Stopped: a real crash runs no
    cleanup.
    """
    results: list[ProducerResult] = []
    while True:
        answer = _build_answer(function, retries=retries, crash_at=len(results), **options)
        result = await answer.run()
        if not answer.has_crashed:
            return results
        results.append(result)


def _build_answer(
    function: Callable[..., Any],
    *,
    prompt: str | None = None,
    messages: Sequence[Mapping[str, Any]] | None = None,
    metadata: Mapping[str, Any] | None = None,
    params: Mapping[str, Any] | None = None,
    chat: str | None = None,
    user: str = _USER,
    ask: FakeAnswer = "",
    **options: Any,
) -> _TestedAnswer:
    if messages is None:
        messages = [{"role": "user", "content": "hi" if prompt is None else prompt}]
    elif prompt is not None:
        raise ValueError("give either prompt or messages")
    request = GenerationRequest(
        messages=msgspec.convert([*messages], list[Message]),
        upstream=_UPSTREAM,
        model=_UPSTREAM,
        params={**(params or {})},
        metadata={**(metadata or {})},
        chat=chat,
    )
    return _TestedAnswer(function, request, user, ask, **options)


class _FakeUpstream:
    """Implements ports.upstreams.Upstream by a FakeAnswer."""

    def __init__(self, answer: FakeAnswer) -> None:
        self._answer = answer
        self.requests: list[GenerationRequest] = []

    async def stream(
        self, request: GenerationRequest, context: GenerationContext | None = None
    ) -> AsyncGenerator[Sequence[Part], None]:
        self.requests.append(request)
        answer = self._answer(request) if callable(self._answer) else self._answer
        if inspect.isawaitable(answer):
            answer = await answer
        if isinstance(answer, str):
            answer = [answer]
        if isinstance(answer, AsyncIterable):
            async for part in answer:
                yield [_to_part(part)]
        elif isinstance(answer, Iterable):
            for part in answer:
                yield [_to_part(part)]
        yield [Finished("stop")]


def _to_part(part: Any) -> Part:
    return Text(part) if isinstance(part, str) else part


class _AnyUpstream(dict[str, Any]):
    """Upstreams of every name, which all are the same one."""

    def __init__(self, upstream: _FakeUpstream) -> None:
        super().__init__({"upstream": upstream})
        self._upstream = upstream

    def __contains__(self, name: object) -> bool:
        return name != _UPSTREAM

    def __missing__(self, name: str) -> _FakeUpstream:
        return self._upstream


class _AnyModels(dict[str, UpstreamModels]):
    """The models of upstreams of every name: any."""

    def __missing__(self, name: str) -> UpstreamModels:
        return UpstreamModels("model", (), "function" if name == _UPSTREAM else "openai")

    def __contains__(self, name: object) -> bool:
        return True


class _TestedAnswer:
    """One answer of a function; it is its own FunctionRuns.

    crash_at: the number of parts of the first attempt after which its process is lost.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        request: GenerationRequest,
        user: str,
        ask: FakeAnswer,
        *,
        retries: int | None = None,
        inputs: Mapping[str, Any] | None = None,
        stop_after: int | None = None,
        crash_at: int | None = None,
        steering: Mapping[int, str] | None = None,
    ) -> None:
        self._backend = MemoryBackend(max_events=1_000_000)
        id_ = new_generation_id(partition_of(user_channel(user)))
        self._record = Generation(id_, user, request, steerable=True)
        self._steering = {**(steering or {})}
        self._feed = SteeringFeed(self._backend.generations, SystemClock(), interval_seconds=1.0)
        self._producer = producer_of(function)
        self._request = request
        self._user = user
        self._upstream = _FakeUpstream(ask)
        self._askable = AskableUpstreams(_AnyUpstream(self._upstream), _AnyModels())
        self._retries = retries
        self._stop_after = stop_after
        self._crash_at = crash_at
        self._stop = StopSignal()
        self._state: Any = None
        self._processes: list[_InProcess] = []
        self._crash_points = 0  # that the first attempt has passed
        self.has_crashed = False
        self.notifications: list[tuple[str, Any]] = []
        self.options = {
            _UPSTREAM: FunctionOptions(
                retries=self._producer.retries,
                max_running=self._producer.max_running,
                timeout_seconds=self._producer.timeout_seconds,
            )
        }
        self._values = inputs or {}
        self._refusal: CallerError | None = None  # of a value
        events, store = self._backend.events, self._backend.generations
        self._pending_inputs = PendingInputs(events, store, check_seconds=1.0)
        self._jobs = GenerationJobs(events, store, self._backend.queue)
        self._inputs = Inputs(events, store, self._backend.queue, self._jobs)
        self._function = ApplicationFunction(
            _UPSTREAM,
            self,
            self._pending_inputs,
            retries=retries,
            shows_errors=True,
            steering=self._feed,
        )

    # ports.functions.Function

    @property
    def retries(self) -> int:
        return self._function.retries

    async def stream(
        self, record: Generation, attempt: int, state: DurableState
    ) -> AsyncGenerator[Sequence[PartOrCommand], None]:
        """Pass on what the function yields, and lose it where it is to be lost."""
        published = 0
        stream = self._function.stream(record, attempt, state)
        try:
            async for parts in stream:
                for part in parts:
                    self._crash_if_due()
                    is_seen = isinstance(part, AskInput) or not has_commands([part])
                    self._crash_points += is_seen  # the relay reads no further after a suspension
                    yield [part]
                    published += is_seen
                    if attempt == 1:
                        await self._steer(published)
                    if published == self._stop_after:
                        self._stop.set(self._user)
                    if isinstance(part, AskInput) and part.save is None:
                        self._crash_if_due()
                        await self._give(record, part.request)
                        self._crash_points += 1
        finally:
            await stream.aclose()

    async def _steer(self, published: int) -> None:
        """Send the message for this number of parts."""
        text = self._steering.pop(published, None)
        if text is not None:
            message = encode_json({"role": "user", "content": text})
            await self._backend.generations.steer(self._record, message, self._user, None)
            await self._feed.read(self._record.id)

    def _crash_if_due(self) -> None:
        """Lose the function if this is the moment. Raise ProducerLost."""
        if self._crash_points == self._crash_at and not self.has_crashed:
            self.has_crashed = True
            self._processes[-1].lose()
            raise ProducerLost

    async def _give(self, record: Generation, request: InputRequest) -> None:
        """Give the value of an input as its user does."""
        key = request.input
        if key in self._values:
            try:
                await self._inputs.answer(record.id, key, self._values[key], self._user)
            except CallerError as error:
                self._refusal = error
                self._stop.set(self._user)
        else:
            end = expired(record.id, key)
            await publish_answer(self._backend.events, record, request, end)
            newest = await self._backend.generations.find(record.id)
            if newest is not None and newest.suspended is not None:
                await self._jobs.end_unanswered(newest)
        self._pending_inputs.notify(record.id)

    # FunctionRuns

    async def start_run(self, function: str, request: FunctionRequest) -> ProcessRun:
        process = _InProcess(self._producer, self._state, self._askable, self.notifications)
        self._processes.append(process)
        return process.start(request)

    async def run(self) -> ProducerResult:
        """Relay the answer until it has ended."""
        async with AsyncExitStack() as opened:
            lifespan = self._producer.app.open_lifespan()
            if lifespan is not None:
                self._state = await opened.enter_async_context(lifespan)
            try:
                return await self._relay()
            finally:
                for process in self._processes:
                    await process.close()

    async def _relay(self) -> ProducerResult:
        backend, id_ = self._backend, self._record.id
        await backend.generations.create(self._record, None)
        await self._steer(0)
        relay = Relay(
            backend.events,
            backend.generations,
            {},
            SystemClock(),
            RelayLimits(
                max_attempts=1_000_000,
                parts=PartsLimits(max_part_bytes=MAX_PART_BYTES, max_record_bytes=MAX_RECORD_BYTES),
                flush_seconds=0.0,
                broker_timeout_seconds=1.0,
                max_queued_seconds=math.inf,
            ),
            functions={_UPSTREAM: self},
        )
        record = None
        while record is None or not record.status.ended:
            await relay.run(Lease(id_, self._user, _UPSTREAM, "1"), self._stop)
            record = await backend.generations.find(id_)
            assert record is not None
            if record.status is GenerationStatus.SUSPENDED and record.suspended is not None:
                await self._give(record, record.inputs[record.suspended].request)
            if self._refusal is not None:
                raise self._refusal
            record = await backend.generations.find(id_)
        channel = user_channel(self._user)
        pages = await backend.events.read(
            {channel: FROM_START}, max_events=1_000_000, max_bytes=2**40
        )
        return ProducerResult(
            parts=self._processes[-1].parts if self._processes else [],
            text=record.text,
            seen=record.parts,
            status=record.status.value,
            end=record.end,
            attempts=len(self._processes),
            events=[(each.name, msgspec.json.decode(each.data)) for each in pages[channel].events],
            notifications=self.notifications,
            requests=self._upstream.requests,
        )


class _EachPart(OutputBuffer):
    """Sends each part in a message of its own, so that an answer can be lost between any two."""

    @property
    def is_full(self) -> bool:
        return True


class _InProcess:
    """Takes the place of a child process for one run: implements function_run.RunProcess."""

    def __init__(
        self,
        producer: Producer,
        state: Any,
        askable: AskableUpstreams,
        notifications: list[tuple[str, Any]],
    ) -> None:
        self._producer = producer
        self._state = state
        self._askable = askable
        self._notifications = notifications
        self._loop = asyncio.get_running_loop()
        self._services = WorkerServices(0, self._to_worker)
        self._output = _EachPart(MAX_RECORD_BYTES, self._on_output)
        self._run: ProcessRun | None = None
        self._call: FunctionCall | None = None
        self._task: asyncio.Task[None] | None = None
        self.is_lost = False
        self.parts: list[Part] = []

    def start(self, request: FunctionRequest) -> ProcessRun:
        """Call the function."""
        context = msgspec.json.decode(
            msgspec.json.encode(request.context), type=type(request.context)
        )
        seconds = context.timeout_seconds
        deadline = None if seconds is None else time.time() + seconds
        run = Run(context, self._state, deadline, self._services, self._output)
        self._call = FunctionCall(self._producer, run, context, self._output)
        self._task = asyncio.create_task(self._work(self._call))  # noqa: TID251 - `close` ends it
        self._run = ProcessRun(0, request, self, self._askable)
        return self._run

    async def _work(self, call: FunctionCall) -> None:
        end = await call.run()
        self._services.close()
        if not call.is_cancelled:
            self._output.finish(end)

    def _on_output(self, output: list[PartOrCommand], end: End | None) -> None:
        for part in output:
            last = self.parts[-1] if self.parts else None
            if isinstance(part, Text) and isinstance(last, Text):
                self.parts[-1] = Text(last.text + part.text)
            elif isinstance(part, Part):
                self.parts.append(part)
        self._to_worker(Output(0, output, end))

    def _to_worker(self, message: ToWorker) -> None:
        received = _to_worker(msgspec.json.encode(message))
        self._loop.call_soon(self._on_message, received)

    def _on_message(self, message: ToWorker) -> None:
        if self._run is None or self.is_lost:
            return
        match message:
            case Output():
                self._run.on_output(message)
            case Publish(call=call, notification=notification):
                data = msgspec.json.decode(notification.data)
                self._notifications.append((notification.event, data))
                self.send(Published(0, call))
            case Ask() | AskMore() | AskClose():
                self._run.answers.on_message(message)
            case InputClose(key=key):
                self._run.on_input_close(key)

    # function_run.RunProcess

    def send(self, message: ToChild) -> None:
        received = _to_child(msgspec.json.encode(message))
        self._loop.call_soon(self._receive, received)

    def _receive(self, message: ToChild) -> None:
        if self.is_lost:
            return
        match message:
            case Pull():
                self._output.pull()
            case Steered(messages=messages):
                if self._call is not None:
                    self._call.steer(messages)
            case Published() | Answered() | InputAnswered():
                self._services.on_message(message)

    def cancel(self, run: ProcessRun) -> None:
        """Cancel the run, unless it has ended."""
        run.answers.close()
        self._services.close()
        if self._call is not None and self._task is not None and not self._task.done():
            self._call.cancel()

    def lose(self) -> None:
        """End the function as a crash would: nothing that it does later reaches the worker."""
        self.is_lost = True
        if self._run is not None:
            self._run.on_lost()
            self.cancel(self._run)

    async def close(self) -> None:
        """Return when the function has ended."""
        if self._task is not None:
            await asyncio.wait([self._task], timeout=1.0)
