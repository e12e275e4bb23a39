"""Run the commands in the documents against a real `hub dev`, and check the other blocks."""

from __future__ import annotations

import ast
import json
import re
import subprocess
from pathlib import Path

import pytest

from hub.cli.doctor.keys import key_weakness
from hub.settings import load_settings
from tests.docs.conftest import Site
from tests.docs.snippets import (
    NEVER_RUN,
    ROOT,
    RUN,
    SHOWN,
    Substitutions,
    find_blocks,
    pages,
    run_shell,
    runnable_blocks,
)

# Documents whose code is run by another test.
ELSEWHERE = {"python.md": "client/test_document.py"}
# The commands of these pages start their own nodes; see test_nodes.py.
NODES = ("deploy.md", "tutorial.md")
NOT_RUN = 18  # number of blocks that nothing runs; each has a reason


def page_id(page: Path) -> str:
    return str(page.relative_to(ROOT))


def pages_with(language: str) -> list[Path]:
    return [
        page for page in pages() if page.name not in ELSEWHERE and runnable_blocks(page, language)
    ]


def test_every_block_is_known() -> None:
    """Each block is run, checked or has a language that is only shown; exclusions are counted."""
    blocks = [block for page in pages() for block in find_blocks(page)]
    assert {
        block.location: block.language for block in blocks if block.language not in RUN | SHOWN
    } == {}
    not_run = [f"{block.location}: {block.why}" for block in blocks if block.why is not None]
    assert len(not_run) == NOT_RUN, "\n".join(not_run)
    for block in blocks:
        assert block.language not in NEVER_RUN or block.why or block.test, block.location
        if block.test is not None:
            assert (ROOT / block.test).exists(), f"{block.location}: {block.test}"
    for name, test in ELSEWHERE.items():
        assert name in (ROOT / "tests" / test).read_text()


@pytest.mark.parametrize(
    "page", [page for page in pages_with("sh") if page.name not in NODES], ids=page_id
)
def test_commands(page: Path, site: Site, tmp_path: Path) -> None:
    """The commands of a page succeed and print the expected output."""
    run_shell(runnable_blocks(page, "sh"), site.substitutions, tmp_path, site.env)


@pytest.mark.parametrize("page", pages_with("toml"), ids=page_id)
def test_settings_load(page: Path, tmp_path: Path) -> None:
    """All TOML blocks of a page load together as settings."""
    file = tmp_path / "hub.toml"
    text = "\n".join(block.code for block in runnable_blocks(page, "toml"))
    file.write_text(Substitutions({}).apply(text))
    load_settings(file)


@pytest.mark.parametrize("language", ["sh", "python"])
def test_code_that_is_not_run_parses(language: str) -> None:
    """Blocks that no test here runs have no errors of syntax."""
    for page in pages():
        for block in find_blocks(page):
            if block.language != language or (block.why is None and block.test is None):
                continue
            if language == "sh":
                done = subprocess.run(
                    ["bash", "-n"], input=block.code, text=True, capture_output=True, check=False
                )
                assert done.returncode == 0, f"{block.location}: {done.stderr}"
            else:
                compile(block.code, block.location, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def test_json_parses() -> None:
    """Every JSON block is valid JSON."""
    for page in pages():
        for block in runnable_blocks(page, "json"):
            json.loads(block.code)


def test_keys_pass_the_doctor() -> None:
    """A key that a reader copies from the documents is not one that the doctor refuses."""
    keys = {
        key
        for page in pages()
        for block in find_blocks(page)
        for key in re.findall(r'(?:"key": ?|\bkey = )"([^"<>$\']+)"', block.code)
        if "API_KEYS" in block.code or block.language == "toml"
    }
    assert {key: key_weakness(key) for key in keys if key_weakness(key)} == {}
