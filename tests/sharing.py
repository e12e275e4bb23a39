"""How the whole run is shared between processes of pytest-xdist, which tests have the machine to
themselves, and that nothing runs on when it ends.
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
_MOST_PROCESSES: Final = 8  # a machine of many cores waits for the longest tests, not for processes


def processes(config: pytest.Config) -> int:
    """How many processes `-n auto` means: none for a selection of tests or a terminal's run.

    Most tests wait for others most of their time, so there are two for each core.
    """
    chosen = config.args_source is not pytest.Config.ArgsSource.TESTPATHS
    option = config.option
    if chosen or option.keyword or option.markexpr or option.lf or option.capture == "no":
        return 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(2 * (cores or 1), _MOST_PROCESSES)


def together(items: Sequence[pytest.Item]) -> None:
    """Groups for xdist's loadgroup: the clients of tests/interop meet one hub, as do the documents
    that need one; what runs whole hubs is grouped by its file, and so is what is made once for a
    file. All others go to whichever process is free.
    """
    for item in items:
        if group := _group_of(item):
            item.add_marker(pytest.mark.xdist_group(group))


def _group_of(item: pytest.Item) -> str | None:
    folder, file = item.path.parent.name, item.path.stem
    if item.get_closest_marker("alone") is not None:
        return "alone"  # one after the other, when the others have ended
    if folder == "docs":
        return folder if "site" in getattr(item, "fixturenames", ()) else f"docs-{file}"
    if folder in ("interop", "packaging"):
        return folder
    return file if folder in ("e2e", "client", "examples") else None


def begins(item: pytest.Item) -> int:
    """Its place in the run: what takes long begins first, so that no process is left with it at the
    end; then groups, the longest first; then what any process can take. Nobody waits for those
    that run alone, nor they for a long test, when they come last.
    """
    group = item.get_closest_marker("xdist_group")
    if item.get_closest_marker("alone") is not None:
        return 4
    if item.get_closest_marker("slow") is not None:
        return 0
    if group is None:
        return 3
    return 1 if group.args[0] in ("docs", "interop", "packaging") else 2


class Turns:
    """Lets tests run beside each other, and those marked `alone` beside none.

    Two locks of the file system, so that all processes of the run see them: who begins holds the
    first until it has the second. A test that is to be alone thus waits for those that run, and
    those that come later wait for it.
    """

    def __init__(self, config: pytest.Config) -> None:
        folder = config.rootpath / ".cache" / "turns"
        folder.mkdir(parents=True, exist_ok=True)
        self._next = (folder / "next").open("wb")
        self._room = (folder / "room").open("wb")

    @pytest.hookimpl(wrapper=True, tryfirst=True)  # outside of the test's time limit
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """Waits for the test's turn."""
        alone = item.get_closest_marker("alone") is not None
        fcntl.flock(self._next, fcntl.LOCK_EX)
        fcntl.flock(self._room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(self._next, fcntl.LOCK_UN)
        try:
            return (yield)
        finally:
            fcntl.flock(self._room, fcntl.LOCK_UN)

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """In the order of `begins`."""
        items.sort(key=begins)

    def pytest_unconfigure(self) -> None:
        """Closes the files."""
        self._next.close()
        self._room.close()


class Orphans:
    """Ends what a process of the run has left, which Ctrl-C may end before its fixtures have.

    On Linux whoever loses its parent below this process becomes its child.
    """

    def __init__(self) -> None:
        self._here = Path(f"/proc/self/task/{os.getpid()}/children")
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)

    @pytest.hookimpl(trylast=True)
    def pytest_unconfigure(self) -> None:
        """Kills children until there are none; those of whom was killed come next."""
        while self._here.exists() and (children := self._here.read_text().split()):
            for child in map(int, children):
                with suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
                with suppress(ChildProcessError):
                    os.waitpid(child, 0)
