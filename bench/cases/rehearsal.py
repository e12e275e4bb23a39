"""The rehearsal of a large deployment: 100,000 streams, a killed node, and slots that move."""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from statistics import median
from typing import Final

import msgspec

from bench.deployment import Deployment, Use, run_deployment, wait_for_nodes
from bench.ledger import Ledger
from bench.limits import Machine, find_shortage
from bench.load import Row
from bench.receivers import MAX_STREAMS_PER_PROCESS, Receivers, Report, hold_streams

CONNECTIONS: Final = 100_000
_IDLE_SECONDS: Final = 20.0
_QUIET_SECONDS: Final = 10.0
_QUIET_BROADCASTS: Final = 5
_PARTITIONS_TO_MOVE: Final = 16
_STEP_TIMEOUT_SECONDS: Final = 600.0
_MAX_SECONDS: Final = 2400.0  # for all steps together; the ledger is closed in any case
_MAX_LEDGER_SECONDS: Final = 180.0
_PROGRESS_SECONDS: Final = 10.0
_STARTERS: Final = 16  # answers that are requested at the same time


class Plan(msgspec.Struct, frozen=True):
    """The size of a rehearsal. Every other number follows from the number of connections.

    answers: how many users read an answer at the same time. parts: the numbered parts of each.
    """

    connections: int = CONNECTIONS
    nodes: int = 8
    workers: int = 2
    parts_per_second: float = 1.0

    @property
    def parts(self) -> int:
        """A minute and a half of parts, and three minutes of them with 100,000 connections.

        The answers should stream until the last fault is over, and a full machine needs longer.
        """
        return 90 + self.connections // 1000

    @property
    def answers(self) -> int:
        """One user of 20 reads an answer: 5,000 of 100,000."""
        return max(1, self.connections // 20)

    def answering_users(self) -> Iterable[int]:
        """Return the users who ask, spread over all receivers."""
        return range(0, self.answers * 20, 20) if self.answers > 1 else range(1)


def rehearse(connections: int | None) -> Callable[[], list[Row]]:
    """Build the benchmark for this number of connections (None: 100,000)."""
    plan = Plan(connections or CONNECTIONS)

    def rehearsal() -> list[Row]:
        """A deployment with as many connections as one machine holds, a killed node, a ledger."""
        shortage = find_shortage(
            Machine.read(),
            streams=plan.connections,
            nodes=plan.nodes,
            streams_per_receiver=MAX_STREAMS_PER_PROCESS,
        )
        if shortage is not None:
            sys.exit(shortage)
        _print_progress(f"starting {plan.nodes} nodes, {plan.workers} workers and a Cluster")
        with run_deployment(
            nodes=plan.nodes,
            workers=plan.workers,
            answers=plan.answers,
            parts_per_second=plan.parts_per_second,
            parts=plan.parts,
        ) as deployment:
            empty_kb, before = deployment.node_kb(), deployment.use()
            started_ns = time.monotonic_ns()
            with hold_streams(deployment.port, plan.connections) as receivers:
                return list(
                    Rehearsal(plan, deployment, receivers).run(empty_kb, before, started_ns)
                )

    return rehearsal


class Rehearsal:
    """The steps, each of which yields its rows."""

    def __init__(self, plan: Plan, deployment: Deployment, receivers: Receivers) -> None:
        self._plan = plan
        self._deployment = deployment
        self._receivers = receivers
        self._broadcasts = 0
        self._requested: list[int] = []  # the users whose answers were requested
        self._deadline = time.monotonic() + _MAX_SECONDS

    def run(self, empty_kb: int, before: Use, started_ns: int) -> Iterator[Row]:
        """Run all steps, and close the ledger also if one of them fails."""
        failed = 0
        try:
            yield from self._open(empty_kb, before, started_ns)
            yield from self._stay_idle()
            yield from self._broadcast_quietly()
            yield from self._stream_answers()
        except Exception as error:  # noqa: BLE001 - what was delivered so far is the point
            failed = 1
            traceback.print_exc()
            _print_progress(f"a step has failed, and the ledger is closed now: {error}")
        yield {**_row("ledger", "steps that failed", failed), "must be": 0}
        yield from ledger_rows(self._close_ledger())

    def _open(self, empty_kb: int, before: Use, started_ns: int) -> Iterator[Row]:
        plan = self._plan
        report = self._wait(lambda r: r.open == plan.connections, "all streams are open")
        used = self._deployment.use().since(before)
        grown_kb = self._deployment.node_kb() - empty_kb
        _print_progress(f"{report.open:,} streams are open")
        yield _row("open", "connections", report.open)
        yield _row("open", "node processes", plan.nodes)
        yield _row("open", "seconds until all are open", (report.last_open - started_ns) / 1e9)
        yield _row("open", "µs of node CPU per stream", used.nodes / report.opened * 1e6)
        yield _row("open", "kB of node memory per stream", grown_kb / report.open)
        yield _row("open", "MB of memory of all nodes", self._deployment.node_kb() / 1024)
        yield _row("open", "MB of memory of the shards", self._deployment.shard_kb() / 1024)

    def _stay_idle(self) -> Iterator[Row]:
        before = self._deployment.use()
        time.sleep(_IDLE_SECONDS)
        used = self._deployment.use().since(before)
        per_second = used.nodes / _IDLE_SECONDS
        yield _row("idle", "% of a core, all nodes", per_second * 100)
        yield _row("idle", "% of a core per 15,000", per_second * 1.5e6 / self._plan.connections)

    def _broadcast_quietly(self) -> Iterator[Row]:
        results = [self._broadcast() for _ in range(_QUIET_BROADCASTS)]
        _print_progress(f"{_QUIET_BROADCASTS} events reached all streams")
        yield from self._broadcast_rows("broadcast", results)

    def _stream_answers(self) -> Iterator[Row]:
        plan, deployment = self._plan, self._deployment
        before, at = deployment.use(), time.monotonic()
        with ThreadPoolExecutor(_STARTERS) as starters:
            list(starters.map(self._start_answer, plan.answering_users()))
        _print_progress(f"{plan.answers:,} answers have started")
        yield _row("answers", "answers at once", plan.answers)
        yield _row("answers", "seconds until all were started", time.monotonic() - at)
        yield from self._measure_parts()
        beside = [self._broadcast()]
        yield from self._kill_node()
        yield from self._move_slots()
        beside.append(self._broadcast())
        yield from self._broadcast_rows("broadcast beside answers", beside)
        still = plan.answers - self._receivers.report().done
        yield _row("answers", "answers that streamed through all faults", still)
        report = self._wait(
            lambda r: r.done + r.failed + r.stopped >= plan.answers, "all answers have ended"
        )
        used, parts = deployment.use().since(before), plan.answers * plan.parts
        yield _row("answers", "µs of worker CPU per part", used.workers / parts * 1e6)
        yield _row("answers", "p99 ms, faults included", report.parts.delay_ms(0.99))
        yield _row("answers", "slowest ms, faults included", report.parts.delay_ms(1))

    def _measure_parts(self) -> Iterator[Row]:
        """Measure for some seconds without a fault and without events to all."""
        self._receivers.mark()
        before, first, at = self._deployment.use(), self._receivers.report(), time.monotonic()
        time.sleep(_QUIET_SECONDS)
        report, used = self._receivers.report(), self._deployment.use().since(before)
        seconds, parts = time.monotonic() - at, report.parts.received - first.parts.received
        yield _row("answers", "parts/s", parts / seconds)
        yield _row("answers", "% of a core, nodes", used.nodes / seconds * 100)
        yield _row("answers", "% of a core, workers", used.workers / seconds * 100)
        yield _row("answers", "% of a core, shards", used.shards / seconds * 100)
        yield _row("answers", "p50 ms", report.parts.delay_ms(0.5))
        yield _row("answers", "p99 ms", report.parts.delay_ms(0.99))

    @property
    def _answers(self) -> int:
        return len(self._requested)

    def _start_answer(self, user: int) -> None:
        self._deployment.start_answer(user)
        self._requested.append(user)

    def _kill_node(self) -> Iterator[Row]:
        plan, deployment = self._plan, self._deployment
        before = self._receivers.report()
        at_ns = time.monotonic_ns()
        deployment.kill_node()
        used = deployment.use()
        self._wait(lambda r: r.breaks > before.breaks, "streams of the killed node break")
        report = self._wait(lambda r: r.open == plan.connections, "all streams are open again")
        broken, used = report.breaks - before.breaks, deployment.use().since(used)
        _print_progress(f"{broken:,} streams of a killed node are back")
        yield _row("node killed", "streams that returned", broken)
        yield _row("node killed", "seconds until all were back", (report.last_open - at_ns) / 1e9)
        yield _row("node killed", "s of CPU of the other nodes", used.nodes)
        wait_for_nodes(deployment, plan.nodes)

    def _move_slots(self) -> Iterator[Row]:
        at = time.monotonic()
        keys = self._deployment.move_slots(_PARTITIONS_TO_MOVE)
        yield _row("resharding", "slots moved", _PARTITIONS_TO_MOVE)
        yield _row("resharding", "keys moved", keys)
        yield _row("resharding", "seconds", time.monotonic() - at)
        _print_progress(f"{_PARTITIONS_TO_MOVE} slots with {keys:,} keys have moved")

    def _broadcast(self) -> _Broadcast:
        """Publish an event to all, and wait until all have it."""
        before = self._deployment.use()
        published_ns = time.monotonic_ns()
        self._deployment.broadcast(self._broadcasts)
        self._broadcasts += 1
        expected = self._broadcasts * self._plan.connections
        report = self._wait(
            lambda r: r.broadcasts.received >= expected, f"event {self._broadcasts} reaches all"
        )
        used = self._deployment.use().since(before)
        return _Broadcast(
            seconds=(report.broadcasts.last_event - published_ns) / 1e9,
            node_us_per_delivery=used.nodes / self._plan.connections * 1e6,
        )

    @staticmethod
    def _broadcast_rows(step: str, results: list[_Broadcast]) -> Iterator[Row]:
        yield _row(step, "events to all", len(results))
        yield _row(step, "seconds until all have one", median(r.seconds for r in results))
        yield _row(
            step, "µs of node CPU per delivery", median(r.node_us_per_delivery for r in results)
        )

    def _close_ledger(self) -> Ledger:
        plan, answers = self._plan, self._answers
        self._deadline = time.monotonic() + _MAX_LEDGER_SECONDS
        with suppress(TimeoutError, RuntimeError):
            self._wait(
                lambda r: (
                    r.done + r.failed + r.stopped >= answers
                    and r.parts.received >= answers * plan.parts
                    and r.broadcasts.received >= self._broadcasts * plan.connections
                ),
                "everything that was published has arrived",
            )
        time.sleep(1)  # what arrives twice arrives after the first one
        return Ledger.close(
            self._receivers.report(),
            broadcasts=self._broadcasts,
            streams=plan.connections,
            answers=answers,
            parts_per_answer=plan.parts,
        )

    def _wait(
        self,
        condition: Callable[[Report], bool],
        what: str,
        timeout_seconds: float = _STEP_TIMEOUT_SECONDS,
    ) -> Report:
        """Wait until the condition holds, with a line of progress every ten seconds."""
        plan, printed_at = self._plan, time.monotonic()

        def check(report: Report) -> bool:
            nonlocal printed_at
            self._deployment.check_running()
            if time.monotonic() - printed_at > _PROGRESS_SECONDS:
                printed_at = time.monotonic()
                _print_progress(
                    f"waiting until {what}: {report.open:,} of {plan.connections:,} streams open, "
                    f"{report.broadcasts.received:,} of {self._broadcasts * plan.connections:,} "
                    f"events to all, {report.parts.received:,} of "
                    f"{self._answers * plan.parts:,} parts, {report.done:,} of "
                    f"{self._answers:,} answers done"
                )
            return condition(report)

        seconds = min(timeout_seconds, self._deadline - time.monotonic())
        return self._receivers.wait_until(check, what, seconds)


class _Broadcast(msgspec.Struct, frozen=True):
    """seconds: from the publish until the last stream has the event."""

    seconds: float
    node_us_per_delivery: float


def ledger_rows(ledger: Ledger) -> Iterator[Row]:
    """Return the rows of the ledger: what was published and delivered, and what must be 0."""
    yield _row("ledger", "events to all published", ledger.broadcasts.published)
    yield _row("ledger", "deliveries of them", ledger.broadcasts.delivered)
    yield _row("ledger", "parts of answers", ledger.parts.published)
    yield _row("ledger", "deliveries of parts", ledger.parts.delivered)
    yield _row("ledger", "answers that began anew", ledger.restarts)
    for figure, count in ledger.violations().items():
        yield {**_row("ledger", figure, count), "must be": 0}


def _row(step: str, figure: str, value: float) -> Row:
    return {"step": step, "figure": figure, "value": value, "must be": ""}


def _print_progress(progress: str) -> None:
    print(f"{time.strftime('%T')} rehearsal: {progress}", file=sys.stderr, flush=True)
