"""`scripts/test --quick`: the tests that need no browser, no Java, no npm and no whole hub.

Tests with the marks `slow` and `alone` are left out as well. Tests that use sockets run on uvloop
only (tests/conftest.py).
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

_LEFT_OUT_FOLDERS: Final = frozenset({"e2e", "examples", "interop", "packaging", "pages"})
_LEFT_OUT_FIXTURES: Final = frozenset({"browser", "chromium", "dev", "site", "site_folder"})
_LEFT_OUT_MARKS: Final = ("alone", "slow")


class QuickSelection:
    """Leave out what is not quick, whatever else is selected."""

    def pytest_ignore_collect(self, collection_path: Path) -> bool | None:
        """Do not even import the tests of the folders that are left out."""
        is_test_folder = collection_path.parent.name == "tests" and collection_path.is_dir()
        return True if is_test_folder and collection_path.name in _LEFT_OUT_FOLDERS else None

    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Item]
    ) -> None:
        """Deselect the tests that are left out."""
        kept = [item for item in items if is_quick(item)]
        config.hook.pytest_deselected(items=[item for item in items if not is_quick(item)])
        items[:] = kept


def is_quick(item: pytest.Item) -> bool:
    """Return whether a test is neither marked as slow nor uses a browser or a whole hub."""
    if item.path.parent.name in _LEFT_OUT_FOLDERS:  # a folder that the command names
        return False
    if any(item.get_closest_marker(mark) is not None for mark in _LEFT_OUT_MARKS):
        return False
    return _LEFT_OUT_FIXTURES.isdisjoint(getattr(item, "fixturenames", ()))
