"""`scripts/test --quick`: the tests that need no browser, no Java, no npm and no whole hub.

Tests with the marks `slow` and `alone` are left out as well, and what repeats a behaviour at a
price: Redis beside Valkey, a Cluster and Sentinels beside one server, the loop of asyncio beside
uvloop (tests/conftest.py). The libraries that take seconds to import are not imported.

A few hundred functions take more CPU time than all others together. `costly.txt` lists them, and
--quick leaves them out. `scripts/test --quick --write-costs` measures them and writes the list.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Generator
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest

_TESTS: Final = Path(__file__).parent
COSTLY: Final = _TESTS / "costly.txt"
_COSTLY_SECONDS: Final = 0.1  # of CPU time
_LEFT_OUT_FOLDERS: Final = frozenset({"deploy", "e2e", "examples", "interop", "packaging", "pages"})
_LEFT_OUT_FILES: Final = frozenset(
    {
        # Several servers.
        *("backends/test_cluster_contracts.py", "backends/test_topologies.py"),
        *("backends/test_wait_replicas.py", "test_promise.py"),
        # Agent frameworks, whose imports take longer than the tests.
        *("producer/test_langgraph.py", "producer/test_pydantic_ai.py"),
        # A process for each case, or thousands of requests.
        *("cli/test_cli.py", "tracing/test_export.py"),
        *("security/test_header_bytes.py", "security/test_numbers.py"),
    }
)
_LEFT_OUT_FIXTURES: Final = frozenset(
    {
        *("browser", "chromium", "dev", "postgres", "redis_server", "shared_cluster"),
        *("site", "site_folder"),
    }
)
_LEFT_OUT_MARKS: Final = ("alone", "slow")


class QuickSelection:
    """Leave out what is not quick, whatever else is selected.

    costly: the names of the functions that cost too much.
    """

    def __init__(self, costly: frozenset[str]) -> None:
        self._costly = costly

    def pytest_ignore_collect(self, collection_path: Path) -> bool | None:
        """Do not even import the tests of the folders and files that are left out."""
        return True if _is_left_out(collection_path) else None

    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Item]
    ) -> None:
        """Deselect the tests that are left out."""
        kept: list[pytest.Item] = []
        left_out: list[pytest.Item] = []
        for item in items:
            is_kept = is_quick(item) and function_name(item) not in self._costly
            (kept if is_kept else left_out).append(item)
        config.hook.pytest_deselected(items=left_out)
        items[:] = kept


class CostWriter:
    """Measure the CPU time of the tests, and write the list of the costly ones.

    It is the time of this process and of its child processes that have ended. What the other
    processes of a session take, such as Valkey, is not a part of it.
    """

    def __init__(self) -> None:
        self._costly: set[str] = set()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """Run the test, and compare what it took with the limit."""
        before = sum(os.times()[:4])
        try:
            return (yield)
        finally:
            if sum(os.times()[:4]) - before > _COSTLY_SECONDS:
                self._costly.add(function_name(item))

    def pytest_sessionfinish(self, exitstatus: int) -> None:
        """Write the list after a run without failures."""
        if exitstatus != pytest.ExitCode.OK or not self._costly:  # or a run of --collect-only
            return
        COSTLY.write_text("".join(f"{name}\n" for name in sorted(self._costly)))


def read_costly() -> frozenset[str]:
    """Return the names of the costly functions."""
    return frozenset(COSTLY.read_text().splitlines())


def function_name(item: pytest.Item) -> str:
    """Return the id of a test without its parameters."""
    return item.nodeid.partition("[")[0]


def is_quick(item: pytest.Item) -> bool:
    """Return whether a test is neither marked as slow nor uses what --quick leaves out."""
    if _is_left_out(item.path):  # a path that the command names
        return False
    if hasattr(getattr(item, "module", None), "sdks"):  # which take seconds to import
        return False
    if any(item.get_closest_marker(mark) is not None for mark in _LEFT_OUT_MARKS):
        return False
    parameters = getattr(getattr(item, "callspec", None), "params", {}).values()
    mark = item.get_closest_marker("asyncio")
    loops = mark.kwargs.get("loop_factories", ()) if mark else ()
    if "redis" in parameters or ("asyncio" in loops and asyncio.new_event_loop in parameters):
        return False
    return _LEFT_OUT_FIXTURES.isdisjoint(getattr(item, "fixturenames", ()))


@cache  # thousands of tests are in a few hundred files
def _is_left_out(path: Path) -> bool:
    if not path.is_relative_to(_TESTS) or path == _TESTS:
        return False
    relative = path.relative_to(_TESTS)
    return relative.parts[0] in _LEFT_OUT_FOLDERS or relative.as_posix() in _LEFT_OUT_FILES
