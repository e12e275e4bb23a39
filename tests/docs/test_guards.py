"""The guard of docs/guides/guards.md, and the tests of it that the guide shows."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from tests.docs.snippets import DOCS, find_blocks


async def test_guide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests of the guide pass with its guard."""
    page = DOCS / "guides" / "guards.md"
    guard, tests = (block.code for block in find_blocks(page) if block.language == "python")
    (tmp_path / "guards.py").write_text(guard)
    (tmp_path / "tests_of_guards.py").write_text(tests)
    monkeypatch.syspath_prepend(tmp_path)
    import tests_of_guards  # type: ignore[import-not-found]

    members = inspect.getmembers(tests_of_guards, inspect.iscoroutinefunction)
    cases = [function for name, function in members if name.startswith("test_")]
    assert len(cases) == 2
    for case in cases:
        await case()
