"""Hold many event streams in several processes, and add up what their ledgers say."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Final

import msgspec

from bench.machine import ROOT, compile_program

MAX_STREAMS_PER_PROCESS: Final = 12_500
_STOP_TIMEOUT_SECONDS: Final = 5.0


class KindReport(msgspec.Struct, frozen=True):
    """What the receivers got of one kind of numbered events, as bench/c/receivers.c counts it.

    received: numbers that arrived for the first time. late: those of them that arrived after a
    higher number. unknown: numbers that were never published. last_event: the time of the newest
    first arrival, in ns of the monotonic clock. delays: pairs of milliseconds and how many events
    took so long. The last two begin anew with `Receivers.mark`.
    """

    received: int = 0
    duplicates: int = 0
    late: int = 0
    unknown: int = 0
    last_event: int = 0
    delays: tuple[tuple[int, int], ...] = ()

    def delay_ms(self, share: float) -> int:
        """Return the delay in ms that this share of the events does not exceed; 0 if none came."""
        total, seen = sum(count for _, count in self.delays), 0
        for ms, count in self.delays:
            seen += count
            if seen >= share * total:
                return ms
        return 0


class Report(msgspec.Struct):
    """The state of all receivers together.

    open: streams that are open now. opened: how often a stream was opened. breaks: how often an
    open stream broke. refused: responses other than 200. resets, byes: events of these names.
    done, failed, stopped: the first end of the answer of each user. ended_again: further ends.
    restarts: answers that another worker began anew, whose parts so far are void.
    last_open: the time of the newest opening, in ns.
    """

    open: int = 0
    opened: int = 0
    breaks: int = 0
    refused: int = 0
    resets: int = 0
    byes: int = 0
    heartbeats: int = 0
    last_open: int = 0
    done: int = 0
    failed: int = 0
    stopped: int = 0
    ended_again: int = 0
    restarts: int = 0
    broadcasts: KindReport = KindReport()
    parts: KindReport = KindReport()


def merge(reports: Sequence[Report]) -> Report:
    """Return the report of several processes together."""
    merged = Report(
        broadcasts=_merge_kinds([report.broadcasts for report in reports]),
        parts=_merge_kinds([report.parts for report in reports]),
        last_open=max(report.last_open for report in reports),
    )
    for name in Report.__struct_fields__:
        if name not in ("broadcasts", "parts", "last_open"):
            setattr(merged, name, sum(getattr(report, name) for report in reports))
    return merged


def _merge_kinds(kinds: Sequence[KindReport]) -> KindReport:
    delays: dict[int, int] = {}
    for kind in kinds:
        for ms, count in kind.delays:
            delays[ms] = delays.get(ms, 0) + count
    return KindReport(
        received=sum(kind.received for kind in kinds),
        duplicates=sum(kind.duplicates for kind in kinds),
        late=sum(kind.late for kind in kinds),
        unknown=sum(kind.unknown for kind in kinds),
        last_event=max(kind.last_event for kind in kinds),
        delays=tuple(sorted(delays.items())),
    )


class Receivers:
    """The processes that hold the streams of the users u0, u1, …, one stream for each user."""

    def __init__(self, processes: Sequence[subprocess.Popen[bytes]]) -> None:
        self._processes = processes

    @property
    def pids(self) -> list[int]:
        """The ids of the processes."""
        return [process.pid for process in self._processes]

    def mark(self) -> None:
        """Begin a new measurement of delays and last events."""
        self._send(b"mark\n")

    def report(self) -> Report:
        """Return the state of all receivers. Raise RuntimeError if a process has exited."""
        self._send(b"report\n")
        reports = []
        for process in self._processes:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                raise RuntimeError("a process of the receivers has exited")
            reports.append(msgspec.json.decode(line, type=Report))
        return merge(reports)

    def wait_until(
        self, condition: Callable[[Report], bool], what: str, timeout_seconds: float
    ) -> Report:
        """Wait until the condition holds; return that report. Raise TimeoutError."""
        deadline = time.monotonic() + timeout_seconds
        while True:
            report = self.report()
            if condition(report):
                return report
            if time.monotonic() > deadline:
                state = msgspec.structs.replace(
                    report, broadcasts=KindReport(report.broadcasts.received),
                    parts=KindReport(report.parts.received),
                )  # fmt: skip
                raise TimeoutError(f"not after {timeout_seconds:.0f} s: {what}; {state}")
            time.sleep(0.1)

    def _send(self, command: bytes) -> None:
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write(command)
            process.stdin.flush()


@contextmanager
def hold_streams(port: int, streams: int) -> Iterator[Receivers]:
    """Hold this number of streams during the block; they open from the start of the block on.

    Each process has a source address of its own in 127.1.0.0/16, because one address has too few
    ports for all streams.
    """
    program = compile_program("receivers")
    with ExitStack() as stack:
        processes = []
        for number, first in enumerate(range(0, streams, MAX_STREAMS_PER_PROCESS)):
            size = min(MAX_STREAMS_PER_PROCESS, streams - first)
            options = (
                "-p", str(port), "-n", str(size), "-f", str(first),
                "-s", f"127.1.{number // 250}.{number % 250 + 1}",
            )  # fmt: skip
            process = subprocess.Popen(
                [program, *options], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
            stack.callback(_stop, process)
            processes.append(process)
        yield Receivers(processes)


def _stop(process: subprocess.Popen[bytes]) -> None:
    for file in (process.stdin, process.stdout):
        assert file is not None
        file.close()  # the program ends with its standard input
    try:
        process.wait(_STOP_TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
