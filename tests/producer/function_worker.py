"""A function under a real relay, in this process: what it yields, and its loss at any moment."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any

import msgspec

from hub.core.channel import partition_of, user_channel
from hub.core.durable import DurableState, PartOrCommand, Store
from hub.core.generation import Generation, GenerationRequest, Message, new_generation_id
from hub.core.parts import Finished
from hub.core.parts_journal import PartsLimits
from hub.engine.attempts.stop_signal import StopSignal
from hub.engine.functions.function import build_context
from hub.engine.worker.relay import Relay
from hub.engine.worker.text_guard import TextGuard
from hub.errors import ProducerLost, UpstreamError
from hub.ports.backend import Backend
from hub.ports.events import FROM_START
from hub.ports.functions import Function
from hub.ports.queue import Lease
from hub.producer.answer import AnswerSource, AskRequest
from hub.producer.app import producer_of
from hub.producer.call import FunctionCall
from hub.producer.inputs import InputValue
from hub.producer.output import OutputBuffer
from hub.producer.protocol import End, Output
from hub.producer.run import Notification, Run, RunContext
from tests.doubles import RELAY_LIMITS, FakeClock

ALICE = user_channel("alice")
MAX_VALUE_BYTES = 10_000
LIMITS = PartsLimits(max_part_bytes=10_000, max_record_bytes=100_000)
_decode_output = msgspec.json.Decoder(Output).decode


class FunctionInProcess:
    """Implements ports.functions.Function without a process of its own.

    lose: called with the number of the attempt, that of the output in it, and whether the worker
    has got and published it; returns whether the function is lost there.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        retries: int = 0,
        lose: Callable[[int, int, bool], bool] = lambda *_: False,
    ) -> None:
        self._producer = producer_of(function)
        self._lose = lose
        self.retries = retries
        self.attempts: list[int] = []
        self.outputs = 0  # of all attempts
        self._run: _InProcessRun | None = None
        self.stored: set[str] = set()  # the names of values that were stored

    async def stream(
        self, record: Generation, attempt: int, state: DurableState
    ) -> AsyncGenerator[Sequence[PartOrCommand], None]:
        self.attempts.append(attempt)
        context = msgspec.json.encode(build_context(record, attempt, None, state))
        run = self._run = _InProcessRun(
            self._producer, msgspec.json.decode(context, type=RunContext)
        )
        try:
            for number in range(1000):
                output = await run.read()
                self.outputs += 1
                if self._lose(attempt, number, False):
                    raise ProducerLost
                end = output.end
                if end is not None and end.code:
                    yield output.parts
                    raise UpstreamError(end.code, end.detail or end.message, retryable=False)
                yield [*output.parts, Finished("stop")] if end is not None else output.parts
                self.stored |= {each.name for each in output.parts if isinstance(each, Store)}
                if self._lose(attempt, number, True):
                    raise ProducerLost
        finally:
            run.close()

    async def die(self) -> None:
        """Called by the function: lose it here. What it has not sent yet is lost as well."""
        assert self._run is not None
        self._run.lose()
        await asyncio.Event().wait()


class _InProcessRun:
    """One call of a function. Messages between it and its reader are JSON, as in a process."""

    def __init__(self, producer: Any, context: RunContext) -> None:
        self._received: asyncio.Queue[bytes] = asyncio.Queue()
        self._output = OutputBuffer(MAX_VALUE_BYTES, self._send)
        run = Run(context, None, None, self, self._output)
        self._call = FunctionCall(producer, run, context, self._output)
        self._task = asyncio.create_task(self._run())

    async def read(self) -> Output:
        self._output.pull()
        output = await self._received.get()
        if not output:
            raise ProducerLost
        return _decode_output(output)

    def lose(self) -> None:
        self._received.put_nowait(b"")

    def close(self) -> None:
        self._call.cancel()

    async def publish(self, notification: Notification) -> None:
        raise NotImplementedError

    def open_answer(self, request: AskRequest) -> AnswerSource:
        raise NotImplementedError

    def open_input(self, key: str) -> asyncio.Future[InputValue]:
        raise NotImplementedError

    def close_input(self, key: str) -> None:
        raise NotImplementedError

    async def _run(self) -> None:
        end = await self._call.run()
        if not self._call.is_cancelled:
            self._output.finish(end)

    def _send(self, parts: list[PartOrCommand], end: End | None) -> None:
        self._received.put_nowait(msgspec.json.encode(Output(0, parts, end)))


class FunctionWorkers:
    """An answer of a function, and the workers that produce it."""

    def __init__(
        self,
        backend: Backend,
        *,
        parts_limits: PartsLimits = LIMITS,
        guard: TextGuard | None = None,
    ) -> None:
        self.backend = backend
        self.id = new_generation_id(partition_of(ALICE))
        self.stop = StopSignal()
        self._guards = {} if guard is None else {"f": guard}
        self._limits = msgspec.structs.replace(RELAY_LIMITS, parts=parts_limits)

    async def create(self, **metadata: Any) -> None:
        messages = [Message("user", "hi")]
        request = GenerationRequest(messages, upstream="f", model="m", metadata=metadata)
        await self.backend.generations.create(Generation(self.id, "alice", request), None)

    async def work(self, function: Function, deliveries: int = 1) -> Any:
        """Take the job, and relay the answer until it has ended."""
        relay = Relay(
            self.backend.events,
            self.backend.generations,
            {},
            FakeClock(),
            self._limits,
            functions={"f": function},
            guards=self._guards,
        )
        lease = Lease(self.id, "alice", "f", "1", deliveries=deliveries)
        async with asyncio.timeout(60):
            return await relay.run(lease, self.stop)

    async def run(self, function: Function, **metadata: Any) -> None:
        await self.create(**metadata)
        await self.work(function)

    async def record(self) -> Generation:
        record = await self.backend.generations.find(self.id)
        assert record is not None
        return record

    async def events(self) -> list[tuple[str, dict[str, Any]]]:
        """Return the events of the answer."""
        pages = await self.backend.events.read(
            {ALICE: FROM_START}, max_events=1000, max_bytes=10**7
        )
        events = [(each.name, msgspec.json.decode(each.data)) for each in pages[ALICE].events]
        return [(name, data) for name, data in events if data["generation"] == self.id]
