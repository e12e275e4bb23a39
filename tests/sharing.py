"""Distribute the tests over processes of pytest-xdist, and run some tests alone.

At the end of the run, no process that a test started stays behind.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import sys
from collections.abc import Generator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import pytest

_PR_SET_CHILD_SUBREAPER: Final = 36  # linux/prctl.h
_MAX_PROCESSES: Final = 8  # with more, the run time depends on the longest tests only
_GROUPED: Final = ("docs", "examples", "interop", "packaging")  # all tests of these folders


def count_processes(config: pytest.Config) -> int:
    """Return the number of processes of `-n auto`: 0 for a selection of tests or with `-s`.

    Many tests wait for other processes, so there are two processes per core and one more: with four
    on two cores, a tenth of the CPU time was idle. Those of --quick wait less, and each process
    imports all tests, so there are two more than cores.
    """
    is_selection = config.args_source is not pytest.Config.ArgsSource.TESTPATHS
    option = config.option
    if is_selection or option.keyword or option.markexpr or option.lf or option.capture == "no":
        return 0
    if option.write_costs:  # a process knows only what its own tests cost
        return 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    cores = cores or 1
    return min(cores + 2 if option.quick else 2 * cores + 1, _MAX_PROCESSES)


def group_tests(items: Sequence[pytest.Item]) -> None:
    """Assign the tests to the groups of xdist's loadgroup mode; a group runs in one process.

    The clients of tests/interop share two hubs; two large files are groups of their own. The
    documents that need a hub share one, and two files share the site that they build. Tests with
    the SDKs of OpenAI and Anthropic are a group, because their imports are costly; those with agent
    frameworks belong to the examples. Tests that share a `hub dev`, a browser, or a cluster in
    their event loop, form a group per file. All other tests go to any free process, also those that
    start a hub of their own.

    Raise UsageError for an id with the address of an object, which differs in each process.
    """
    for item in items:
        if " at 0x" in item.nodeid:
            raise pytest.UsageError(f"each process has another id for {item.nodeid}: set `ids`")
        if group := _group_of(item):
            item.add_marker(pytest.mark.xdist_group(group))


def check_groups(ids: Sequence[str]) -> None:
    """Raise UsageError if the processes of xdist ignore the groups of `group_tests`.

    ids: the ids of all tests, as a process of xdist reports them. xdist appends the group to the
    id. pytest 9.2 does not let xdist 3.8 do so; the tests of a group then run in any process.
    """
    for test_id in ids:
        if Path(test_id.partition("::")[0]).parent.name in _GROUPED and "@" not in test_id:
            raise pytest.UsageError(
                f"pytest-xdist ignores the groups of tests with pytest {pytest.__version__}"
                f" (no group in {test_id}); install the versions of uv.lock"
            )


def _group_of(item: pytest.Item) -> str | None:
    folder, file = item.path.parent.name, item.path.stem
    if item.get_closest_marker("alone") is not None:
        return "alone"  # one after another, after all other tests
    fixtures = getattr(item, "fixturenames", ())
    if folder == "docs":
        if "site" in fixtures:
            return folder
        return "docs-site" if file in ("test_search", "test_site") else f"docs-{file}"
    if folder in ("examples", "interop", "packaging"):
        return f"{folder}-{file}" if file in ("test_contract", "test_turns") else folder
    if hasattr(getattr(item, "module", None), "sdks"):  # the file imports tests/sdks.py
        return "sdks"
    if hasattr(getattr(item, "module", None), "frameworks"):  # of tests/producer
        return "examples"  # whose functions import them as well
    asyncio_mark = item.get_closest_marker("asyncio")
    shares_loop = asyncio_mark is not None and "loop_scope" in asyncio_mark.kwargs
    if "postgres" in fixtures:
        return "postgres"  # they share a server
    return file if shares_loop or "dev" in fixtures else None


def order(item: pytest.Item) -> int:
    """Return the sort key of a test: slow tests, large groups, other groups, single tests, `alone`.

    Slow tests start first, so that no process still runs one when the others have finished. Tests
    that run alone come last, so that no other test waits for them.
    """
    group = item.get_closest_marker("xdist_group")
    if item.get_closest_marker("alone") is not None:
        return 4
    if item.get_closest_marker("slow") is not None:
        return 0
    if group is None:
        return 3
    return 1 if group.args[0].partition("-")[0] in ("docs", "interop", "packaging") else 2


class AloneLock:
    """Run tests in parallel, but a test with the marker `alone` without any other test.

    There are two file locks, which all processes of the run share. Each test holds the first lock
    until it has acquired the second one: exclusively if it runs alone, otherwise shared. A test
    that runs alone thus waits for the running tests, and later tests wait for it.
    """

    def __init__(self, config: pytest.Config) -> None:
        folder = config.rootpath / ".cache" / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        self._next = (folder / "next").open("wb")
        self._running = (folder / "running").open("wb")

    @pytest.hookimpl(wrapper=True, tryfirst=True)  # outside the timeout of the test
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """Acquire the lock, run the test, and release the lock."""
        alone = item.get_closest_marker("alone") is not None
        fcntl.flock(self._next, fcntl.LOCK_EX)
        fcntl.flock(self._running, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(self._next, fcntl.LOCK_UN)
        try:
            return (yield)
        finally:
            fcntl.flock(self._running, fcntl.LOCK_UN)

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Sort the tests by `order`."""
        items.sort(key=order)

    def pytest_unconfigure(self) -> None:
        """Close the lock files."""
        self._next.close()
        self._running.close()


class OrphanReaper:
    """End processes that the tests left behind, for example after Ctrl-C.

    On Linux, a process below this one that loses its parent becomes a child of this process.
    """

    def __init__(self) -> None:
        self._children_file = Path(f"/proc/self/task/{os.getpid()}/children")
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)

    @pytest.hookimpl(trylast=True)
    def pytest_unconfigure(self) -> None:
        """Kill children until none is left; the children of a killed process become ours."""
        while self._children_file.exists() and (
            children := self._children_file.read_text().split()
        ):
            for child in map(int, children):
                with suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
                with suppress(ChildProcessError):
                    os.waitpid(child, 0)
