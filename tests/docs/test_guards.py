"""The guard of docs/guides/guards.md, and the tests of it that the guide shows."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from hub.testing import run_guard
from tests.docs.snippets import DOCS, find_blocks


async def test_guide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests of the guide pass with its guard."""
    page = DOCS / "guides" / "guards.md"
    guard, _, tests = (block.code for block in find_blocks(page) if block.language == "python")
    (tmp_path / "guards.py").write_text(guard)
    (tmp_path / "tests_of_guards.py").write_text(tests)
    monkeypatch.syspath_prepend(tmp_path)
    import tests_of_guards  # type: ignore[import-not-found]

    members = inspect.getmembers(tests_of_guards, inspect.iscoroutinefunction)
    cases = [function for name, function in members if name.startswith("test_")]
    assert len(cases) == 2
    for case in cases:
        await case()


async def test_mask_of_addresses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The guide's guard shows nothing of an address, wherever the answer is split."""
    page = DOCS / "guides" / "guards.md"
    _, mask, _ = (block.code for block in find_blocks(page) if block.language == "python")
    (tmp_path / "mask_of_guide.py").write_text(mask)
    monkeypatch.syspath_prepend(tmp_path)
    from mask_of_guide import check  # type: ignore[import-not-found]

    text = "Ask alice.smith@example.co.uk, bob@example.com. Or carol@mail.example"
    for size in range(1, len(text)):
        deltas = [text[n : n + size] for n in range(0, len(text), size)]
        result = await run_guard(check, deltas)
        assert result.text == "Ask [e-mail], [e-mail]. Or [e-mail]"
        assert all(result.text.startswith(shown) for shown in result.shown)
