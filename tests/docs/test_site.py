"""Build the documentation site, with and without planted problems, and open it in a browser."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, expect

from tests.docs.built_site import build, serve, write_small_site
from tests.docs.snippets import ROOT
from tests.e2e.conftest import free_port


def test_dead_links_fail_the_build(tmp_path: Path) -> None:
    """Zensical reports a link to a page or an anchor that does not exist."""
    page = write_small_site(tmp_path) / "guides" / "chat.md"
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
    docs = write_small_site(tmp_path)
    page = docs / "guides" / "chat.md"
    page.write_text("\n\n".join([page.read_text(), *PLANTED]))
    (docs / "guides" / "omitted.md").write_text("# Omitted\n")
    styles = docs / "styles" / "planted.css"
    styles.write_text(
        "@import 'https://example.com/fonts.css';\np { background: url(nowhere.png) }\n"
    )
    completed = build(tmp_path)
    assert completed.returncode == 1
    assert sorted(completed.stdout.splitlines()) == sorted(
        [
            *(f"guides/chat.html: {problem}" for problem in PLANTED.values() if problem),
            "guides/omitted.html: the page is not in the nav of mkdocs.yml",
            "styles/planted.css: https://example.com/fonts.css: it is fetched from another host",
            "styles/planted.css: nowhere.png: the file does not exist",
        ]
    )


def test_menu_entry_without_a_page_fails_the_build(tmp_path: Path) -> None:
    """A page that mkdocs.yml lists must exist."""
    (write_small_site(tmp_path) / "guides" / "operate.md").unlink()
    (tmp_path / "docs" / "guides" / "chat.md").write_text("# Chat\n")
    completed = build(tmp_path)
    assert completed.returncode == 1
    assert "operate" in completed.stdout


def test_small_site_is_right(tmp_path: Path) -> None:
    """Without a planted problem, the site of the tests above builds."""
    write_small_site(tmp_path)
    completed = build(tmp_path)
    assert completed.returncode == 0, completed.stdout + completed.stderr


def fetch(url: str) -> str:
    """Return the body of a page, or an empty text while the server does not answer."""
    try:
        with urllib.request.urlopen(url, timeout=60) as response:
            return str(response.read().decode())
    except OSError:
        return ""


def wait_for_text(process: subprocess.Popen[str], url: str, text: str) -> None:
    """Wait until the page contains the text. A server that ends is an error."""
    deadline = time.monotonic() + 60
    while text not in fetch(url):
        assert process.poll() is None
        assert time.monotonic() < deadline, f"{url} never contained {text}"
        time.sleep(0.1)


def test_serve_shows_changes(tmp_path: Path) -> None:
    """`scripts/docs serve` shows a page, and its changes, with links for names of pages."""
    page = write_small_site(tmp_path) / "guides" / "operate.md"
    port = free_port()
    url = f"http://127.0.0.1:{port}/guides/operate.html"
    script = str(tmp_path / "scripts" / "build_docs.py")
    command = [sys.executable, script, "serve", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, text=True) as process:
        try:
            wait_for_text(process, url, "The log.")
            page.write_text(f"{page.read_text()}\nA new line names `guides/chat.md`.\n")
            reference = '<a href="chat.html"><code>guides/chat.md</code></a>'
            wait_for_text(process, url, f"A new line names {reference}")
        finally:
            process.terminate()  # Ctrl-C does the same, but a background job of a shell ignores it
    assert process.returncode == 0


@pytest.mark.parametrize("arguments", [["server"], ["serve", "x"], ["serve", "0"], ["a", "b", "c"]])
def test_wrong_arguments_of_docs(arguments: list[str]) -> None:
    """Wrong arguments get the usage and exit code 2."""
    completed = subprocess.run(
        [sys.executable, ROOT / "scripts" / "build_docs.py", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert completed.returncode == 2
    assert completed.stderr == "usage: scripts/docs [serve [PORT]]\n"


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


@pytest.mark.asyncio(loop_scope="module")  # as the browser fixture
async def test_pages_in_a_browser(site_url: str, chromium: Browser) -> None:
    """In Chromium, the start page shows the navigation, and all requests go to its own host."""
    page = await chromium.new_page(viewport={"width": 1280, "height": 860})
    requested_urls: list[str] = []
    page.on("request", lambda request: requested_urls.append(request.url))
    for path in ("index.html", "guides/chat.html"):
        await page.goto(site_url + path, wait_until="networkidle")
        await expect(page.get_by_role("link", name="Guides").first).to_be_visible()
    await page.close()
    assert len(requested_urls) > 5
    assert [each for each in requested_urls if not each.startswith((site_url, "data:"))] == []


def list_pages(site_folder: Path) -> list[str]:
    """Return the paths of all pages."""
    return sorted(file.relative_to(site_folder).as_posix() for file in site_folder.rglob("*.html"))


# Returns what is wrong with the layout of each page at each width: the page or a table is too wide,
# or code in a table takes three lines or more, although it would fit into one line of the page. The
# pages are shown in a frame, whose width is what their style sheets take for the width of the
# window: to navigate and to resize the window takes Chromium twice as long.
_FIND_LAYOUT_PROBLEMS = """async ([urls, widths]) => {
  const frame = document.createElement("iframe");
  frame.style = "border: 0; height: 844px; max-width: none; visibility: hidden";
  document.body.replaceChildren(frame);
  const shown = () => new Promise((done) => frame.contentWindow.requestAnimationFrame(done));
  const problems = [];
  for (const url of urls) {
    await new Promise((done) => Object.assign(frame, { onload: done, src: url }));
    const { contentWindow: page, contentDocument: content } = frame;
    const isTooWide = (element) => element.scrollWidth > page.innerWidth;
    for (const width of widths) {
      frame.style.width = `${width}px`;
      await shown(); // the event "resize" has been handled
      await shown();
      if (page.innerWidth !== width) throw new Error(`${page.innerWidth} instead of ${width}`);
      const space = content.querySelector(".md-content__inner").clientWidth;
      const isSqueezed = (code) => {
        const lines = [...code.getClientRects()];
        const length = lines.reduce((sum, line) => sum + line.width, 0);
        return new Set(lines.map((line) => line.top)).size >= 3 && length < space;
      };
      const wrong = [
        ...[...content.querySelectorAll("html, .md-content table")].filter(isTooWide),
        ...[...content.querySelectorAll("td code")].filter(isSqueezed),
      ];
      problems.push(...wrong.map((each) => [url, width, each.outerHTML.slice(0, 200)]));
    }
  }
  return problems;
}"""
WIDTHS = [1280, 390]  # a desktop and a phone


async def find_layout_problems(site_url: str, chromium: Browser, paths: list[str]) -> list[Any]:
    page = await chromium.new_page()
    await page.goto(f"{site_url}{paths[0]}")
    urls = [site_url + path for path in paths]
    problems: list[Any] = await page.evaluate(_FIND_LAYOUT_PROBLEMS, [urls, WIDTHS])
    await page.close()
    return problems


@pytest.mark.asyncio(loop_scope="module")
async def test_pages_fit_the_screen(site_folder: Path, chromium: Browser) -> None:
    """On a desktop and on a phone no page and no table is too wide, and no table squeezes code.

    The layout needs neither the program of the theme, which takes most of the time, nor pictures.
    The server refuses them, because the browser caches nothing while a test intercepts requests.
    """
    paths = await asyncio.to_thread(list_pages, site_folder)
    assert len(paths) > 50
    with serve(site_folder, refused=re.compile(r"/bundle\.|\.png$")) as url:
        assert await find_layout_problems(url, chromium, paths) == []


@pytest.mark.asyncio(loop_scope="module")
async def test_layout_problems_are_found(tmp_path: Path, chromium: Browser) -> None:
    """A table that is too wide for a phone, and code that a table breaks, are reported."""
    words = " ".join(["word"] * 9)
    for name, content in {
        "wide": "<table><td style='min-width: 600px'>a</table>",
        "squeezed": f"<table><td style='width: 60px'><code>{words}</code></table>",
        "good": "<table><td><code>a</code></table>",
    }.items():
        html = f"<article class='md-content md-content__inner'>{content}</article>"
        (tmp_path / f"{name}.html").write_text(html)
    with serve(tmp_path) as url:
        problems = await find_layout_problems(
            url, chromium, ["wide.html", "squeezed.html", "good.html"]
        )
    layout_problems = {(each.removeprefix(url), width, html[1:6]) for each, width, html in problems}
    assert layout_problems == {
        ("wide.html", 390, "html>"),
        ("wide.html", 390, "table"),
        ("squeezed.html", 1280, "code>"),
        ("squeezed.html", 390, "code>"),
    }


def test_every_page_says_what_it_is_for() -> None:
    """The first paragraph of a page says what the reader gets from it."""
    for page in sorted((ROOT / "docs").rglob("*.md")):
        if page.parent.name == "decisions" or page == ROOT / "docs" / "index.md":
            continue
        _, _, rest = page.read_text().partition("\n\n")
        paragraph = rest.partition("\n\n")[0]
        assert re.search(r"\b[Tt]his (page|guide|tutorial)\b", paragraph), page
