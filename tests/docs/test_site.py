"""Build the documentation site; check its links and that it loads nothing from other hosts."""

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

# URLs that a browser fetches without a click.
_FETCHED = re.compile(
    r"""<(?:script|img|iframe|source)[^>]*\bsrc=["']?(?P<src>[^"' >]+)"""
    r"""|<link[^>]*rel=["']?(?:stylesheet|icon|pre\w+)[^>]*href=["']?(?P<href>[^"' >]+)"""
    r"""|(?:url\(|@import\s+)["']?(?P<url>[^"') ]+)"""
)


@pytest.fixture(scope="module")
def site_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the site; warnings are errors, such as a dead link or a missing page or anchor."""
    folder = tmp_path_factory.mktemp("site")
    completed = subprocess.run(
        [Path(sys.executable).parent / "mkdocs", "build", "--strict", "-d", folder],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert completed.returncode == 0, completed.stdout + completed.stderr
    return folder


def test_nothing_comes_from_another_host(site_folder: Path) -> None:
    """All fonts, scripts, styles and images of the pages come from the site itself."""
    checked = 0
    for file in site_folder.rglob("*"):
        if file.suffix not in (".html", ".css"):
            continue
        for match in _FETCHED.finditer(file.read_text()):
            checked += 1
            address = match["src"] or match["href"] or match["url"]
            assert not re.match(r"(?:https?:)?//", address), f"{file.name} fetches {address}"
    assert checked > 100


def test_names_of_pages_are_links(site_folder: Path) -> None:
    """`delivery.md` in backquotes becomes a link, also in guides; so does a decision's number."""
    assert (
        '<a href="delivery.html"><code>concepts/delivery.md</code></a>'
        in (site_folder / "concepts" / "overview.html").read_text()
    )
    guide = (site_folder / "guides" / "deploy.html").read_text()
    assert '<a href="scaling.html"><code>guides/scaling.md</code></a>' in guide
    architecture = (site_folder / "contributing" / "architecture.html").read_text()
    anchor = r'<a href="decisions/0006-[^"]+"><code>contributing/decisions/0006</code>'
    assert re.search(anchor, architecture)


def test_links_to_repository_files_are_plain_names(site_folder: Path) -> None:
    """A file that only the repository contains is named without a link."""
    page = (site_folder / "clients" / "javascript.html").read_text()
    assert "Vue (<code>examples/vue/README.md</code>)" in page


def test_every_page_can_be_reached(site_folder: Path) -> None:
    """The navigation lists every page."""
    start = (site_folder / "index.html").read_text()
    for page in site_folder.rglob("*.html"):
        name = page.relative_to(site_folder).as_posix()
        assert name == "404.html" or f'href="{name}"' in start, f"add {name} to nav in mkdocs.yml"


class QuietHandler(SimpleHTTPRequestHandler):
    """Serve the files of a folder without writing a log."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name in the base class
        """Write no log."""


@pytest.mark.asyncio(loop_scope="module")  # as the browser fixture
async def test_start_page(
    site_folder: Path, chromium: Browser, pytestconfig: pytest.Config
) -> None:
    """In Chromium, the start page shows the navigation, and all requests go to its own host."""
    with ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(QuietHandler, directory=site_folder)
    ) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/"
        page = await chromium.new_page(viewport={"width": 1280, "height": 860})
        requested_urls: list[str] = []
        page.on("request", lambda request: requested_urls.append(request.url))
        await page.goto(url, wait_until="networkidle")
        await expect(page.get_by_role("link", name="Quickstart").first).to_be_visible()
        if pytestconfig.getoption("--keep-pictures"):
            await page.screenshot(path=PICTURE)
        await page.goto(f"{url}guides/chat.html", wait_until="networkidle")
        await page.close()
        server.shutdown()
    assert len(requested_urls) > 5
    assert [each for each in requested_urls if not each.startswith((url, "data:"))] == []
