"""Check a built site: check_site.py FOLDER. Print a line for each problem; then exit with 1.

- Every link, image, script and style of the site exists, and so does every anchor.
- A browser fetches nothing from another host.
- No link begins with a slash, because the site may be served below any path.
- No Markdown of a link is left in the text, such as `[name][reference]` without the reference.
- The start page, whose menu lists the pages, leads to every page.

Zensical checks only the links in Markdown, and neither images nor HTML.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import unquote, urlsplit

FETCHED: Final = {
    "script": "src",
    "img": "src",
    "iframe": "src",
    "source": "srcset",
    "link": "href",
}
# `link` elements with other relations name pages and fetch nothing.
FETCHED_RELATIONS: Final = re.compile(r"stylesheet|icon|preload|prefetch|preconnect|modulepreload")
LEFT_MARKDOWN: Final = re.compile(r"[^\s\[]*\][(\[]\S*")
CODE: Final = frozenset({"code", "pre", "script", "style"})
CSS_URL: Final = re.compile(r"(?:url\(|@import\s+)[\"']?([^\"') ]+)")


class Reference(NamedTuple):
    """A URL in a page. is_fetched: a browser loads it without a click."""

    url: str
    is_fetched: bool


class Page(HTMLParser):
    """The ids, the references and the unrecognised Markdown of one page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.references: list[Reference] = []
        self.left_markdown: list[str] = []
        self._code: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Record the id and the URL of an element."""
        if tag in CODE:
            self._code.append(tag)
        values = {name: value or "" for name, value in attrs}
        self.ids |= {values[name] for name in ("id", "name") if values.get(name)}
        url = values.get("href" if tag == "a" else FETCHED.get(tag, ""))
        if url is not None:
            relation = FETCHED_RELATIONS.search(values.get("rel", ""))
            is_fetched = tag != "a" and (tag != "link" or relation is not None)
            self.references.append(Reference(url, is_fetched))
        for match in CSS_URL.finditer(values.get("style", "")):
            self.references.append(Reference(match[1], is_fetched=True))

    def handle_endtag(self, tag: str) -> None:
        """Note the end of code."""
        if self._code and self._code[-1] == tag:
            self._code.pop()

    def handle_data(self, data: str) -> None:
        """Look for Markdown in a text that is not code."""
        if not self._code:
            self.left_markdown += LEFT_MARKDOWN.findall(data)


class Site:
    """The files of a built site."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self.pages = {
            file: Page(file.read_text())
            for file in sorted(self.folder.rglob("*.html"))
            if file.name != "404.html"  # a server sends it for any path, so its links are absolute
        }

    def find_problems(self) -> Iterator[str]:
        """Yield one line for each problem."""
        for file, page in self.pages.items():
            for reference in page.references:
                if problem := self._check(file, reference):
                    yield f"{file.relative_to(self.folder)}: {reference.url}: {problem}"
            for text in page.left_markdown:
                yield f"{file.relative_to(self.folder)}: {text}: the link is not recognised"
        for file in sorted(self.folder.rglob("*.css")):
            for match in CSS_URL.finditer(file.read_text()):
                if problem := self._check(file, Reference(match[1], is_fetched=True)):
                    yield f"{file.relative_to(self.folder)}: {match[1][:80]}: {problem}"
        start = self.folder / "index.html"
        listed = {self._target(start, each.url) for each in self.pages[start].references}
        for file in self.pages:
            if file not in listed | {start}:
                yield f"{file.relative_to(self.folder)}: the page is not in the nav of mkdocs.yml"

    def _target(self, file: Path, url: str) -> Path:
        """Return the file that a relative URL in another file names."""
        path = unquote(urlsplit(url).path)
        target = (file.parent / path).resolve() if path else file
        return target / "index.html" if target.is_dir() else target

    def _check(self, file: Path, reference: Reference) -> str | None:
        """Return what is wrong with a reference, or None."""
        url = urlsplit(reference.url)
        if url.scheme == "data":
            return None
        if url.scheme or url.netloc:
            return "it is fetched from another host" if reference.is_fetched else None
        if url.path.startswith("/"):
            return "it is not relative"
        target = self._target(file, reference.url)
        if not target.is_file() or not target.is_relative_to(self.folder):
            return "the file does not exist"
        has_anchors = target in self.pages and url.fragment
        if has_anchors and unquote(url.fragment) not in self.pages[target].ids:
            return "the anchor does not exist"
        return None


def main(folder: Path) -> int:
    """Print the problems of a site; return the exit code."""
    problems = list(Site(folder).find_problems())
    print("".join(f"{problem}\n" for problem in problems), end="")
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
