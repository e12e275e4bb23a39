"""The guard of one answer in a child process, as the worker sees it."""

from __future__ import annotations

import asyncio
from typing import Protocol

from hub.core.verdicts import CheckedKind, TextWindow, Verdict
from hub.errors import GuardFailed, ProducerLost
from hub.producer.protocol import Check, Checked, ToChild


class GuardProcess(Protocol):
    """The process of a guard. is_lost: whether it has ended."""

    is_lost: bool

    def send(self, message: ToChild) -> None: ...

    def end_guard(self, run: GuardRun) -> None: ...


class GuardRun:
    """The checks of one answer. The process gets of a text only what is new."""

    def __init__(self, number: int, process: GuardProcess) -> None:
        self.number = number
        self._process = process
        self._calls = 0
        self._numbers: dict[CheckedKind, int] = {}  # those of the newest windows
        self._waiter: asyncio.Future[Checked] | None = None  # while `check` waits
        self._failure: str | None = None  # of all checks

    async def check(self, window: TextWindow) -> Verdict:
        """Return the verdict. Raise GuardFailed, and ProducerLost when the process has ended."""
        if self._process.is_lost:
            raise ProducerLost
        if self._failure is not None:
            raise GuardFailed(self._failure)
        self._calls += 1
        is_next = window.number == self._numbers.get(window.kind, -2) + 1
        kept = window.unchanged if is_next else 0
        self._numbers[window.kind] = window.number
        self._waiter = asyncio.get_running_loop().create_future()
        self._process.send(
            Check(
                run=self.number,
                call=self._calls,
                part=window.kind,
                kept=kept,
                text=window.read(kept),
                start=window.start,
                is_closed=window.is_closed,
                is_last=window.is_last,
            )
        )
        checked = await self._waiter
        if checked.verdict is None:
            raise GuardFailed(checked.error, traceback=checked.traceback)
        return checked.verdict

    def close(self) -> None:
        """End the guard, and do not wait for a check that runs."""
        self._process.end_guard(self)

    def on_checked(self, checked: Checked) -> None:
        """Take what the process sent, unless nobody waits for that check any more."""
        waiter = self._waiter
        if checked.call == self._calls and waiter is not None and not waiter.done():
            waiter.set_result(checked)

    def fail_check(self, message: Check, reason: str) -> None:
        """Fail a check that did not reach the process, which gets the whole text with the next."""
        self._numbers.pop(message.part, None)
        self.on_checked(Checked(self.number, message.call, error=reason))

    def fail(self, reason: str) -> None:
        """Fail the check that runs and all later ones: the process has no such guard."""
        self._failure = reason
        self.on_checked(Checked(self.number, self._calls, error=reason))

    def on_lost(self) -> None:
        """Fail the check that runs: the process has ended."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(ProducerLost())
