"""The ledger of the rehearsal detects every violation, and its report says what must be 0."""

from __future__ import annotations

import asyncio
import shutil
import time
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest

from bench import machine
from bench.cases import rehearsal
from bench.cases.rehearsal import Plan, ledger_rows
from bench.deployment import Deployment, Use
from bench.ledger import Account, Ledger, find_failures
from bench.limits import Machine, find_shortage
from bench.receivers import KindReport, Receivers, Report, hold_streams, merge
from tests.conftest import missing

HEADERS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
HEARTBEAT = b"5\r\n: hb\n\r\n"
PROMISE_KEPT = Report(
    open=100,
    done=5,
    broadcasts=KindReport(received=300),
    parts=KindReport(received=50),
)


def close(**changed: object) -> Ledger:
    """Close the ledger of 100 streams, 3 events to all and 5 answers of 10 parts."""
    report = msgspec.structs.replace(PROMISE_KEPT, **changed)
    return Ledger.close(report, broadcasts=3, streams=100, answers=5, parts_per_answer=10)


def test_promise_kept() -> None:
    """If everything arrived once and in order, the report has no failure and all totals."""
    rows = list(ledger_rows(close()))
    assert find_failures(rows) == []
    values = {row["figure"]: row["value"] for row in rows}
    assert values["deliveries of them"] == 300
    assert values["parts of answers"] == values["deliveries of parts"] == 50


@pytest.mark.parametrize(
    ("changed", "failure"),
    [
        ({"broadcasts": KindReport(received=299)}, "events lost: 1, must be 0"),
        ({"parts": KindReport(received=48)}, "events lost: 2, must be 0"),
        (
            {"parts": KindReport(received=50, duplicates=3)},
            "events delivered twice: 3, must be 0",
        ),
        ({"broadcasts": KindReport(received=300, late=4)}, "events out of order: 4, must be 0"),
        (
            {"parts": KindReport(received=50, unknown=1)},
            "events that were never published: 1, must be 0",
        ),
        ({"done": 4}, "answers that are not done: 1, must be 0"),
        ({"failed": 1}, "answers that failed or were stopped: 1, must be 0"),
        ({"ended_again": 1}, "answers that ended again: 1, must be 0"),
        ({"resets": 2}, "cursors reset: 2, must be 0"),
    ],
)
def test_promise_broken(changed: dict[str, object], failure: str) -> None:
    """Each kind of violation is a failure of its own."""
    assert find_failures(list(ledger_rows(close(**changed)))) == [failure]


def test_a_failed_step_is_reported_with_the_ledger(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """If streams do not open, the ledger of what was delivered so far is closed and reported."""
    monkeypatch.setattr(rehearsal, "_MAX_SECONDS", 0.0)
    monkeypatch.setattr(rehearsal, "_PROGRESS_SECONDS", -1.0)
    run = rehearsal.Rehearsal(Plan(100), StubDeployment(), StubReceivers())
    rows = list(run.run(0, Use(0, 0, 0), 0))
    assert find_failures(rows) == ["steps that failed: 1, must be 0", "cursors reset: 3, must be 0"]
    printed = capsys.readouterr().err
    assert "99 of 100 streams open" in printed
    assert "a step has failed" in printed


class StubDeployment(Deployment):
    """A deployment whose processes run, whatever happens."""

    def __init__(self) -> None:
        """Start nothing."""

    def check_running(self) -> None:
        """Find nothing wrong."""


class StubReceivers(Receivers):
    """Receivers of which one cannot open its stream."""

    def __init__(self) -> None:
        """Start nothing."""

    def report(self) -> Report:
        """Return the same report each time."""
        return Report(open=99, resets=3)


def test_losses_and_surplus_do_not_cancel() -> None:
    """An event to all that is missing is a loss, also if a part too many arrived."""
    ledger = close(broadcasts=KindReport(received=299), parts=KindReport(received=51))
    assert ledger.violations()["events lost"] == 2
    assert Account.of(KindReport(received=7), published=4, receivers_per_event=2).lost == 1


def test_reports_of_processes_add_up() -> None:
    """Counts are added, delays are merged, and the newest times are kept."""
    reports = [
        Report(open=1, breaks=2, last_open=7, parts=KindReport(9, 1, delays=((1, 3), (5, 1)))),
        Report(open=2, breaks=1, last_open=4, parts=KindReport(1, 0, delays=((1, 1), (9, 1)))),
    ]
    merged = merge(reports)
    assert (merged.open, merged.breaks, merged.last_open) == (3, 3, 7)
    assert merged.parts.delays == ((1, 4), (5, 1), (9, 1))
    assert [merged.parts.delay_ms(share) for share in (0.5, 0.8, 1)] == [1, 5, 9]
    assert merged.broadcasts.delay_ms(0.5) == 0


def test_size_follows_from_the_connections() -> None:
    """One user of twenty reads an answer; the users are spread over all receivers."""
    assert Plan(100_000).answers == 5000
    assert Plan(100_000).parts > 2 * Plan(2000).parts > 180
    assert [*Plan(100).answering_users()] == [0, 20, 40, 60, 80]
    assert [*Plan(10).answering_users()] == [0]


@pytest.mark.parametrize(
    ("limit", "sentence"),
    [
        ({}, None),
        ({"open_files": 1024}, "16,015 open files per process, and the hard limit (ulimit -Hn)"),
        ({"all_open_files": 150_000}, "216,015 open files in all, and the limit (fs.file-max)"),
        ({"local_ports": 10_000}, "12,500 local ports per address"),
        ({"available_kb": 3_000_000}, "about 5.2 GiB of memory, and 2.9 GiB are available"),
    ],
)
def test_shortage(limit: dict[str, int], sentence: str | None) -> None:
    """One sentence says what the machine lacks and how to go on."""
    large = Machine(
        open_files=20_000, all_open_files=2_000_000, local_ports=28_000, available_kb=20_000_000
    )
    shortage = find_shortage(
        msgspec.structs.replace(large, **limit),
        streams=100_000,
        nodes=8,
        streams_per_receiver=12_500,
    )
    if sentence is None:
        assert shortage is None
    else:
        assert shortage is not None
        assert sentence in shortage
        assert "--connections" in shortage


async def test_receivers_keep_the_ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A receiver continues with the last complete event, and counts what is twice, late or ended.

    The second answer of this server repeats an event, fills a gap and ends an answer twice. Between
    the two ends it begins the answer anew, so that the parts so far are void.
    """
    if shutil.which("cc") is None:
        missing("cc")
    monkeypatch.setattr(machine, "OUTPUT", tmp_path)
    requests = []
    finished = asyncio.Queue[int]()

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests.append((await reader.readuntil(b"\r\n\r\n")).decode())
        if len(requests) == 1:
            cut = event("p2", "N=3").partition(b"id:")[0]  # its blank line never arrives
            body = event("p0", "B=0") + event("p1", "N=0", "N=2") + HEARTBEAT + cut
        else:
            body = event("p2", "N=2", "N=1", "N=3") + event("p3", "N=9999")
            body += event("p4", name="generation.done")
            body += event("p5", name="generation.restarted") + event("p6", "N=0", "N=1")
            body += event("p7", name="generation.done")
        writer.write(HEADERS + body)
        if len(requests) > 1:
            with suppress(ConnectionError):
                await reader.read()  # until the receiver closes the connection
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
        finished.put_nowait(len(requests))

    async with await asyncio.start_server(respond, "127.0.0.1", 0) as server:
        with hold_streams(server.sockets[0].getsockname()[1], 1) as receivers:
            report = await asyncio.to_thread(wait_for_both_ends, receivers)
        for _ in range(2):
            await finished.get()  # no connection outlives the test
    assert "GET /sse/connect/u0 " in requests[0]
    assert "Last-Event-ID" not in requests[0]
    assert "Last-Event-ID: p1\r\n" in requests[1]
    assert (report.opened, report.breaks, report.heartbeats) == (2, 1, 1)
    assert report.broadcasts.received == 1
    parts = report.parts
    assert (parts.received, parts.duplicates, parts.late, parts.unknown) == (2, 1, 1, 1)
    assert (report.done, report.ended_again, report.restarts) == (1, 1, 1)


def wait_for_both_ends(receivers: Receivers) -> Report:
    """Wait until the receiver has seen two ends of its answer."""
    return receivers.wait_until(lambda report: report.ended_again == 1, "two ends", 60)


def event(cursor: str, *numbers: str, name: str = "notification") -> bytes:
    """Return an event with these stamps, as a chunk of HTTP has it."""
    stamps = "".join(f"T={time.monotonic_ns()};{number};" for number in numbers)
    frame = f'event: {name}\ndata: "{stamps}"\nid: {cursor}\n\n'.encode()
    return b"%x\r\n%b\r\n" % (len(frame), frame)
