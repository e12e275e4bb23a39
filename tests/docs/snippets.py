"""Find the code blocks of the documents, and run them against a `hub dev`.

A block is the text between fences that name a language. The comment `<!-- not run: why -->` before
a block excludes it, and `<!-- run by: file -->` names the test that runs its commands or code. A
`text` block right after a block lists parts of its output: the output must contain each of its
lines, where `…` stands for any text. stand_ins.py has the programs that no test can really call.
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
from contextlib import suppress
from inspect import CO_COROUTINE
from pathlib import Path
from typing import Any, NamedTuple

from tests.docs import stand_ins

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
RUN = frozenset({"sh", "python", "js", "toml", "json", "nginx"})
SHOWN = frozenset({"text", "ini", "ts", "java", "go", "rust", "sql", "xml", "html", "css"})
NEVER_RUN = frozenset(
    {"java", "go", "rust", "xml", "html", "css"}
)  # each block has a reason, or a test

_BLOCK = re.compile(
    r"^(?:<!-- (?:not run: (?P<why>[^\n]*?)|run by: (?P<test>\S+)) -->\n+)?"
    r"(?P<indent> *)```(?P<language>[a-z]+)\n(?P<code>.*?)^ *```$"
    r"(?:\n+```text\n(?P<shown>.*?)^```$)?",
    re.MULTILINE | re.DOTALL,
)
_SECRET = "k" * 40
_TIMEOUT_SECONDS = 120.0


class Block(NamedTuple):
    """line: the line of its first fence. part: the heading above. why: the reason not to run it.
    test: the file of the test that runs it instead.
    """

    page: Path
    line: int
    part: str
    language: str
    code: str
    shown: str
    why: str | None
    test: str | None = None

    @property
    def location(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def pages() -> list[Path]:
    """Return all documents with blocks that a reader may copy."""
    return [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        ROOT / "examples" / "README.md",
        ROOT / "clients" / "python" / "README.md",
        *sorted(page for page in DOCS.rglob("*.md") if page.parent.name != "decisions"),
    ]


def find_blocks(page: Path) -> list[Block]:
    """Return the blocks of a page in order; expected output belongs to the block before it."""
    text = page.read_text()
    blocks = []
    for match in _BLOCK.finditer(text):
        indent = len(match["indent"])
        code = "".join(line[indent:] for line in match["code"].splitlines(keepends=True))
        line = text.count("\n", 0, match.start("language")) + 1
        part = re.findall(r"^## (.+)", text[: match.start()], re.MULTILINE)[-1:]
        shown = match["shown"] or ""
        blocks.append(
            Block(
                page,
                line,
                "".join(part),
                match["language"],
                code,
                shown,
                match["why"],
                match["test"],
            )
        )
    return blocks


def runnable_blocks(page: Path, language: str) -> list[Block]:
    """Return the blocks of a page in one language, without those that are not run here."""
    return [
        each
        for each in find_blocks(page)
        if each.language == language and each.why is None and each.test is None
    ]


class Substitutions:
    """Replace the ports and names in the documents by those of this run."""

    def __init__(self, ports: Mapping[int, int], names: Mapping[str, str] = {}) -> None:
        self._ports = ports
        self._names = names

    def apply(self, code: str) -> str:
        """Return the code with the ports and names of this run, and a secret for each `…`."""
        for name, actual_name in self._names.items():
            code = code.replace(name, actual_name)
        for port, actual_port in self._ports.items():
            code = re.sub(rf"(?<=[ :=]){port}\b", str(actual_port), code)
        return re.sub(r"(?<=[= \"])…(?=[\s\"]|$)", _SECRET, code)


async def run_python(block: str, names: dict[str, Any]) -> None:
    """Run a block, which may await at its top level, with `names` as its globals."""
    code = compile(block, "<document>", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    if code.co_flags & CO_COROUTINE:
        await eval(code, names)  # noqa: S307 - the documents are ours
    else:
        await asyncio.to_thread(exec, code, names)  # blocking code must not block the loop


_PRELUDE = """
set -euo pipefail
shopt -s expand_aliases
# A stream prints its first event at once.
wait_for_output() { until [[ -s $out ]]; do read -rt 0.05 <> <(:) || :; done; }
curl() {
  if [[ " $* " == *" -N "* ]]; then command curl -s "$@" >"$out" 2>&1 & wait_for_output
  else command curl -sS --fail-with-body "$@"; echo; fi
}
hub() {
  # In a subshell (`hub serve &`) a process is in the background already.
  if [[ $1 == tail || $1 =~ ^(dev|serve|worker|upstream)$ && $BASHPID == $$ ]]; then
    "$QUICK/hub" "$@" >"$out" 2>&1 & wait_for_output
  else "$QUICK/hub" "$@"; fi
}
"""


def run_shell(
    blocks: list[Block], substitutions: Substitutions, folder: Path, env: Mapping[str, str]
) -> None:
    """Run the commands of a page in one bash, in a folder that looks like the repository.

    `curl -N` and `hub tail` do not end: they run in the background until all expected output has
    been printed. Raise AssertionError with the output if a command fails or its output is missing.
    """
    _copy_repository(folder, substitutions)
    programs = folder / "stand-ins"
    (programs / "etc" / "systemd" / "system").mkdir(parents=True)
    stand_ins.install(programs)
    env = {**env, "STAND_INS": str(programs), "OPENAI_API_KEY": _SECRET}
    env["PATH"] = f"{programs}:{env['PATH']}"
    script = _PRELUDE
    outputs = [folder / f"output-{n}" for n in range(len(blocks))]
    for block, output in zip(blocks, outputs, strict=True):
        output.touch()
        script += (
            f"out='{output}.stream'\n{{\n{substitutions.apply(block.code)}\n}} >'{output}' 2>&1\n"
        )
    (folder / "script.sh").write_text(f"{script}\ntouch '{folder}/done'\nread -r _ || :\n")
    process = subprocess.Popen(
        ["bash", "script.sh"],
        cwd=folder,
        env={**os.environ, **env},
        stdin=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + _TIMEOUT_SECONDS
        while missing := _find_missing(folder, blocks, outputs):
            assert process.poll() is None, missing
            assert time.monotonic() < deadline, missing
            time.sleep(0.05)
    finally:
        with suppress(ProcessLookupError):  # the commands have failed
            os.killpg(process.pid, signal.SIGTERM)
        process.communicate(timeout=60)


def _find_missing(folder: Path, blocks: list[Block], outputs: list[Path]) -> str:
    """Return what is still missing until all commands have run; empty if nothing is missing."""
    for block, output in zip(blocks, outputs, strict=True):
        printed = "".join(
            file.read_text() for file in (output, Path(f"{output}.stream")) if file.exists()
        )
        for line in block.shown.splitlines():
            if not _contains(line, printed):
                return f"{block.location} should print {line!r}, but printed:\n{printed}"
    if not (folder / "done").exists():
        printed = "\n".join(output.read_text() for output in outputs)
        return f"a command of {blocks[0].page.name} failed or did not end; output:\n{printed}"
    return ""


def _contains(line: str, printed: str) -> bool:
    pattern = ".*".join(re.escape(part) for part in line.strip().split("…"))
    return re.search(pattern, printed) is not None


def _copy_repository(folder: Path, substitutions: Substitutions) -> None:
    (folder / ".venv").symlink_to(Path(sys.executable).parents[1])
    for name in (
        "clients",
        "hub",
        "scripts",
        *(file.name for file in ROOT.iterdir() if file.is_file()),
    ):
        (folder / name).symlink_to(ROOT / name)
    packages = shutil.ignore_patterns("node_modules", "__pycache__")
    for name in ("config", "examples"):
        shutil.copytree(ROOT / name, folder / name, ignore=packages)
        for file in (folder / name).glob("nginx*.conf"):
            file.write_text(substitutions.apply(file.read_text()).replace("/tmp/", f"{folder}/"))
