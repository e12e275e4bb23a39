"""The inputs for which one run of a function waits, as the worker sees it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

import msgspec

from hub.core.durable import AskInput, PartOrCommand
from hub.core.generation import Generation
from hub.core.inputs import InputRequest
from hub.engine.functions.pending_inputs import PendingInputs
from hub.engine.functions.run_timer import RunTimer
from hub.engine.tasks import BackgroundTasks
from hub.producer.inputs import InputValue


class InputReceiver(Protocol):
    """The run that gets the values."""

    def send_input(self, key: str, answer: InputValue) -> None: ...


class RunInputs:
    """Waits for what a run has asked for. The time of the run stands still meanwhile."""

    def __init__(
        self, record: Generation, pending: PendingInputs, run: InputReceiver, timer: RunTimer
    ) -> None:
        self._record = record
        self._pending = pending
        self._run = run
        self._timer = timer
        self._background = BackgroundTasks()
        self._waits: dict[str, asyncio.Task[None]] = {}  # by key

    def wait_for(self, published: Sequence[PartOrCommand]) -> None:
        """Wait for the inputs that these parts have asked for."""
        for each in published:
            if isinstance(each, AskInput) and each.request.input not in self._waits:
                self._timer.pause()
                wait = self._wait(each.request)
                task = self._background.run(f"input of {self._record.id}", wait)
                self._waits[each.request.input] = task

    def on_close(self, key: str) -> None:
        """Wait no longer: the function does not either."""
        if (task := self._waits.pop(key, None)) is not None:
            self._timer.resume()
            task.cancel()

    def close(self) -> None:
        """Cancel all waits."""
        for key in tuple(self._waits):
            self.on_close(key)

    async def _wait(self, request: InputRequest) -> None:
        answer = await self._pending.wait(self._record, request.input)
        value = InputValue(is_expired=True)
        if not answer.is_expired:
            value = InputValue(msgspec.Raw(msgspec.json.encode(answer.fields["value"])))
        if self._waits.pop(request.input, None) is not None:
            self._timer.resume()
            self._run.send_input(request.input, value)
