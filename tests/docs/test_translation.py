"""README.zh-CN.md keeps in step with the README."""

from __future__ import annotations

import re

from tests.docs.snippets import ROOT

ENGLISH = (ROOT / "README.md").read_text()
CHINESE = (ROOT / "README.zh-CN.md").read_text()
_FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_NOTE = re.compile(r"^<!--.*?-->\n", re.MULTILINE)


def prose_of(text: str) -> list[str]:
    """Its paragraphs, headings and tables, without code."""
    return re.split(r"\n{2,}", _NOTE.sub("", _FENCE.sub("CODE", text)).strip())


def test_code_is_the_same() -> None:
    """Each block, in the same order, to the letter."""
    assert _FENCE.findall(CHINESE) == _FENCE.findall(ENGLISH)


def test_parts_are_the_same() -> None:
    """Each heading, paragraph, block and row of a table has its counterpart in the same place."""
    pairs = list(zip(prose_of(CHINESE), prose_of(ENGLISH), strict=True))
    for chinese, english in pairs:
        assert chinese.count("\n|") == english.count("\n|"), english
        for mark in ("#", "|", "!", "CODE"):
            assert chinese.startswith(mark) == english.startswith(mark), english


def test_names_and_links_are_the_same() -> None:
    """What stands in backquotes, and where links lead, part by part; each leads to the other."""
    for chinese, english in zip(prose_of(CHINESE), prose_of(ENGLISH), strict=True):
        if english.startswith("English"):
            assert "](README.zh-CN.md)" in english
            assert "](README.md)" in chinese
            continue
        for form in (r"`[^`]+`", r"\]\(([^)]+)\)"):
            assert sorted(re.findall(form, chinese)) == sorted(re.findall(form, english)), english


def test_it_is_chinese() -> None:
    """Every paragraph has Chinese words, but for the licence's name."""
    for part in prose_of(CHINESE):
        is_name = part in ("CODE", "# hub") or part.startswith("Apache-2.0")
        assert is_name or re.search(r"[\u4e00-\u9fff]{2}", part), part
