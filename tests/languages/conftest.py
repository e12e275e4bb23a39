"""Fixtures of the programs in other languages, and the selection of their tests.

The tests with the mark `languages` build programs with Maven, Go or Cargo, so they run only when
the mark is asked for: `scripts/test languages`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.languages.running_hub import LanguagesHub, run_hub


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the tests that build programs, unless `-m` names their mark."""
    if "languages" in config.option.markexpr:
        return
    deselected = [item for item in items if item.get_closest_marker("languages") is not None]
    config.hook.pytest_deselected(items=deselected)
    items[:] = [item for item in items if item.get_closest_marker("languages") is None]


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def hub() -> AsyncIterator[LanguagesHub]:
    """Run the hub for all programs."""
    async with run_hub() as running:
        yield running
