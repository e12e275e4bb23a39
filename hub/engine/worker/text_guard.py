"""Checks an answer with the application's guard before its text is published.

    parts of the producer → GuardedParts (core/guarded_parts.py) → parts that may be published
                               ↓ window        ↑ verdict
                              the guard (ports/guards.py)

Rules:
1. The producer is read on while a check runs, until too much waits for it. One check runs at a
   time, so the next window has everything that arrived meanwhile.
2. A function waits until its commands are carried out. So the producer is not read between a
   command and the publish of it.
3. A check has a deadline: after `timeout_seconds` it is slow, after `max_wait_seconds` it has
   failed. Closing the stream, as a stop does, waits for no check.
4. When the producer fails, the text that it has produced is checked and published before the
   failure.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import AsyncGenerator, Collection, Coroutine, Sequence
from typing import Any, Literal, Protocol

import msgspec
import structlog

from hub.core.durable import StreamOutput
from hub.core.generation_context import GenerationContext
from hub.core.guarded_parts import GuardedParts
from hub.core.parts import Finished
from hub.core.verdicts import CheckedKind, End, GuardContext, TextWindow, Verdict
from hub.engine.tasks import cancel_and_wait
from hub.engine.worker.upstream_reading import read_parts
from hub.errors import GuardFailed, UpstreamError
from hub.ports.clock import Clock
from hub.ports.guards import Guard, GuardSession

_log = structlog.get_logger(__name__)


class GuardOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How the answers of one upstream are checked. The fields are those of the settings."""

    checks: Collection[CheckedKind] = ("text", "reasoning")
    hold_back_characters: int = 64
    check_every_characters: int = 1
    timeout_seconds: float = 5.0
    on_slow: Literal["wait", "pass"] = "wait"
    max_wait_seconds: float = 60.0
    on_error: Literal["end", "pass"] = "end"


class GuardObserver(Protocol):
    """What counts the checks of the guard of one upstream. Times are in seconds."""

    def on_check(self, verdict: str, seconds: float) -> None: ...

    def on_delay(self, seconds: float) -> None: ...

    def on_slow(self) -> None: ...

    def on_error(self) -> None: ...


class TextGuard:
    """The guard of the answers of one upstream.

    upstream: its name in the settings.
    """

    def __init__(
        self,
        upstream: str,
        guard: Guard,
        options: GuardOptions,
        clock: Clock,
        observer: GuardObserver,
    ) -> None:
        self.upstream = upstream
        self.options = options
        self.clock = clock
        self.observer = observer
        self._guard = guard

    def stream(
        self,
        source: AsyncGenerator[Sequence[StreamOutput], None],
        context: GenerationContext,
        *,
        shown: str = "",
    ) -> AsyncGenerator[Sequence[StreamOutput], None]:
        """Yield the parts of a producer as soon as they may be published.

        shown: the text that readers have of an earlier attempt which this one continues. Closing
        the generator closes the source and ends the check that runs.
        Raise UpstreamError when the guard ends the answer or fails, and when the source fails.
        """
        session = self._guard.open(
            GuardContext(
                user=context.user,
                generation=context.generation,
                attempt=context.attempt,
                chat=context.chat,
                metadata=context.metadata,
            )
        )
        return _GuardedStream(self, session, source, context, shown).run()


class _GuardedStream:
    """The parts of one attempt. It has two tasks: one reads the source, one waits for the guard."""

    def __init__(
        self,
        guard: TextGuard,
        session: GuardSession,
        source: AsyncGenerator[Sequence[StreamOutput], None],
        context: GenerationContext,
        shown: str,
    ) -> None:
        options = guard.options
        self._guard = guard
        self._session = session
        self._source = source
        self._context = context
        self._parts = GuardedParts(
            options.checks,
            hold_back=options.hold_back_characters,
            check_every=options.check_every_characters,
            shown=shown,
        )
        self._changed = asyncio.Event()
        self._may_read = asyncio.Event()
        self._failure: UpstreamError | None = None  # of the source, or the end by the guard
        self._bug: BaseException | None = None  # with which a task has ended
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> AsyncGenerator[Sequence[StreamOutput], None]:
        """Yield the parts. See TextGuard.stream."""
        try:
            self._start(self._read())
            while True:
                if self._bug is not None:
                    raise self._bug
                self._changed.clear()
                self._start_checks()
                parts, delay = self._parts.take(self._guard.clock.now())
                if delay is not None:
                    self._guard.observer.on_delay(delay)
                if parts:
                    yield parts
                elif not self._parts.is_complete:
                    await self._changed.wait()
                elif self._failure is not None:
                    raise self._failure
                else:
                    return
                # The consumer has carried out the commands of the parts that it got.
                if not self._parts.has_commands and not self._parts.is_full:
                    self._may_read.set()
        finally:
            self._session.close()
            await cancel_and_wait(self._tasks)
            await self._source.aclose()

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name=f"guard {self._context.generation}")
        self._tasks.add(task)
        task.add_done_callback(self._on_done)

    def _on_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            self._bug = task.exception() or self._bug
        self._changed.set()

    async def _read(self) -> None:
        """Read the source to its end, as long as there is room."""
        is_finished = False
        while not is_finished:
            try:
                parts = await read_parts(self._source, self._guard.upstream)
            except UpstreamError as error:
                if not self._parts.is_ended:
                    self._failure = error
                self._parts.finish()
                return
            self._parts.add(parts, self._guard.clock.now())
            self._start_checks()
            self._changed.set()
            is_finished = any(isinstance(part, Finished) for part in parts)
            if self._parts.has_commands or self._parts.is_full:
                self._may_read.clear()
                await self._may_read.wait()

    def _start_checks(self) -> None:
        """Check the next window, if there is one and no check runs.

        The consumer may wait for its next publish, so it is not what starts a check.
        """
        if (window := self._parts.next_window()) is not None:
            self._start(self._run_checks(window))

    async def _run_checks(self, window: TextWindow | None) -> None:
        """Check one window after the other, as long as there is one."""
        while window is not None:
            await self._check(window)
            self._changed.set()
            window = self._parts.next_window()

    async def _check(self, window: TextWindow) -> None:
        """Check a window, and apply the verdict."""
        clock, observer = self._guard.clock, self._guard.observer
        started_at = clock.now()
        try:
            verdict = await self._find_verdict(window)
        except GuardFailed as error:
            self._on_error(error)
            return
        except Exception as error:  # noqa: BLE001 - a bug in an adapter fails one answer
            self._on_error(GuardFailed(repr(error), traceback=traceback.format_exc()))
            return
        if verdict is None:
            self._parts.skip()
            return
        observer.on_check(type(verdict).__name__.lower(), clock.now() - started_at)
        if isinstance(verdict, End):
            fields = {"upstream": self._guard.upstream, "generation": self._context.generation}
            _log.info("guard.ended", code=verdict.code, **fields)
            self._failure = UpstreamError(verdict.code, verdict.message, retryable=False)
        self._parts.apply(verdict)

    async def _find_verdict(self, window: TextWindow) -> Verdict | None:
        """Ask the guard. Return None if the window passes because it is slow. Raise GuardFailed."""
        options = self._guard.options
        waits = options.on_slow == "wait"
        seconds = options.max_wait_seconds if waits else options.timeout_seconds
        loop = asyncio.get_running_loop()
        timer = loop.call_later(options.timeout_seconds, self._on_slow) if waits else None
        try:
            async with asyncio.timeout(seconds):
                return await self._session.check(window)
        except TimeoutError as error:
            if waits:
                raise GuardFailed(f"the guard did not answer within {seconds:g} seconds") from error
            self._on_slow()
            return None
        finally:
            if timer is not None:
                timer.cancel()

    def _on_slow(self) -> None:
        self._guard.observer.on_slow()
        _log.warning(
            "guard.slow",
            upstream=self._guard.upstream,
            generation=self._context.generation,
            seconds=self._guard.options.timeout_seconds,
        )

    def _on_error(self, error: GuardFailed) -> None:
        """End the answer, or let the window pass, because it cannot be checked."""
        self._guard.observer.on_error()
        _log.error(
            "guard.failed",
            upstream=self._guard.upstream,
            generation=self._context.generation,
            reason=str(error),
            **({"exception": error.traceback} if error.traceback else {}),
        )
        if self._guard.options.on_error == "pass":
            self._parts.skip()
            return
        message = "the answer could not be checked"
        self._failure = UpstreamError("guard_failed", message, retryable=True)
        self._parts.fail()
