"""Check that README.zh-CN.md has the same structure as README.md."""

from __future__ import annotations

import re

from tests.docs.snippets import ROOT

ENGLISH = (ROOT / "README.md").read_text()
CHINESE = (ROOT / "README.zh-CN.md").read_text()
_FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_NOTE = re.compile(r"^<!--.*?-->\n", re.MULTILINE)


def split_parts(text: str) -> list[str]:
    """Return the paragraphs, headings and tables of a document; code blocks become CODE."""
    return re.split(r"\n{2,}", _NOTE.sub("", _FENCE.sub("CODE", text)).strip())


def test_code_is_the_same() -> None:
    """Both documents have the same code blocks in the same order."""
    assert _FENCE.findall(CHINESE) == _FENCE.findall(ENGLISH)


def test_parts_are_the_same() -> None:
    """Headings, paragraphs, code blocks and table rows have the same order in both documents."""
    pairs = list(zip(split_parts(CHINESE), split_parts(ENGLISH), strict=True))
    for chinese, english in pairs:
        assert chinese.count("\n|") == english.count("\n|"), english
        for mark in ("#", "|", "!", "CODE"):
            assert chinese.startswith(mark) == english.startswith(mark), english


def test_names_and_links_are_the_same() -> None:
    """Each part has the same code words and link targets; each document links to the other."""
    for chinese, english in zip(split_parts(CHINESE), split_parts(ENGLISH), strict=True):
        if english.startswith("English"):
            assert "](README.zh-CN.md)" in english
            assert "](README.md)" in chinese
            continue
        for form in (r"`[^`]+`", r"\]\(([^)]+)\)"):
            assert sorted(re.findall(form, chinese)) == sorted(re.findall(form, english)), english


def test_it_is_chinese() -> None:
    """Every paragraph contains Chinese words, except the title and the name of the licence."""
    for part in split_parts(CHINESE):
        is_name = part in ("CODE", "# hub") or part.startswith("Apache-2.0")
        assert is_name or re.search(r"[\u4e00-\u9fff]{2}", part), part
