"""Build the documentation site, with and without planted problems, and open it in a browser."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from playwright.async_api import Browser, expect

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


@pytest.fixture(scope="module")
def site_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the site. A problem such as a dead link fails the build."""
    repository = copy_documents(tmp_path_factory.mktemp("repository"))
    completed = build(repository)
    assert completed.returncode == 0, completed.stdout + completed.stderr
    return repository / ".cache" / "docs" / "site"


def test_dead_links_fail_the_build(tmp_path: Path) -> None:
    """Zensical reports a link to a page or an anchor that does not exist."""
    page = copy_documents(tmp_path) / "docs" / "guides" / "chat.md"
    dead = '[a](nowhere.md) [b](operate.md#nowhere) [c](#nowhere) <a href="#nowhere">d</a>'
    page.write_text(f"{page.read_text()}\n{dead}\n")
    completed = build(tmp_path)
    assert completed.returncode == 1
    assert re.findall(r"Warning: (.+)\n.*\[ (.+?):", completed.stdout) == [
        ("page does not exist", "guides/chat.md"),
        *[("anchor does not exist", "guides/chat.md")] * 3,
    ]


PLANTED = {
    "![a](../images/nowhere.png)": "../images/nowhere.png: the file does not exist",
    '<a href="nowhere.html">b</a>': "nowhere.html: the file does not exist",
    '<a href="operate.html#nowhere">c</a>': "operate.html#nowhere: the anchor does not exist",
    '<a href="/guides/operate.html">e</a>': "/guides/operate.html: it is not relative",
    "[f][nowhere]": "f][nowhere]: the link is not recognised",
    "[g] (operate.md)": "",
    "[h](operate.md": "h](operate.md: the link is not recognised",
    "![i](https://example.com/i.png)": "https://example.com/i.png: it is fetched from another host",
    '<img src="//example.com/j.png">': "//example.com/j.png: it is fetched from another host",
    '<picture><source srcset="https://example.com/n.png"></picture>': (
        "https://example.com/n.png: it is fetched from another host"
    ),
    '<script src="http://example.com/k.js"></script>': (
        "http://example.com/k.js: it is fetched from another host"
    ),
    '<p style="background: url(https://example.com/l.png)">l</p>': (
        "https://example.com/l.png: it is fetched from another host"
    ),
    '<a href="https://example.com/">m</a>': "",  # a click leads to another site
}


def test_problems_of_the_finished_pages_fail_the_build(tmp_path: Path) -> None:
    """Images, HTML, other hosts, Markdown that is no link, and pages that the menu omits."""
    docs = copy_documents(tmp_path) / "docs"
    page = docs / "guides" / "chat.md"
    page.write_text("\n\n".join([page.read_text(), *PLANTED]))
    (docs / "guides" / "omitted.md").write_text("# Omitted\n")
    styles = docs / "images" / "planted.css"
    styles.write_text(
        "@import 'https://example.com/fonts.css';\np { background: url(nowhere.png) }\n"
    )
    completed = build(tmp_path)
    assert completed.returncode == 1
    assert sorted(completed.stdout.splitlines()) == sorted(
        [
            *(f"guides/chat.html: {problem}" for problem in PLANTED.values() if problem),
            "guides/omitted.html: the page is not in the nav of mkdocs.yml",
            "images/planted.css: https://example.com/fonts.css: it is fetched from another host",
            "images/planted.css: nowhere.png: the file does not exist",
        ]
    )


def test_menu_entry_without_a_page_fails_the_build(tmp_path: Path) -> None:
    """A page that mkdocs.yml lists must exist."""
    (copy_documents(tmp_path) / "docs" / "compare" / "nchan.md").unlink()
    completed = build(tmp_path)
    assert completed.returncode == 1
    assert "nchan" in completed.stdout


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


class QuietHandler(SimpleHTTPRequestHandler):
    """Serve the files of a folder without writing a log."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name in the base class
        """Write no log."""


@pytest.mark.asyncio(loop_scope="module")  # as the browser fixture
async def test_start_page(site_folder: Path, chromium: Browser) -> None:
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
        await page.goto(f"{url}guides/chat.html", wait_until="networkidle")
        await page.close()
        server.shutdown()
    assert len(requested_urls) > 5
    assert [each for each in requested_urls if not each.startswith((url, "data:"))] == []
