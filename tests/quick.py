"""`scripts/test --quick`: the tests that need no browser, no Java, no npm and no whole hub.

Tests with the marks `slow` and `alone` are left out as well, and what repeats a behaviour at a
price: Redis beside Valkey, a Cluster and Sentinels beside one server, the loop of asyncio beside
uvloop (tests/conftest.py). The libraries that take seconds to import are not imported.
"""

from __future__ import annotations

import asyncio
from functools import cache
from pathlib import Path
from typing import Final

import pytest

_TESTS: Final = Path(__file__).parent
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
    {"browser", "chromium", "dev", "redis_server", "shared_cluster", "site", "site_folder"}
)
_LEFT_OUT_MARKS: Final = ("alone", "slow")


class QuickSelection:
    """Leave out what is not quick, whatever else is selected."""

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
            (kept if is_quick(item) else left_out).append(item)
        config.hook.pytest_deselected(items=left_out)
        items[:] = kept


def is_quick(item: pytest.Item) -> bool:
    """Return whether a test is neither marked as slow nor uses what --quick leaves out."""
    if _is_left_out(item.path):  # a path that the command names
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
