"""Run the programs of the clients: processes of Python, Node.js and Java, and pages of Chromium."""

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

from playwright.async_api import Browser, Page, Route

from tests.chromium import open_chromium
from tests.conftest import missing

ROOT = Path(__file__).parents[2]
JS = Path(__file__).parent / "js"
PYTHON = Path(__file__).parent / "python"
JARS = Path("/usr/share/java")  # installed by Debian's libokhttp-java and libasync-http-client-java
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
_JAVA = ["-Xshare:auto", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]  # for a faster start
_TIMEOUT_SECONDS = 90.0  # a guard against hanging, not a measure: the machine may be busy
_MAX_LINE_BYTES = 2**22
_PAGE = """<!doctype html><title>interop</title>
<script type="importmap">{"imports": {"@microsoft/fetch-event-source":
"/interop/node_modules/@microsoft/fetch-event-source/lib/esm/index.js"}}</script>"""

_RUN = """async ([program, options]) => {
  if (program === "none") return;
  const { parseScenarios } = await import("/interop/scenario.mjs");
  const { run } = await import(`/interop/${program}.mjs`);
  const lines = []; // sent in batches: each call to the test is a message between processes
  const sendLines = () => reportLines(lines.splice(0).join("\\n"));
  const print = (line) => {
    if (lines.push(line) === 1) setTimeout(sendLines, 10);
  };
  for (const scenario of parseScenarios(options, print)) await run(scenario);
  await sendLines();
}"""


class Event(NamedTuple):
    """An event as the client received it."""

    name: str
    id: str | None
    data: str


class Program:
    """A running program and its printed events (see `python/scenario.py` for the format)."""

    def __init__(self, next_line: Callable[[], Awaitable[str]]) -> None:
        self._next_line = next_line
        self.events: list[Event] = []
        self.ends: list[str] = []
        self.closed = False
        self.ended = False

    def named(self, name: str) -> list[Event]:
        """Return the received events of this name."""
        return [event for event in self.events if event.name == name]

    def by_generation(self) -> dict[str, list[Event]]:
        """Return the events of each generation, in the order of the first events."""
        generations: dict[str, list[Event]] = {}
        for event in self.events:
            if event.name.startswith("generation."):
                generations.setdefault(json.loads(event.data)["generation"], []).append(event)
        return generations

    async def until(
        self, condition: Callable[[Program], object], timeout_seconds: float = _TIMEOUT_SECONDS
    ) -> None:
        """Read lines until the condition holds; it must hold at the end of the program."""
        async with asyncio.timeout(timeout_seconds):
            while not condition(self):
                line = await self._next_line()
                if not line:
                    self.ended = True
                    assert condition(self), f"the program ended early: {self!r}"
                    return
                self._on_line(line)

    async def wait_finished(self, timeout_seconds: float = _TIMEOUT_SECONDS) -> None:
        """Read all lines until the program ends."""
        await self.until(lambda program: program.ended, timeout_seconds)

    def _on_line(self, line: str) -> None:
        word, *rest = line.rstrip("\n").split(" ")
        if word == "event":
            name, event_id, data = rest
            self.events.append(Event(name, None if event_id == "-" else event_id, _text(data)))
        elif word == "end":
            self.ends.append(_text(rest[0]))
        else:
            assert word == "closed", line
            self.closed = True

    def __repr__(self) -> str:
        last = [(event.name, event.data[:200]) for event in self.events[-3:]]
        return f"{len(self.events)} events, ..., {last}, ends {self.ends}, closed {self.closed}"


def _text(word: str) -> str:
    return b64decode(word, validate=True).decode()


@asynccontextmanager
async def run_process(command: Sequence[str]) -> AsyncIterator[Program]:
    """Run a program in a process; its standard error is shown if the test fails."""
    started = await asyncio.create_subprocess_exec(
        *command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, cwd=ROOT,
        limit=_MAX_LINE_BYTES,
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


def python_command(program: str, *arguments: str) -> list[str]:
    """Return the command of a Python program."""
    return [sys.executable, "-m", f"tests.interop.python.{program}", *arguments]


def node_command(program: str, *arguments: str) -> list[str]:
    """Return the command of a Node.js program."""
    binary = shutil.which("node")
    if binary is None or not (JS / "node_modules").is_dir():
        missing("Node.js, with the packages that scripts/test installs for tests/interop,")
    return [binary, str(JS / "run.mjs"), program, *arguments]


def script_command(program: str, *arguments: str) -> list[str]:
    """Return the command of a Python program with packages of its own (PEP 723).

    scripts/test installs them with `uv sync --script`.
    """
    file = str(PYTHON / f"{program}.py")
    local = ROOT / ".cache" / "uv" / "bin" / "uv"
    uv = str(local) if local.exists() else shutil.which("uv") or "uv"
    try:
        interpreter = subprocess.check_output([uv, "python", "find", "--script", file], text=True)
    except (OSError, subprocess.CalledProcessError):
        interpreter = ""
    if program.replace("_", "-") not in interpreter:  # in the name of its environment
        missing(f"the packages that scripts/test installs for {program}.py")
    return [interpreter.strip(), "-m", f"tests.interop.python.{program}", *arguments]


def codex_binary() -> str:
    """Return the path of Codex CLI, without the program of Node.js that starts it."""
    for binary in (JS / "node_modules" / "@openai").glob("codex-*/vendor/*/bin/codex"):
        return str(binary)
    return missing("Codex CLI, which scripts/test installs for tests/interop,")


def java_command(program: str, *arguments: str) -> list[str]:
    """Return the command of a Java program."""
    return ["java", *_JAVA, "-cp", f"{_classes()}:{_class_path()}", program, *arguments]


def compile_java() -> None:
    """Compile all Java programs, unless this state of the sources is already compiled.

    Several processes may do so at the same time.
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
        shutil.rmtree(fresh)  # another process has compiled them


@cache
def _classes() -> Path:
    """Return the folder of the classes; its name is a hash of the sources."""
    return _CACHE / sha256(b"".join(each.read_bytes() for each in _sources())).hexdigest()[:12]


def _sources() -> list[Path]:
    return sorted((Path(__file__).parent / "java").glob("*.java"))


def _class_path() -> str:
    return ":".join(str(JARS / f"{name}.jar") for name in _JAR_NAMES)


class Chromium:
    """The browser; each program runs in its own page, at the origin of the hub."""

    def __init__(self, browser: Browser) -> None:
        self.browser = browser

    @asynccontextmanager
    async def tab(self, cookies: Any = ()) -> AsyncIterator[Page]:
        """Open a tab with its own cookies; the files of this folder are at `/interop/`."""
        async with await self.browser.new_context() as context:
            await context.add_cookies(list(cookies))
            await context.route("**/interop/**", _serve)
            yield await context.new_page()

    @asynccontextmanager
    async def page(self, program: str, cookies: Any = (), **options: Any) -> AsyncIterator[Any]:
        """Run a program in a page; yield the program and the page."""
        async with self.tab(cookies) as page:
            lines = asyncio.Queue[str]()

            def on_lines(text: str) -> None:
                for line in filter(None, text.split("\n")):
                    lines.put_nowait(line)

            await page.expose_function("reportLines", on_lines)
            await page.goto(f"{options['url']}/interop/page.html")
            running = asyncio.ensure_future(
                page.evaluate(
                    _RUN,
                    [program, options],
                )
            )
            running.add_done_callback(lambda _: lines.put_nowait(""))
            yield Program(lines.get), page
            if running.done():
                running.result()
            running.cancel()


@asynccontextmanager
async def chromium() -> AsyncIterator[Chromium]:
    """Start the browser."""
    if not (JS / "node_modules").is_dir():
        missing("the JavaScript packages that scripts/test installs for tests/interop")
    async with open_chromium() as browser:
        yield Chromium(browser)


async def _serve(route: Route) -> None:
    """Serve the page and its modules as files of the origin of the hub."""
    name = route.request.url.partition("/interop/")[2].partition("?")[0]
    if name == "page.html":
        await route.fulfill(body=_PAGE, content_type="text/html")
        return
    file = JS / name
    if not file.suffix:
        file = file.with_suffix(".js")  # `import "./parse"`, as bundlers allow it
    if file.suffix == ".jsx":
        body = await asyncio.to_thread(_bundle, file)
    else:
        body = file.read_text()
    kind = "text/html" if file.suffix == ".html" else "text/javascript"
    await route.fulfill(body=body, content_type=kind)


@cache
def _bundle(file: Path) -> str:
    """Return one module with the file and everything it imports."""
    esbuild = JS / "node_modules" / ".bin" / "esbuild"
    command = [str(esbuild), str(file), "--bundle", "--format=esm", "--jsx=automatic"]
    completed = subprocess.run(command, check=True, timeout=60, stdout=subprocess.PIPE, text=True)
    return completed.stdout
