"""The blocks of the documents that can be run, and what runs them against a `hub dev`.

A block is what stands between fences that name a language. `<!-- not run: why -->` before it says
why it is not; a `text` block right after it shows some of what it prints: each of its lines must
be there, with anything in place of each `…`.
"""

from __future__ import annotations

import ast
import asyncio
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from inspect import CO_COROUTINE
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
RUN = frozenset({"sh", "python", "js", "toml", "json", "nginx"})
SHOWN = frozenset({"text", "ini"})

_BLOCK = re.compile(
    r"^(?:<!-- not run: (?P<why>[^\n]*?) -->\n+)?"
    r"(?P<indent> *)```(?P<language>[a-z]+)\n(?P<code>.*?)^ *```$"
    r"(?:\n+```text\n(?P<shown>.*?)^```$)?",
    re.MULTILINE | re.DOTALL,
)
_SECRET = "k" * 40
_PATIENCE_SECONDS = 45.0


class Block(NamedTuple):
    """line: where its fence stands. part: the heading above. why: the reason why it is not run."""

    page: Path
    line: int
    part: str
    language: str
    code: str
    shown: str
    why: str | None

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def pages() -> list[Path]:
    """All that a reader may copy from."""
    return [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        ROOT / "examples" / "README.md",
        *sorted(page for page in DOCS.rglob("*.md") if page.parent.name != "decisions"),
    ]


def blocks_of(page: Path) -> list[Block]:
    """In their order; those in `text` that belong to another are in it."""
    text = page.read_text()
    found = []
    for match in _BLOCK.finditer(text):
        indent = len(match["indent"])
        code = "".join(line[indent:] for line in match["code"].splitlines(keepends=True))
        line = text.count("\n", 0, match.start("language")) + 1
        part = re.findall(r"^## (.+)", text[: match.start()], re.MULTILINE)[-1:]
        shown = match["shown"] or ""
        found.append(Block(page, line, "".join(part), match["language"], code, shown, match["why"]))
    return found


def to_run(page: Path, language: str) -> list[Block]:
    """The page's blocks in that language but those with a reason not to be run."""
    return [each for each in blocks_of(page) if each.language == language and each.why is None]


class Places:
    """Where what the documents have at usual places is in this run."""

    def __init__(self, ports: Mapping[int, int], names: Mapping[str, str] = {}) -> None:
        self._ports = ports
        self._names = names

    def put_into(self, code: str) -> str:
        """The code with this run's ports and names, and with a secret for each `…` that is one."""
        for name, here in self._names.items():
            code = code.replace(name, here)
        for port, port_here in self._ports.items():
            code = re.sub(rf"(?<=[ :=]){port}\b", str(port_here), code)
        return re.sub(r"(?<=[= ])…", _SECRET, code)


async def run_python(block: str, names: dict[str, Any]) -> None:
    """Runs a block that may await at its top level; `names` are its globals, before and after."""
    code = compile(block, "<document>", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    if code.co_flags & CO_COROUTINE:
        await eval(code, names)  # noqa: S307 - the documents are ours
    else:
        await asyncio.to_thread(exec, code, names)  # what blocks, blocks no loop


_PRELUDE = """
set -euo pipefail
shopt -s expand_aliases
begun() { until [[ -s $out ]]; do read -rt 0.05 <> <(:) || :; done; }  # a stream speaks first
curl() {
  if [[ " $* " == *" -N "* ]]; then command curl -s "$@" >"$out" 2>&1 & begun
  else command curl -sS --fail-with-body "$@"; echo; fi
}
hub() {
  if [[ $1 == tail ]]; then "$QUICK/hub" "$@" >"$out" 2>&1 & begun
  else "$QUICK/hub" "$@"; fi
}
"""


def run_shell(blocks: list[Block], places: Places, folder: Path, env: Mapping[str, str]) -> None:
    """Runs a page's commands in one bash, in a folder that looks like the repository.

    `curl -N` and `hub tail`, which never end, go on in the background until all that is shown has
    come. Raises AssertionError with what was printed when a command fails or does not show it.
    """
    _like_the_repository(folder, places)
    script = _PRELUDE
    outputs = [folder / f"output-{n}" for n in range(len(blocks))]
    for block, output in zip(blocks, outputs, strict=True):
        output.touch()
        script += f"out='{output}.stream'\n{{\n{places.put_into(block.code)}\n}} >'{output}' 2>&1\n"
    (folder / "script.sh").write_text(f"{script}\ntouch '{folder}/done'\nread -r _ || :\n")
    process = subprocess.Popen(
        ["bash", "script.sh"],
        cwd=folder,
        env={**os.environ, **env},
        stdin=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        until = time.monotonic() + _PATIENCE_SECONDS
        while missing := _not_yet(folder, blocks, outputs):
            assert process.poll() is None, missing
            assert time.monotonic() < until, missing
            time.sleep(0.05)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.communicate(timeout=30)


def _not_yet(folder: Path, blocks: list[Block], outputs: list[Path]) -> str:
    """What is missing until all has run and shown what it should; empty when nothing is."""
    for block, output in zip(blocks, outputs, strict=True):
        printed = "".join(
            file.read_text() for file in (output, Path(f"{output}.stream")) if file.exists()
        )
        for line in block.shown.splitlines():
            if not _shows(line, printed):
                return f"{block.place} should show {line!r} and printed:\n{printed}"
    if not (folder / "done").exists():
        printed = "\n".join(output.read_text() for output in outputs)
        return f"a command of {blocks[0].page.name} fails or does not end; printed:\n{printed}"
    return ""


def _shows(line: str, printed: str) -> bool:
    pattern = ".*".join(re.escape(part) for part in line.strip().split("…"))
    return re.search(pattern, printed) is not None


def _like_the_repository(folder: Path, places: Places) -> None:
    (folder / ".venv").symlink_to(Path(sys.executable).parents[1])
    for name in ("config", "scripts"):
        (folder / name).symlink_to(ROOT / name)
    packages = shutil.ignore_patterns("node_modules", "__pycache__")
    shutil.copytree(ROOT / "examples", folder / "examples", ignore=packages)
    file = folder / "examples" / "nginx.conf"
    file.write_text(places.put_into(file.read_text()).replace("/tmp/", f"{folder}/"))
