"""The child process of a worker that runs functions: `python -m hub.producer.child CONFIG`.

All runs share one event loop. The worker decides which runs there are; this process knows nothing
of Redis, leases and settings. It ends when the worker closes its end of the socket: it cancels its
runs, waits for their cleanup for `stop_timeout_seconds`, and leaves the lifespans of the apps.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

try:
    from uvloop import run
except ImportError:  # there is none for PyPy
    from asyncio import run  # type: ignore[assignment]  # without loop_factory

from hub.core.durable import PartOrCommand
from hub.producer.app import App, Producer
from hub.producer.call import FunctionCall
from hub.producer.connection import FrameConnection
from hub.producer.guard_call import GuardCall
from hub.producer.loading import CannotLoad, load_guard, load_producer
from hub.producer.output import OutputBuffer
from hub.producer.protocol import (
    Cancel,
    Check,
    End,
    Ended,
    FunctionOptions,
    Loaded,
    NotLoaded,
    Output,
    Overdue,
    Pull,
    Start,
    StartGuard,
    Steered,
    ToChild,
    ToWorker,
)
from hub.producer.run import Run
from hub.producer.services import WorkerServices
from hub.producer.unencodable import encodable_message
from hub.producer.watchdog import Watchdog


class ChildConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What a child process needs to know.

    socket_fd, watch_fd: the sockets of the protocol and of the watchdog. targets: those of the
    functions, by the name of the upstream; guards: those of functions that check its answers.
    max_part_bytes: see OutputBuffer.
    """

    socket_fd: int
    watch_fd: int
    targets: dict[str, str]
    max_part_bytes: int
    stop_timeout_seconds: float
    block_warning_seconds: float
    guards: dict[str, str] = {}


class _RunState(msgspec.Struct):
    """A run of this process."""

    call: FunctionCall
    output: OutputBuffer
    services: WorkerServices

    def cancel(self) -> None:
        self.services.close()
        self.call.cancel()


class Child:
    """Runs functions until the worker closes the connection: `await child.serve(sock)`."""

    def __init__(
        self,
        config: ChildConfig,
        producers: dict[str, Producer],
        guards: dict[str, Callable[..., Any]] | None = None,
    ) -> None:
        self._config = config
        self._producers = producers
        self._guards = guards or {}
        self._states: dict[int, Any] = {}  # the values of the lifespans, by id of the app
        self._runs: dict[int, _RunState] = {}
        self._guard_calls: dict[int, GuardCall] = {}  # by number of the run
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._connection: FrameConnection[ToChild] = FrameConnection(
            list[ToChild], self._on_message, self._closed.set, self._replace_message
        )

    async def serve(self, sock: socket.socket, failure: str | None) -> None:
        """Serve until the worker is gone. failure: why the functions cannot be called."""
        await self._connection.open(sock)
        async with AsyncExitStack() as lifespans:
            if failure is None:
                failure = await self._enter_lifespans(lifespans)
            if failure is None:
                options = {name: _options(each) for name, each in self._producers.items()}
                self._connection.send(Loaded(options))
            else:
                self._connection.send(NotLoaded(failure))
            await self._closed.wait()
            for run in self._runs.values():
                run.cancel()
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=self._config.stop_timeout_seconds)

    async def _enter_lifespans(self, lifespans: AsyncExitStack) -> str | None:
        """Enter the lifespan of each app. Return why that is not possible, None if it is."""
        apps = {id(each.app): each.app for each in self._producers.values()}
        for key, app in apps.items():
            try:
                lifespan = app.open_lifespan()
                if lifespan is not None:
                    self._states[key] = await self._enter(lifespans, lifespan)
            except BaseException as error:  # noqa: BLE001 - whatever the application raises
                return _describe_lifespan(app, error)
        return None

    async def _enter(
        self, lifespans: AsyncExitStack, lifespan: AbstractAsyncContextManager[Any]
    ) -> Any:
        """Enter a lifespan, and return its value. It is cancelled when the worker is gone."""
        current = asyncio.current_task()
        cancelling = self._loop.create_task(self._cancel_when_closed(current))
        try:
            return await lifespans.enter_async_context(lifespan)
        finally:
            cancelling.cancel()

    async def _cancel_when_closed(self, task: asyncio.Task[Any] | None) -> None:
        await self._closed.wait()
        if task is not None:
            task.cancel()

    def _on_message(self, message: ToChild) -> None:
        if isinstance(message, Start):
            self._start(message)
        elif isinstance(message, Check) or message.run in self._guard_calls:
            self._on_guard_message(message)
        elif isinstance(message, StartGuard):
            self._guard_calls[message.run] = GuardCall(
                message.run,
                self._guards[message.upstream],
                message.context,
                self._connection.send,
            )
        elif (run := self._runs.get(message.run)) is None:
            pass  # it has ended meanwhile
        elif isinstance(message, Pull):
            run.output.pull()
        elif isinstance(message, Cancel):
            run.cancel()
            seconds = self._config.stop_timeout_seconds
            self._loop.call_later(seconds, self._on_overdue, message.run)
        elif isinstance(message, Steered):
            run.call.steer(message.messages)
        else:
            run.services.on_message(message)

    def _on_guard_message(self, message: ToChild) -> None:
        guard = self._guard_calls.get(message.run)
        if guard is None:
            pass  # the worker could not send StartGuard
        elif isinstance(message, Check):
            guard.on_message(message)
        elif isinstance(message, Cancel):
            self._guard_calls.pop(message.run)
            guard.cancel()
            task = self._loop.create_task(self._end_guard(message.run, guard))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _end_guard(self, number: int, guard: GuardCall) -> None:
        """Tell the worker that a guard has ended, and before that if it does not end in time."""
        seconds = self._config.stop_timeout_seconds
        timer = self._loop.call_later(seconds, self._connection.send, Overdue(number))
        await guard.wait()
        timer.cancel()
        self._connection.send(Ended(number))

    def _start(self, start: Start) -> None:
        producer, context = self._producers[start.function], start.context
        seconds = context.timeout_seconds
        deadline = None if seconds is None else time.time() + seconds
        services = WorkerServices(start.run, self._connection.send)
        output = OutputBuffer(self._config.max_part_bytes, partial(self._send, start.run))
        run = Run(context, self._state(producer.app), deadline, services, output)
        call = FunctionCall(producer, run, context, output)
        self._runs[start.run] = _RunState(call, output, services)
        name = f"{producer.name} {context.generation}"
        task = self._loop.create_task(self._run(start.run), name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _state(self, app: App) -> Any:
        return self._states.get(id(app))

    async def _run(self, number: int) -> None:
        run = self._runs[number]
        end = await run.call.run()
        if run.call.is_cancelled:
            self._forget(number)
            self._connection.send(Ended(number, end.traceback))
        else:
            run.output.finish(end)

    def _send(self, number: int, parts: list[PartOrCommand], end: End | None) -> None:
        if end is not None:
            self._forget(number)
        self._connection.send(Output(number, parts, end))

    def _replace_message(self, message: ToWorker, error: Exception) -> ToWorker | None:
        """Fail the run or the check whose message cannot be encoded. See FrameConnection."""
        replacement = encodable_message(message, error)
        if isinstance(replacement, Output) and (run := self._runs.get(replacement.run)):
            run.cancel()  # the worker gets its end
        return replacement

    def _on_overdue(self, number: int) -> None:
        """Cancel a run again that has not ended in time, and tell the worker."""
        run = self._runs.get(number)
        if run is not None:
            run.cancel()
            self._connection.send(Overdue(number))

    def _forget(self, number: int) -> None:
        run = self._runs.pop(number, None)
        if run is not None:
            run.services.close()


def _options(producer: Producer) -> FunctionOptions:
    return FunctionOptions(
        retries=producer.retries,
        max_running=producer.max_running,
        timeout_seconds=producer.timeout_seconds,
    )


def _describe_lifespan(app: App, error: BaseException) -> str:
    names = ", ".join(app.producers)
    summary = "".join(traceback.format_exception_only(error)).strip()
    text = "".join(traceback.format_exception(error))
    return f"the lifespan of the app with {names} failed: {summary}\n{text}".rstrip()


async def _serve(
    config: ChildConfig,
    producers: dict[str, Producer],
    guards: dict[str, Callable[..., Any]],
    failure: str | None,
) -> None:
    watch_socket = socket.socket(fileno=config.watch_fd)
    watch_socket.setblocking(True)
    Watchdog(
        asyncio.get_running_loop(),
        watch_socket,
        warning_seconds=config.block_warning_seconds,
        exit_seconds=config.stop_timeout_seconds,
    ).start()
    sock = socket.socket(fileno=config.socket_fd)
    sock.setblocking(False)
    await Child(config, producers, guards).serve(sock, failure)


def main() -> None:
    """Load the functions, and run them."""
    config = msgspec.json.decode(sys.argv[1], type=ChildConfig)
    # The worker decides when this process ends, also when a signal reaches the whole group.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    sys.path.insert(0, str(Path.cwd()))
    producers: dict[str, Producer] = {}
    guards: dict[str, Callable[..., Any]] = {}
    failure = None
    try:
        for name, target in config.targets.items():
            producers[name] = load_producer(name, target)
        for name, target in config.guards.items():
            guards[name] = load_guard(target)
    except CannotLoad as error:
        failure = str(error)
    run(_serve(config, producers, guards, failure))


if __name__ == "__main__":
    main()
