"""What the documents give to paste works as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import aiohttp

from hub.engine.supervise import SystemClock
from hub.settings import load_settings
from hub.wiring.upstreams import upstreams_of

DOCS = Path(__file__).parents[1] / "docs"


async def test_upstreams_to_paste(tmp_path: Path) -> None:
    """Every configuration in docs/upstreams.md is taken, together and as upstreams."""
    blocks = re.findall(r"```toml\n(.*?)```", (DOCS / "upstreams.md").read_text(), re.DOTALL)
    file = tmp_path / "hub.toml"
    file.write_text("\n".join(blocks))
    settings = load_settings(file).settings
    assert {each.kind for each in settings.upstreams.values()} == {
        "openai",
        "openai-responses",
        "anthropic",
        "ollama",
        "dashscope",
        "envelope",
    }
    async with aiohttp.ClientSession() as session:
        made = upstreams_of(settings, session, SystemClock(), ("default",))
    assert set(made) == set(settings.upstreams)


def test_cases_name_tests_that_exist() -> None:
    """docs/relay-failures.md and docs/security.md name files of tests."""
    tests = Path(__file__).parent
    for document in ("relay-failures.md", "security.md"):
        names = re.findall(r"`([a-z0-9_/]+\.py)`", (DOCS / document).read_text())
        assert len(names) > 20
        for name in names:
            found = list(tests.rglob(name.rpartition("/")[2]))
            assert found, f"{document} names {name}"
