"""One run of a function in a child process, as the worker sees it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from hub.core.parts import Usage
from hub.core.steering import SteeringMessage
from hub.engine.functions.askable_upstreams import AskableUpstreams
from hub.engine.functions.function_answers import FunctionRequest, RunAnswers
from hub.errors import ProducerLost
from hub.producer.inputs import InputValue
from hub.producer.protocol import End, InputAnswered, Output, Pull, Steered, ToChild


class RunProcess(Protocol):
    """The process of a run. is_lost: whether it has ended."""

    is_lost: bool

    def send(self, message: ToChild) -> None: ...

    def cancel(self, run: ProcessRun) -> None: ...


class ProcessRun:
    """One run. user: who asked the function. answers: those of upstreams that it reads.

    on_input_close: called with the key of an input for which the run waits no longer.
    """

    def __init__(
        self, number: int, request: FunctionRequest, process: RunProcess, askable: AskableUpstreams
    ) -> None:
        self.number = number
        self.user = request.context.user
        self.answers = RunAnswers(number, request, askable, process.send, self._on_usage)
        self._process = process
        self._waiter: asyncio.Future[None] | None = None  # while `read` waits
        self._received: Output | None = None  # what has not been read
        self._is_pulled = False  # whether the child still owes an Output
        self._has_usage = False  # whether the usage has grown since the last read
        self.on_input_close: Callable[[str], None] = lambda key: None

    async def read(self) -> Output:
        """Return the parts since the last read, or the next ones. Raise ProducerLost.

        The usage is that of the function and of all upstreams that it has asked.
        """
        if self._received is None and not self._has_usage:
            if self._process.is_lost:
                raise ProducerLost
            if not self._is_pulled:
                self._is_pulled = True
                self._process.send(Pull(self.number))
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        output, self._received = self._received or Output(self.number, []), None
        if self._has_usage:
            self._has_usage = False
            parts = [*output.parts, Usage(self.answers.usage.total)]
            output = msgspec.structs.replace(output, parts=parts)
        return output

    def close(self) -> None:
        """Cancel the run if it has not ended."""
        self._process.cancel(self)

    def send_steering(self, messages: Sequence[SteeringMessage]) -> None:
        """Send the run messages of the user."""
        if not self._process.is_lost:
            self._process.send(Steered(self.number, [*messages]))

    def send_input(self, key: str, answer: InputValue) -> None:
        """Send the run what has become of an input."""
        if not self._process.is_lost:
            self._process.send(InputAnswered(self.number, key, answer))

    def on_output(self, output: Output) -> None:
        """Take the parts that the child sent."""
        self._is_pulled = False
        if output.end is not None:
            self.answers.close()
        reports = [part for part in output.parts if isinstance(part, Usage)]
        if reports:
            for report in reports:
                self.answers.usage.report(self, report.tokens)
            self._has_usage = True
            parts = [part for part in output.parts if not isinstance(part, Usage)]
            output = msgspec.structs.replace(output, parts=parts)
        self._received = output
        self._wake()

    def fail(self, detail: str) -> None:
        """End the run as failed after what has been received. detail: for the log."""
        received = self._received or Output(self.number, [])
        if received.end is None:
            self.on_output(Output(self.number, received.parts, End.of_application(detail)))

    def on_lost(self) -> None:
        """Fail the run: its process has ended."""
        self.answers.close()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(ProducerLost())

    def _on_usage(self) -> None:
        """Let the usage be read at once: a run that is stopped has no later output."""
        self._has_usage = True
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
