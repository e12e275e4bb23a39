"""The documentation as a site: it builds without a warning, and asks nobody else for anything."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from playwright.async_api import Browser, expect

from tests.docs.snippets import ROOT

PICTURE = ROOT / "docs" / "images" / "site.png"

# What a browser fetches by itself: not the links that a reader follows.
_FETCHED = re.compile(
    r"""<(?:script|img|iframe|source)[^>]*\bsrc=["']?(?P<src>[^"' >]+)"""
    r"""|<link[^>]*rel=["']?(?:stylesheet|icon|pre\w+)[^>]*href=["']?(?P<href>[^"' >]+)"""
    r"""|(?:url\(|@import\s+)["']?(?P<url>[^"') ]+)"""
)


@pytest.fixture(scope="module")
def site_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built with every warning an error: a dead link, a page or an anchor that is not there."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [Path(sys.executable).parent / "mkdocs", "build", "--strict", "-d", folder],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_nothing_comes_from_another_host(site_folder: Path) -> None:
    """No font, script, style or picture of a page is fetched from elsewhere."""
    looked_at = 0
    for file in site_folder.rglob("*"):
        if file.suffix not in (".html", ".css"):
            continue
        for found in _FETCHED.finditer(file.read_text()):
            looked_at += 1
            address = found["src"] or found["href"] or found["url"]
            assert not re.match(r"(?:https?:)?//", address), f"{file.name} fetches {address}"
    assert looked_at > 100


def test_names_of_pages_are_links(site_folder: Path) -> None:
    """`delivery.md` in backquotes leads there, also from a guide, and also a decision's number."""
    assert (
        '<a href="delivery.html"><code>delivery.md</code></a>'
        in (site_folder / "concepts.html").read_text()
    )
    guide = (site_folder / "guides" / "nodes.html").read_text()
    assert '<a href="../scaling.html"><code>scaling.md</code></a>' in guide
    architecture = (site_folder / "architecture.html").read_text()
    assert re.search(r'<a href="decisions/0006-[^"]+"><code>decisions/0006</code>', architecture)


def test_links_out_of_the_documents_are_names(site_folder: Path) -> None:
    """What is in the repository alone is named, and is no dead link."""
    page = (site_folder / "clients-javascript.html").read_text()
    assert "Vue (<code>examples/vue/README.md</code>)" in page


def test_every_page_can_be_reached(site_folder: Path) -> None:
    """The navigation has them all."""
    start = (site_folder / "index.html").read_text()
    for page in site_folder.rglob("*.html"):
        name = page.relative_to(site_folder).as_posix()
        assert name == "404.html" or f'href="{name}"' in start, f"mkdocs.yml: nav lacks {name}"


class Quiet(SimpleHTTPRequestHandler):
    """Files of a folder, without a log."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name
        """Nothing."""


@pytest.mark.asyncio(loop_scope="module")  # the browser's
async def test_start_page(
    site_folder: Path, chromium: Browser, pytestconfig: pytest.Config
) -> None:
    """In Chromium it shows the parts, and every request goes to where the page is from."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=site_folder)) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/"
        page = await chromium.new_page(viewport={"width": 1280, "height": 860})
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        await page.goto(url, wait_until="networkidle")
        await expect(page.get_by_role("link", name="Quickstart").first).to_be_visible()
        if pytestconfig.getoption("--keep-pictures"):
            await page.screenshot(path=PICTURE)
        await page.goto(f"{url}guides/chat.html", wait_until="networkidle")
        await page.close()
        server.shutdown()
    assert len(asked) > 5
    assert [each for each in asked if not each.startswith((url, "data:"))] == []
