"""Build the documentation site from a copy of the documents, and serve it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, Final

from tests.docs.snippets import ROOT

SMALL_SITE: Final = {
    "index.md": "# Start\n\nRead [the guide](guides/chat.md).\n",
    "guides/chat.md": "# Chat\n\nSee [what to watch](operate.md#what-to-watch).\n",
    "guides/operate.md": "# Operate\n\n## What to watch\n\nThe log.\n",
}


def build(repository: Path) -> subprocess.CompletedProcess[str]:
    """Build the site as scripts/docs does, from the files of a folder."""
    return subprocess.run(
        [sys.executable, repository / "scripts" / "build_docs.py"],
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )


def copy_documents(folder: Path) -> Path:
    """Copy what the site is made of into a folder."""
    _copy_program(folder)
    shutil.copytree(ROOT / "docs", folder / "docs")
    return folder


def write_small_site(folder: Path) -> Path:
    """Write a site of three pages with the program and the settings of the real one, whose build
    takes many times as long; return the folder of its documents.
    """
    _copy_program(folder)
    settings = folder / "mkdocs.yml"
    head, _, _ = settings.read_text().partition("\nnav:\n")
    menu = "".join(f"  - {page}\n" for page in SMALL_SITE)
    settings.write_text(f"{head}\nnav:\n{menu}")
    docs = folder / "docs"
    shutil.copytree(ROOT / "docs" / "styles", docs / "styles")
    for page, text in SMALL_SITE.items():
        (docs / page).parent.mkdir(parents=True, exist_ok=True)
        (docs / page).write_text(text)
    return docs


def _copy_program(folder: Path) -> None:
    (folder / "scripts").mkdir()
    for name in ("mkdocs.yml", "scripts/build_docs.py", "scripts/check_site.py"):
        shutil.copy(ROOT / name, folder / name)


class QuietHandler(SimpleHTTPRequestHandler):
    """Serve the files of a folder without writing a log.

    refused: the paths that are answered with 404.
    """

    def __init__(self, *args: Any, refused: re.Pattern[str] | None, **options: Any) -> None:
        self._refused = refused
        super().__init__(*args, **options)

    def send_head(self) -> Any:
        """Send the headers, and return the file with the body, or None with an error."""
        if self._refused is not None and self._refused.search(self.path):
            self.send_error(404)
            return None
        return super().send_head()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name in the base class
        """Write no log."""


@contextmanager
def serve(folder: Path, *, refused: re.Pattern[str] | None = None) -> Iterator[str]:
    """Serve a folder on a free port, except for refused paths; yield the URL."""
    handler = partial(QuietHandler, directory=folder, refused=refused)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
