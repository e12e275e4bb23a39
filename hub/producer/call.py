"""One run in a child process: calls the function, and passes what it yields to the buffer.

A function is an async generator function, a coroutine function, or a synchronous function, which
runs in a thread of its own. What counts is what the call returns, so decorated functions and
objects that can be called work as well.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import threading
import traceback
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent import futures
from contextlib import suppress
from typing import Any, Final

from hub.core.steering import SteeringMessage
from hub.producer.app import Producer
from hub.producer.failures import Failed, Stopped, UpstreamFailed
from hub.producer.inputs import Suspend
from hub.producer.output import InvalidPart, OutputBuffer, PartTooLarge
from hub.producer.protocol import End
from hub.producer.run import Run, RunContext, SyncRun

MAX_PARTS_AHEAD: Final = 1024  # that a thread yields before it waits for the event loop
_MAX_TRACEBACK_CHARS: Final = 20_000


class FunctionCall:
    """Runs a function until it has ended: `await call.run()`.

    `cancel` ends it early: nothing that it yields from then on is passed on.
    """

    def __init__(
        self, producer: Producer, run: Run, context: RunContext, output: OutputBuffer
    ) -> None:
        self._producer = producer
        self._run = run
        self._context = context
        self._output = output
        self._loop = asyncio.get_running_loop()
        self._is_in_thread = False
        self._parts_ahead = 0
        self._task: asyncio.Task[End] | None = None
        self._waits: set[futures.Future[Any]] = set()  # of threads, for the event loop
        self.is_cancelled = False
        if context.checkpoint is not None:
            output.continue_after(context.checkpoint.previous)

    async def run(self) -> End:
        """Call the function, and return how it ended. It raises nothing."""
        self._task = asyncio.current_task()
        try:
            await self._produce()
        except InvalidPart as error:
            return End.of_application(str(error))
        except PartTooLarge as error:
            return End("answer_too_large", str(error))
        except Suspend as suspend:
            return self._suspend(suspend)
        except Failed as error:
            report = error.report if isinstance(error, UpstreamFailed) else None
            return End(error.code, error.message, error.retryable, upstream_report=report)
        except (asyncio.CancelledError, Stopped) as error:
            if self.is_cancelled:
                return End()
            return _describe(error)
        except BaseException as error:  # noqa: BLE001 - also SystemExit: it must not end the process
            return _describe(error)
        return End()

    def _suspend(self, suspend: Suspend) -> End:
        try:
            self._output.suspend(self._run.build_suspension(suspend))
        except ValueError as error:
            code = "answer_too_large" if isinstance(error, PartTooLarge) else None
            return End.of_application(str(error)) if code is None else End(code, str(error))
        return End()

    def steer(self, messages: Sequence[SteeringMessage]) -> None:
        """Take messages of the user."""
        self._run.add_steering(messages)

    def cancel(self) -> None:
        """Cancel the function, and do it again if it goes on nevertheless."""
        self.is_cancelled = True
        self._output.stop()
        for wait in tuple(self._waits):
            wait.cancel()
        if self._task is not None and not self._is_in_thread:
            self._task.cancel()

    async def _produce(self) -> None:
        function = self._producer.call
        target = inspect.unwrap(function)
        if inspect.isasyncgenfunction(target) or inspect.iscoroutinefunction(target):
            result = function(self._run)
        else:
            result = await self._call_in_thread()
        if inspect.isawaitable(result):
            result = await result
        if hasattr(result, "__aiter__"):
            await self._iterate(result)
        elif result is not None:
            await self._output.put(result)

    async def _iterate(self, parts: Any) -> None:
        iterator = aiter(parts)
        while True:
            try:
                part = await anext(iterator)
            except StopAsyncIteration:
                return
            try:
                await self._output.put(part)
            except (asyncio.CancelledError, Stopped) as error:
                await _throw(iterator, asyncio.CancelledError())
                raise asyncio.CancelledError from error
            except BaseException:
                if hasattr(iterator, "aclose"):
                    await iterator.aclose()
                raise

    async def _call_in_thread(self) -> Any:
        """Call a synchronous function. Return what it returned if that runs on the event loop."""
        done: asyncio.Future[Any] = self._loop.create_future()
        context = contextvars.copy_context()

        def work() -> None:
            result, error = None, None
            try:
                result = context.run(self._call)
            except BaseException as raised:  # noqa: BLE001 - passed on to the run
                error = raised
            self._post(lambda: _resolve(done, result, error))

        self._is_in_thread = True
        try:
            name = f"{self._producer.name} {self._context.generation}"
            threading.Thread(target=work, name=name, daemon=True).start()
            result, error = await done
        finally:
            self._is_in_thread = False
        if error is not None:
            raise error
        return result

    def _call(self) -> Any:
        """Run in the thread."""
        result = self._producer.call(SyncRun(self._run, self._context, self._wait, self._post))
        if inspect.isawaitable(result) or hasattr(result, "__aiter__"):
            return result
        if isinstance(result, Iterator):
            self._iterate_in_thread(result)
        elif result is not None:
            self._wait(self._output.put(result))
        return None

    def _iterate_in_thread(self, parts: Iterator[Any]) -> None:
        for part in parts:
            try:
                self._put_from_thread(part)
            except Stopped as error:
                if hasattr(parts, "throw"):
                    with suppress(StopIteration):
                        parts.throw(error)
                raise
            except BaseException:
                if hasattr(parts, "close"):
                    parts.close()
                raise

    def _put_from_thread(self, value: object) -> None:
        """Pass a value to the event loop, and wait for it only when the buffer is full.

        A thread that waited for the loop at each part would cost twice as much CPU. It also waits
        now and then, because the buffer counts bytes, and parts may have none.
        """
        if self.is_cancelled:
            raise Stopped
        self._parts_ahead += 1
        if self._output.is_full or self._parts_ahead >= MAX_PARTS_AHEAD:
            self._parts_ahead = 0
            self._wait(self._output.put(value))
        else:
            self._output.add_from_thread(value)

    def _wait(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine on the event loop, and return its result to the thread."""
        if self.is_cancelled:
            work.close()
            raise Stopped
        wait = asyncio.run_coroutine_threadsafe(work, self._loop)
        self._waits.add(wait)
        try:
            self._check_wait(wait)
            return wait.result()
        except futures.CancelledError:
            raise Stopped from None
        finally:
            self._waits.discard(wait)

    def _check_wait(self, wait: futures.Future[Any]) -> None:
        """Cancel a wait that began while the run was cancelled."""
        if self.is_cancelled:
            wait.cancel()

    def _post(self, function: Callable[[], None]) -> None:
        """Call a function on the event loop, and do not wait for it."""
        with suppress(RuntimeError):  # the process ends, and its event loop is closed
            self._loop.call_soon_threadsafe(function)


def _resolve(done: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if not done.done():
        done.set_result((result, error))  # a future cannot hold StopIteration as an exception


async def _throw(iterator: Any, error: BaseException) -> None:
    """Throw an exception into a generator at its `yield`, and close it if it yields again."""
    if not hasattr(iterator, "athrow"):
        return
    with suppress(asyncio.CancelledError, StopAsyncIteration):
        await iterator.athrow(error)
        await iterator.aclose()


def _describe(error: BaseException) -> End:
    summary = "".join(traceback.format_exception_only(error)).strip()
    text = "".join(traceback.format_exception(error))
    return End.of_application(summary, text[-_MAX_TRACEBACK_CHARS:])
