"""Every command and every piece of code in the documents runs, against a real `hub dev`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hub.settings import load_settings
from tests.docs.conftest import Site
from tests.docs.snippets import ROOT, RUN, SHOWN, blocks_of, pages, run_shell, to_run

# Documents with a test of their own, which runs their code.
ELSEWHERE = {"clients-python.md": "client/test_document.py"}
# Its commands start their own nodes: test_nodes.py.
NODES = "nodes.md"
NOT_RUN = 20  # blocks that cannot run in a test; each says why


def id_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def pages_with(language: str) -> list[Path]:
    return [page for page in pages() if page.name not in ELSEWHERE and to_run(page, language)]


def test_every_block_is_known() -> None:
    """Its language has a runner or is only shown; what is not run says why, and is counted."""
    blocks = [block for page in pages() for block in blocks_of(page)]
    assert {
        block.place: block.language for block in blocks if block.language not in RUN | SHOWN
    } == {}
    not_run = [f"{block.place}: {block.why}" for block in blocks if block.why is not None]
    assert len(not_run) == NOT_RUN, "\n".join(not_run)
    for name, test in ELSEWHERE.items():
        assert name in (ROOT / "tests" / test).read_text()


@pytest.mark.parametrize(
    "page", [page for page in pages_with("sh") if page.name != NODES], ids=id_of
)
def test_commands(page: Path, site: Site, tmp_path: Path) -> None:
    """They end with 0 and show what the page says."""
    run_shell(to_run(page, "sh"), site.places, tmp_path, site.env)


@pytest.mark.parametrize("page", pages_with("toml"), ids=id_of)
def test_settings_load(page: Path, tmp_path: Path) -> None:
    """TOML is taken as settings, all of a page together."""
    file = tmp_path / "hub.toml"
    file.write_text("\n".join(block.code for block in to_run(page, "toml")))
    load_settings(file)


def test_json_parses() -> None:
    """JSON is JSON."""
    for page in pages():
        for block in to_run(page, "json"):
            json.loads(block.code)
