"""Build the documentation site from a copy of the documents, and serve it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

from tests.docs.snippets import ROOT


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
    (folder / "scripts").mkdir()
    for name in ("mkdocs.yml", "scripts/build_docs.py", "scripts/check_site.py"):
        shutil.copy(ROOT / name, folder / name)
    shutil.copytree(ROOT / "docs", folder / "docs")
    return folder


class QuietHandler(SimpleHTTPRequestHandler):
    """Serve the files of a folder without writing a log."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name in the base class
        """Write no log."""


@contextmanager
def serve(folder: Path) -> Iterator[str]:
    """Serve a folder on a free port; yield the URL."""
    handler = partial(QuietHandler, directory=folder)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
