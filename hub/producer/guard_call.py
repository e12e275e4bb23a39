"""The guard of one answer in a child process: it calls the application's function.

The worker checks one window at a time. A new check means that nobody waits for the one before it,
which is cancelled. A synchronous function runs in a thread, and not before its last call has ended.
"""

from __future__ import annotations

import asyncio
import inspect
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from hub.core.verdicts import CheckedKind, End, GuardContext, Pass, Replace, Retract, Verdict
from hub.guard import Window
from hub.producer.protocol import Check, Checked

_MAX_THREADS: Final = 64
_MAX_TRACEBACK_CHARS: Final = 20_000
_threads: Final = ThreadPoolExecutor(_MAX_THREADS, "guard")


class GuardCall:
    """The calls of a guard for one answer.

    number: that of the run. function: that of the application. send: sends a message to the worker.
    """

    def __init__(
        self,
        number: int,
        function: Callable[[Window], Any],
        context: GuardContext,
        send: Callable[[Checked], None],
    ) -> None:
        self._number = number
        self._function = function
        self._context = context
        self._send = send
        self._texts: dict[CheckedKind, str] = {"text": "", "reasoning": ""}
        self._task: asyncio.Task[None] | None = None
        self._thread: asyncio.Future[Any] | None = None  # the last call in a thread

    def on_message(self, message: Check) -> None:
        """Check a window."""
        self.cancel()
        whole = self._texts.pop(message.part)[: message.kept]
        whole += message.text  # in place, because nothing else refers to the text
        self._texts[message.part] = whole
        context = self._context
        window = Window(
            user=context.user,
            generation=context.generation,
            attempt=context.attempt,
            chat=context.chat,
            metadata=context.metadata,
            kind=message.part,
            text=whole[message.start :],
            whole_text=whole,
            is_closed=message.is_closed,
            is_last=message.is_last,
        )
        work = self._check(message.call, window)
        self._task = asyncio.get_running_loop().create_task(work)

    def cancel(self) -> None:
        """Cancel the check that runs."""
        if self._task is not None:
            self._task.cancel()

    async def wait(self) -> None:
        """Return when the function does nothing more."""
        tasks = [each for each in (self._task, self._thread) if each is not None]
        if tasks:
            await asyncio.wait(tasks)

    async def _check(self, call: int, window: Window) -> None:
        try:
            verdict = _read_verdict(await self._call(window))
        except asyncio.CancelledError:
            if (task := asyncio.current_task()) is not None and task.cancelling():
                raise
            self._send(Checked(self._number, call, error="the guard was cancelled"))
        except BaseException as error:  # noqa: BLE001 - also SystemExit: it must not end the process
            self._send(Checked(self._number, call, None, *_describe(error)))
        else:
            self._send(Checked(self._number, call, verdict))

    async def _call(self, window: Window) -> Any:
        if inspect.iscoroutinefunction(inspect.unwrap(self._function)):
            return await self._function(window)
        if self._thread is not None:
            await asyncio.wait([self._thread])
        loop = asyncio.get_running_loop()
        self._thread = loop.run_in_executor(_threads, self._call_in_thread, window)
        result, error = await asyncio.shield(self._thread)
        if error is not None:
            raise error
        return await result if inspect.isawaitable(result) else result

    def _call_in_thread(self, window: Window) -> tuple[Any, BaseException | None]:
        try:
            return self._function(window), None
        except BaseException as error:  # noqa: BLE001 - a future cannot hold StopIteration
            return None, error


def _read_verdict(value: object) -> Verdict:
    """Return what a guard returned as a verdict. Raise TypeError, ValueError."""
    if value is None:
        return Pass()
    if not isinstance(value, Pass | Replace | Retract | End):
        kind = type(value).__name__
        raise TypeError(
            f"the guard returned a value of the type {kind}; it must be None or a verdict of "
            "hub.guard: Pass, Replace, Retract or End"
        )
    for name in value.__struct_fields__:
        text = getattr(value, name)
        if text is not None and not isinstance(text, str):
            raise TypeError(f"{name} of {type(value).__name__} must be a text")
        if text is not None:
            text.encode()  # UnicodeEncodeError is a ValueError
    return value


def _describe(error: BaseException) -> tuple[str, str]:
    summary = "".join(traceback.format_exception_only(error)).strip()
    text = "".join(traceback.format_exception(error))
    return summary, text[-_MAX_TRACEBACK_CHARS:]
