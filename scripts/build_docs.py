"""Build the documentation site with Zensical: build_docs.py [serve [PORT]].

Zensical reads a copy of docs/, in which two things differ from the files of the repository:

- A page that is named in backquotes becomes a link: `concepts/delivery.md`, `docs/index.md`,
  `contributing/decisions/0006`. In an editor and on a terminal a plain name is easier to read.
- A link out of docs/ becomes the name of the file, because the site does not contain that file.

Zensical checks the links between the pages. check_site.py checks what the finished pages contain.
"""

from __future__ import annotations

import os
import posixpath
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
FOLDER: Final = ROOT / ".cache" / "docs"  # mkdocs.yml and docs/ are copied into it
SITE: Final = FOLDER / "site"  # site_dir in mkdocs.yml
ZENSICAL: Final = (sys.executable, "-m", "zensical")
USAGE: Final = "usage: scripts/docs [serve [PORT]]"

FENCE: Final = re.compile(r"^( *)```.*?^\1```", re.MULTILINE | re.DOTALL)
NAME: Final = re.compile(
    r"(?<!\[)`(?:docs/)?((?:[a-z]+/)*[a-z0-9-]+\.md|contributing/decisions/\d{4})`"
)
REFERENCE_OUTSIDE: Final = re.compile(r"\[([^\]]+)\]\(((?:\.\./)+[^)]+)\)")


def rewrite_page(text: str, page: str, pages: list[str]) -> str:
    """Return the text of a page as the site needs it. page and pages are paths inside docs/."""
    folder = posixpath.dirname(page)

    def page_reference(match: re.Match[str]) -> str:
        for target in pages:
            if target == match[1] or target.startswith(f"{match[1]}-"):
                return f"[{match[0]}]({posixpath.relpath(target, folder or '.')})"
        return match[0]

    def file_name(match: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join("docs", folder, match[2]))
        return match[0] if path.startswith("docs/") else f"{match[1]} (`{path}`)"

    parts, end = [], 0
    for fence in FENCE.finditer(text):
        parts += [NAME.sub(page_reference, text[end : fence.start()]), fence[0]]
        end = fence.end()
    rewritten = "".join([*parts, NAME.sub(page_reference, text[end:])])
    return REFERENCE_OUTSIDE.sub(file_name, rewritten)


def prepare() -> None:
    """Copy mkdocs.yml and docs/ into FOLDER. Write only what has changed: Zensical watches it."""
    docs = ROOT / "docs"
    sources = {file.relative_to(docs).as_posix(): file for file in docs.rglob("*")}
    pages = [path for path in sources if path.endswith(".md")]
    wanted = {FOLDER / "mkdocs.yml": (ROOT / "mkdocs.yml").read_bytes()}
    for path, file in sources.items():
        if path.endswith(".md"):
            wanted[FOLDER / "docs" / path] = rewrite_page(file.read_text(), path, pages).encode()
        elif file.is_file():
            wanted[FOLDER / "docs" / path] = file.read_bytes()
    for file in (FOLDER / "docs").rglob("*"):
        if file.is_file() and file not in wanted:
            file.unlink()
    for file, content in wanted.items():
        if not file.is_file() or file.read_bytes() != content:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)


def build() -> int:
    """Build and check the site; return the exit code. Print only problems and where the site is."""
    prepare()
    command = [*ZENSICAL, "build", "--strict", "--clean"]
    environment = {**os.environ, "NO_COLOR": "1"}
    zensical = subprocess.run(
        command, cwd=FOLDER, env=environment, capture_output=True, text=True, check=False
    )
    if zensical.returncode:
        output = re.sub(r"\x1b\[[0-9;]*m", "", zensical.stdout + zensical.stderr)
        if re.search(r"\d issues? found", output):
            output = output.partition("Traceback")[0]
        print(output, end="")
        return 1
    check = [sys.executable, ROOT / "scripts" / "check_site.py", SITE]
    if code := subprocess.run(check, check=False).returncode:
        return code
    print(f"The site is in {SITE}. Open {SITE / 'index.html'}, or run scripts/docs serve.")
    return 0


def serve(port: int) -> int:
    """Serve the site until Ctrl-C, and prepare the pages again when they change."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # Zensical must end as well
    prepare()
    command = [*ZENSICAL, "serve", "--dev-addr", f"127.0.0.1:{port}"]
    with subprocess.Popen(command, cwd=FOLDER) as zensical:
        try:
            while zensical.poll() is None:
                time.sleep(0.5)
                prepare()
        except KeyboardInterrupt:
            zensical.terminate()
            return 0
    return zensical.returncode


def main(arguments: list[str]) -> int:
    """Run the command of the arguments; return the exit code."""
    match arguments:
        case []:
            return build()
        case ["serve"]:
            return serve(8000)
        case ["serve", port] if port.isdecimal() and 0 < int(port) < 65536:
            return serve(int(port))
    print(USAGE, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
