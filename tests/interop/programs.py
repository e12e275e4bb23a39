"""The clients' programs as they run: processes of Python, Node.js and Java, pages of Chromium."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from base64 import b64decode
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from playwright.async_api import Browser, Page, Route, async_playwright

from tests.conftest import missing

ROOT = Path(__file__).parents[2]
JS = Path(__file__).parent / "js"
JARS = Path("/usr/share/java")  # of Debian's libokhttp-java and libasync-http-client-java
_CACHE = ROOT / ".cache" / "interop-classes"
_NETTY = (
    *("buffer", "codec", "codec-http", "codec-socks", "common", "handler", "handler-proxy"),
    *("reactive-streams", "resolver", "transport", "transport-native-unix-common"),
)
_JAR_NAMES = (
    *("okhttp", "okio", "async-http-client", "async-http-client-netty-utils", "reactive-streams"),
    *("slf4j-api", "slf4j-nop"),
    *(f"netty-{name}" for name in _NETTY),
)
_JAVA = ["-Xshare:auto", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]  # starts faster so
_CHROMIUM = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
_PATIENCE_SECONDS = 40.0
_LONGEST_LINE_BYTES = 2**22
_PAGE = """<!doctype html><title>interop</title>
<script type="importmap">{"imports": {"@microsoft/fetch-event-source":
"/interop/node_modules/@microsoft/fetch-event-source/lib/esm/index.js"}}</script>"""

_RUN = """async ([program, asked]) => {
  if (program === "story") return;
  const { stories } = await import("/interop/story.mjs");
  const { run } = await import(`/interop/${program}.mjs`);
  const lines = []; // said together: each call to the test is a message between processes
  const sayThem = () => sayAll(lines.splice(0).join("\\n"));
  const say = (line) => {
    if (lines.push(line) === 1) setTimeout(sayThem, 10);
  };
  for (const story of stories(asked, say)) await run(story);
  await sayThem();
}"""


class Heard(NamedTuple):
    """An event as the client had it."""

    name: str
    id: str | None
    data: str


class Program:
    """One that runs, and what it has said (`python/story.py` has the lines)."""

    def __init__(self, next_line: Callable[[], Awaitable[str]]) -> None:
        self._next_line = next_line
        self.heard: list[Heard] = []
        self.ends: list[str] = []
        self.closed = False
        self.over = False

    def of(self, name: str) -> list[Heard]:
        """The events of this name so far."""
        return [event for event in self.heard if event.name == name]

    def by_generation(self) -> dict[str, list[Heard]]:
        """The answers' events, by the answer, in the order of their beginnings."""
        found: dict[str, list[Heard]] = {}
        for event in self.heard:
            if event.name.startswith("generation."):
                found.setdefault(json.loads(event.data)["generation"], []).append(event)
        return found

    async def until(self, enough: Callable[[Program], object]) -> None:
        """Reads on until `enough(self)`, or the program's end, which must be enough then."""
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while not enough(self):
                line = await self._next_line()
                if not line:
                    self.over = True
                    assert enough(self), f"it ended early: {self!r}"
                    return
                self._take(line)

    async def finished(self) -> None:
        """Reads to the program's end."""
        await self.until(lambda program: program.over)

    def _take(self, line: str) -> None:
        word, *rest = line.rstrip("\n").split(" ")
        if word == "event":
            name, event_id, data = rest
            self.heard.append(Heard(name, None if event_id == "-" else event_id, _text(data)))
        elif word == "end":
            self.ends.append(_text(rest[0]))
        else:
            assert word == "closed", line
            self.closed = True

    def __repr__(self) -> str:
        last = [(event.name, event.data[:200]) for event in self.heard[-3:]]
        return f"{len(self.heard)} events, ..., {last}, ends {self.ends}, closed {self.closed}"


def _text(word: str) -> str:
    return b64decode(word, validate=True).decode()


@asynccontextmanager
async def process(command: Sequence[str]) -> AsyncIterator[Program]:
    """A program of its own process; what it complains of is shown when it fails."""
    started = await asyncio.create_subprocess_exec(
        *command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, cwd=ROOT,
        limit=_LONGEST_LINE_BYTES,
    )  # fmt: skip
    output = started.stdout
    assert output is not None

    async def next_line() -> str:
        return (await output.readline()).decode()

    try:
        yield Program(next_line)
    finally:
        if started.returncode is None:
            try:
                started.kill()
            except ProcessLookupError:
                pass
        await started.wait()


def python(program: str, *arguments: str) -> list[str]:
    """The command."""
    return [sys.executable, "-m", f"tests.interop.python.{program}", *arguments]


def node(program: str, *arguments: str) -> list[str]:
    """The command."""
    binary = shutil.which("node")
    if binary is None or not (JS / "node_modules").is_dir():
        missing("Node.js, with what scripts/test installs for tests/interop,")
    return [binary, str(JS / "run.mjs"), program, *arguments]


def java(program: str, *arguments: str) -> list[str]:
    """The command."""
    return ["java", *_JAVA, "-cp", f"{_classes()}:{_class_path()}", program, *arguments]


def compile_java() -> None:
    """All programs at once, unless that has been done since they were changed; several processes
    may do so at the same time.
    """
    jars = [JARS / f"{name}.jar" for name in _JAR_NAMES]
    absent = [jar.name for jar in jars if not jar.exists()]
    if shutil.which("javac") is None or absent:
        missing(f"a JDK with libokhttp-java and libasync-http-client-java ({absent})")
    if _classes().exists():
        return
    fresh = _classes().with_name(f"{_classes().name}-{os.getpid()}")
    command = ["javac", "-d", str(fresh), "-cp", _class_path(), *map(str, _sources())]
    subprocess.run(command, check=True, timeout=120)
    try:
        fresh.rename(_classes())
    except OSError:
        shutil.rmtree(fresh)  # another process was faster


@cache
def _classes() -> Path:
    """A folder for each state of the sources."""
    return _CACHE / sha256(b"".join(each.read_bytes() for each in _sources())).hexdigest()[:12]


def _sources() -> list[Path]:
    return sorted((Path(__file__).parent / "java").glob("*.java"))


def _class_path() -> str:
    return ":".join(str(JARS / f"{name}.jar") for name in _JAR_NAMES)


class Chromium:
    """The distribution's browser; each program is a page of its own, at the hub's own origin."""

    def __init__(self, browser: Browser) -> None:
        self.browser = browser

    @asynccontextmanager
    async def tab(self, cookies: Any = ()) -> AsyncIterator[Page]:
        """An empty one with cookies of its own, for which the files here are at `/interop/`."""
        async with await self.browser.new_context() as context:
            await context.add_cookies(list(cookies))
            await context.route("**/interop/**", _serve)
            yield await context.new_page()

    @asynccontextmanager
    async def page(self, program: str, cookies: Any = (), **asked: Any) -> AsyncIterator[Any]:
        """The program and its page."""
        async with self.tab(cookies) as page:
            lines = asyncio.Queue[str]()

            def heard(text: str) -> None:
                for line in filter(None, text.split("\n")):
                    lines.put_nowait(line)

            await page.expose_function("sayAll", heard)
            await page.goto(f"{asked['url']}/interop/page.html")
            running = asyncio.ensure_future(
                page.evaluate(
                    _RUN,
                    [program, asked],
                )
            )
            running.add_done_callback(lambda _: lines.put_nowait(""))
            yield Program(lines.get), page
            if running.done():
                running.result()
            running.cancel()


@asynccontextmanager
async def chromium() -> AsyncIterator[Chromium]:
    """Started once for all pages."""
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None or not (JS / "node_modules").is_dir():
        missing("Chromium, with what scripts/test installs for tests/interop,")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=_CHROMIUM)
        yield Chromium(browser)
        await browser.close()


async def _serve(route: Route) -> None:
    """The page and its modules, as files of the hub's own origin would be."""
    name = route.request.url.partition("/interop/")[2].partition("?")[0]
    if name == "page.html":
        await route.fulfill(body=_PAGE, content_type="text/html")
        return
    file = JS / name
    if not file.suffix:
        file = file.with_suffix(".js")  # `import "./parse"`, as bundlers take it
    if file.suffix == ".jsx":
        body = await asyncio.to_thread(_bundled, file)
    else:
        body = file.read_text()
    kind = "text/html" if file.suffix == ".html" else "text/javascript"
    await route.fulfill(body=body, content_type=kind)


@cache
def _bundled(file: Path) -> str:
    """With all that it imports, in one module."""
    esbuild = JS / "node_modules" / ".bin" / "esbuild"
    command = [str(esbuild), str(file), "--bundle", "--format=esm", "--jsx=automatic"]
    made = subprocess.run(command, check=True, timeout=60, stdout=subprocess.PIPE, text=True)
    return made.stdout
