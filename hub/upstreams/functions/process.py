"""A child process that runs functions, as the worker sees it.

Rules:
1. The process is spawned, has a session of its own, and ends when the worker closes its sockets or
   is killed.
2. When it is lost, every run in it raises ProducerLost.
3. Its event loop is watched while it has runs. One that is blocked is named in the log with its
   stack; after `block_limit_seconds` the process is killed.
4. A run that has not ended `stop_timeout_seconds` after it was cancelled makes the process unready:
   it gets no new runs, and ends after its others.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import msgspec
import structlog

from hub.core.verdicts import GuardContext
from hub.engine.functions.askable_upstreams import AskableUpstreams
from hub.engine.functions.function_answers import FunctionRequest
from hub.engine.functions.function_run import ProcessRun
from hub.engine.tasks import BackgroundTasks, cancel_and_wait
from hub.engine.worker.guard_run import GuardRun
from hub.errors import CallerError, HubError
from hub.producer.answer import AnswerEnd
from hub.producer.child import ChildConfig
from hub.producer.connection import FrameConnection
from hub.producer.protocol import (
    Answered,
    Ask,
    AskClose,
    AskMore,
    Cancel,
    Check,
    Checked,
    Ended,
    FunctionOptions,
    InputClose,
    Loaded,
    NotLoaded,
    Output,
    Overdue,
    Publish,
    Published,
    Start,
    StartGuard,
    ToChild,
    ToWorker,
)
from hub.producer.run import Notification
from hub.producer.unencodable import describe

_HEADER_BYTES: Final = 4
_EXIT_GRACE_SECONDS: Final = 1.0
_log = structlog.get_logger(__name__)

PublishNotification = Callable[[str, Notification], Awaitable[None]]
"""Publishes a notification to a user. It raises HubError."""


class ProcessOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What the processes of a worker have in common.

    targets: those of the functions, by name of the upstream; guards: those of functions that check
    its answers. max_part_bytes: a part with more is refused. The others are settings of
    [producers].
    """

    targets: Mapping[str, str]
    guards: Mapping[str, str] = {}
    max_part_bytes: int
    stop_timeout_seconds: float
    block_warning_seconds: float
    block_limit_seconds: float


class CannotLoadFunctions(Exception):
    """The application's code cannot be loaded. The message says why."""


class NoLongerNeeded(Exception):
    """The process was marked as unready while it loaded the application's code."""


class FunctionProcess:
    """A child process, from `start` to `stop`."""

    def __init__(
        self, options: ProcessOptions, publish: PublishNotification, askable: AskableUpstreams
    ) -> None:
        self._options = options
        self._publish = publish
        self._askable = askable
        self._loop = asyncio.get_running_loop()
        self._numbers = itertools.count()
        self._runs: dict[int, ProcessRun] = {}
        self._guard_runs: dict[int, GuardRun] = {}
        self._cancelled: set[int] = set()  # runs whose functions may still clean up
        self._loaded: asyncio.Future[Mapping[str, FunctionOptions]] = self._loop.create_future()
        self._unusable = asyncio.Event()  # the process is lost or unready
        self._idle = asyncio.Event()  # the same, and it has no runs
        self._background = BackgroundTasks()
        self._stopping = asyncio.Lock()
        self._watch: asyncio.Task[None] | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._connection: FrameConnection[ToWorker] = FrameConnection(
            list[ToWorker], self._on_message, self._on_lost, self._replace_message
        )
        self.is_lost = False
        self.is_unready = False

    def __len__(self) -> int:
        """Return the number of runs that have not been cancelled."""
        return len(self._runs) + len(self._guard_runs)

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    @property
    def guards(self) -> list[str]:
        """The upstreams whose answers the functions of this process check."""
        return sorted(self._options.guards)

    async def start(self) -> Mapping[str, FunctionOptions]:
        """Start the process, and return the options of its functions.

        Raise CannotLoadFunctions, NoLongerNeeded.
        """
        own, peer = socket.socketpair()
        own_watch, peer_watch = socket.socketpair()
        try:
            await self._spawn(peer, peer_watch)
            for each in (own, own_watch):
                each.setblocking(False)
            await self._connection.open(own)
        except BaseException:
            own.close()
            own_watch.close()
            raise
        self._watch = self._background.run("watch process", self._watch_loop(own_watch))
        return await self._loaded

    async def _spawn(self, peer: socket.socket, peer_watch: socket.socket) -> None:
        """Start the process with its ends of the sockets, and close them here."""
        with peer, peer_watch:
            config = ChildConfig(
                socket_fd=peer.fileno(),
                watch_fd=peer_watch.fileno(),
                targets=dict(self._options.targets),
                guards=dict(self._options.guards),
                max_part_bytes=self._options.max_part_bytes,
                stop_timeout_seconds=self._options.stop_timeout_seconds,
                block_warning_seconds=self._options.block_warning_seconds,
            )
            # -P: a folder named `hub` in the current folder is not this package.
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-P", "-m", "hub.producer.child", msgspec.json.encode(config),
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=(peer.fileno(), peer_watch.fileno()),
                start_new_session=True,
            )  # fmt: skip

    def start_run(self, function: str, request: FunctionRequest) -> ProcessRun:
        """Start a run of the function of an upstream."""
        run = ProcessRun(next(self._numbers), request, self, self._askable)
        self._runs[run.number] = run
        self.send(Start(run.number, function, request.context))
        return run

    def start_guard(self, upstream: str, context: GuardContext) -> GuardRun:
        """Start the guard of an upstream for one answer."""
        run = GuardRun(next(self._numbers), self)
        self._guard_runs[run.number] = run
        self.send(StartGuard(run.number, upstream, context))
        return run

    def end_guard(self, run: GuardRun) -> None:
        """End the guard of an answer, and cancel a check that runs."""
        if self._guard_runs.pop(run.number, None) is not None and not self.is_lost:
            self._cancelled.add(run.number)
            self.send(Cancel(run.number))
            self._check_idle()

    def send(self, message: ToChild) -> None:
        self._connection.send(message)

    def cancel(self, run: ProcessRun) -> None:
        """Cancel a run, unless it has ended."""
        run.answers.close()
        if self._runs.pop(run.number, None) is not None and not self.is_lost:
            self._cancelled.add(run.number)
            self.send(Cancel(run.number))
            self._check_idle()

    def mark_unready(self) -> None:
        """Give the process no new runs, and end it after those that it has."""
        self.is_unready = True
        self._unusable.set()
        if not self._loaded.done():  # code that hangs must not keep its repaired form waiting
            self._loaded.set_exception(NoLongerNeeded())
        self._check_idle()

    async def wait_unusable(self) -> None:
        """Return when the process is lost or unready."""
        await self._unusable.wait()

    async def wait_idle(self) -> None:
        """Return when the process is lost, or unready and without runs."""
        await self._idle.wait()

    async def stop(self) -> None:
        """Close the sockets, and return when the process has ended. Its runs are lost."""
        async with self._stopping:
            await self._stop()

    async def _stop(self) -> None:
        self._connection.close()
        if self._watch is not None:
            await cancel_and_wait([self._watch])
        if self._process is None:
            return
        try:
            async with asyncio.timeout(self._options.stop_timeout_seconds + _EXIT_GRACE_SECONDS):
                await self._process.wait()
        except TimeoutError:
            _log.warning("producer.process_killed", pid=self.pid)
            self._kill()
            await self._process.wait()
        except asyncio.CancelledError:
            self._kill()
            raise

    def _kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.kill()

    def _check_idle(self) -> None:
        if self.is_unready and not len(self):
            self._idle.set()

    def _on_message(self, message: ToWorker) -> None:
        match message:
            case Output(run=number, end=end):
                run = self._runs.get(number) if end is None else self._runs.pop(number, None)
                if run is not None:
                    run.on_output(message)
                    self._check_idle()
            case Checked(run=number):
                if (guard_run := self._guard_runs.get(number)) is not None:
                    guard_run.on_checked(message)
            case Publish():
                self._background.run("publish of a function", self._publish_for(message))
            case Ask() | AskMore() | AskClose():
                self._on_ask(message)
            case InputClose():
                self._on_input_close(message)
            case Ended() | Overdue():
                self._on_cancelled(message)
            case Loaded(functions=functions):
                if not self._loaded.done():
                    self._loaded.set_result(functions)
            case NotLoaded(reason=reason):
                if not self._loaded.done():
                    self._loaded.set_exception(CannotLoadFunctions(reason))

    def _replace_message(self, message: ToChild, error: Exception) -> ToChild | None:
        """Fail the run or the check that needs a message that cannot be encoded.

        Return Cancel for a run that has begun.
        """
        reason = describe(message, error)
        _log.error("producer.message_not_sent", pid=self.pid, reason=reason)
        number = message.run
        if isinstance(message, StartGuard | Check):
            self._fail_guard(message, reason)
            return None
        run = self._runs.pop(number, None)
        if run is None:
            return None
        run.fail(reason)
        is_started = not isinstance(message, Start)
        if is_started:
            self._cancelled.add(number)
        self._check_idle()
        return Cancel(number) if is_started else None

    def _fail_guard(self, message: StartGuard | Check, reason: str) -> None:
        guard_run = self._guard_runs.get(message.run)
        if guard_run is None:
            return
        if isinstance(message, Check):
            guard_run.fail_check(message, reason)
        else:
            del self._guard_runs[message.run]
            guard_run.fail(reason)
            self._check_idle()

    def _on_cancelled(self, message: Ended | Overdue) -> None:
        """Take what has become of a run that was cancelled."""
        if isinstance(message, Ended):
            self._cancelled.discard(message.run)
            if message.detail:
                _log.warning("producer.cleanup_failed", pid=self.pid, exception=message.detail)
        elif message.run in self._cancelled:
            seconds = self._options.stop_timeout_seconds
            _log.warning("producer.not_stopped", pid=self.pid, seconds=seconds)
            self.mark_unready()

    def _on_input_close(self, message: InputClose) -> None:
        run = self._runs.get(message.run)
        if run is not None:
            run.on_input_close(message.key)

    def _on_ask(self, message: Ask | AskMore | AskClose) -> None:
        run = self._runs.get(message.run)
        if run is not None:
            run.answers.on_message(message)
        elif isinstance(message, Ask):
            end = AnswerEnd(message="run.ask: the answer has ended", is_refused=True)
            self.send(Answered(message.run, message.call, [], end))

    async def _publish_for(self, message: Publish) -> None:
        """Publish the notification of a run, and answer the run."""
        run = self._runs.get(message.run)
        error, is_refused = "", False
        if run is None:
            error, is_refused = "the answer has ended", True
        else:
            try:
                await self._publish(run.user, message.notification)
            except HubError as failure:
                error, is_refused = str(failure), isinstance(failure, CallerError)
        self.send(Published(message.run, message.call, error, is_refused))

    def _on_lost(self) -> None:
        """The connection is closed: the process has ended, or `stop` was called."""
        self.is_lost = True
        if not self._loaded.done():
            self._loaded.set_exception(CannotLoadFunctions("the process ended while it started"))
            self._loaded.exception()  # nobody waits for it if `start` was cancelled
        runs, self._runs = self._runs, {}
        guard_runs, self._guard_runs = self._guard_runs, {}
        for run in runs.values():
            run.on_lost()
        for guard_run in guard_runs.values():
            guard_run.on_lost()
        if runs or guard_runs:
            _log.error("producer.process_lost", pid=self.pid, runs=len(runs) + len(guard_runs))
        self._unusable.set()
        self._idle.set()

    async def _watch_loop(self, sock: socket.socket) -> None:
        """Ask the watchdog again and again while there are runs."""
        reader, writer = await asyncio.open_unix_connection(sock=sock)
        try:
            while True:
                await asyncio.sleep(self._options.block_warning_seconds / 2)
                if len(self) or self._cancelled:
                    writer.write(b"?")
                    await self._await_watchdog(reader)
        except (asyncio.IncompleteReadError, ConnectionError):
            self._kill()  # the process has ended, or does so
        finally:
            writer.close()

    async def _await_watchdog(self, reader: asyncio.StreamReader) -> None:
        """Return when the loop of the process has answered; kill the process if it does not."""
        options = self._options
        limit = max(options.block_limit_seconds, options.block_warning_seconds)
        try:
            async with asyncio.timeout(limit):
                while stack := await _read_frame(reader):
                    _log.warning(
                        "producer.blocked",
                        pid=self.pid,
                        seconds=options.block_warning_seconds,
                        runs=len(self),
                        stack=stack,
                        advice="the function blocks the event loop that it shares with other "
                        "answers: await instead, or write a synchronous function",
                    )
        except TimeoutError:
            _log.error(
                "producer.block_limit",
                pid=self.pid,
                seconds=limit,
                runs=len(self),
                advice="the process is killed, and its answers are lost",
            )
            self._kill()


async def _read_frame(reader: asyncio.StreamReader) -> str:
    header = await reader.readexactly(_HEADER_BYTES)
    return (await reader.readexactly(int.from_bytes(header, "big"))).decode(errors="replace")


def is_supported() -> bool:
    """Return whether this system can run functions."""
    return hasattr(socket, "AF_UNIX") and os.name == "posix"
