"""The documented permissions of a login; test_contracts.py uses every store with exactly these."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

from hub.backends.redis.permissions import COMMANDS, OPTIONAL_COMMANDS

_PAGE = Path(__file__).parents[2] / "docs/contributing/redis.md"


def test_scripts_use_no_other_command() -> None:
    """Each command of a script is in the list."""
    scripts = files("hub.backends.redis").joinpath("lua").iterdir()
    text = "\n".join(script.read_text() for script in scripts)
    used = {name.lower() for name in re.findall(r"redis\.p?call\('(\w+)'", text)}
    assert "xadd" in used
    assert used <= {name.partition("|")[0] for name in (*COMMANDS, *OPTIONAL_COMMANDS)}


def test_page_lists_the_permissions() -> None:
    """The page for operators has each command, and nothing else."""
    section = _PAGE.read_text().split("## Permissions", 1)[1].split("\n## ", 1)[0]
    block = section.split("```")[1]
    assert set(re.findall(r"\+(\S+)", block)) == set(COMMANDS)
    rows = dict(re.findall(r"^\| `([^`]+)` \| (.+) \|$", section, re.MULTILINE))
    assert rows == OPTIONAL_COMMANDS
