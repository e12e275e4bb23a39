"""The table of presets in docs/guides/upstreams.md, made from hub/settings/presets.py."""

from __future__ import annotations

import json
import os
import re
import tomllib
from typing import Any, Final

from hub.settings.presets import EXAMPLES, PRESETS
from tests.docs.snippets import DOCS

PAGE: Final = DOCS / "guides" / "upstreams.md"
HEAD: Final = "| preset | base URL | what it changes |\n|---|---|---|\n"


def write_toml(value: Any) -> str:
    """Return a value as TOML on one line."""
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{key} = {write_toml(each)}' for key, each in value.items())} }}"
    return json.dumps(value)


def build_rows() -> str:
    """Return one row for each preset."""
    rows = []
    for name, preset in sorted(PRESETS.items()):
        url = f"`{preset['base_url']}`" if "base_url" in preset else f"yours: `{EXAMPLES[name]}`"
        changes = [
            f"`{key} = {write_toml(value)}`" for key, value in preset.items() if key != "base_url"
        ]
        rows.append(f"| `{name}` | {url} | {'<br>'.join(changes) or '–'} |")
    return "\n".join(rows) + "\n"


def test_table_of_presets() -> None:
    """The table has each preset; WRITE_DOCS=1 writes it."""
    page = PAGE.read_text()
    before, after = page.split(HEAD)
    text = before + HEAD + build_rows() + after[after.index("\n\n") + 1 :]
    if os.environ.get("WRITE_DOCS"):
        PAGE.write_text(text)
    assert PAGE.read_text() == text, "run this test with WRITE_DOCS=1"


def test_lines_for_each_preset() -> None:
    """The page has the lines to copy for each preset, with a model."""
    blocks = re.findall(r"```toml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    upstreams = tomllib.loads("\n".join(blocks))["upstreams"].values()
    with_model = {
        each["preset"] for each in upstreams if "preset" in each and each["default_model"]
    }
    assert with_model == set(PRESETS)
