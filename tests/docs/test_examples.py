"""Run the examples as a reader would, against a `hub dev`."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import pytest
from playwright.async_api import Browser, expect

from hub_client import HubClient
from tests.conftest import missing
from tests.docs.conftest import Site
from tests.docs.snippets import DOCS, ROOT, runnable_blocks

EXAMPLES = ROOT / "examples"


@contextmanager
def run_program(*command: str | Path, env: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """Run a program during the block, with pipes for its input and output."""
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, **env},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.terminate()  # not kill: nginx would leave its worker processes behind
        process.wait(timeout=60)
        for stream in (process.stdin, process.stdout):
            assert stream is not None
            stream.close()


def read_until(process: subprocess.Popen[str], text: str) -> str:
    """Read the output of a program until it contains a text; return the output."""
    assert process.stdout is not None
    printed = ""
    while text not in printed:
        more = os.read(process.stdout.fileno(), 65536).decode()
        assert more, f"the program ended without {text!r}: {printed}"
        printed += more
    return printed


def test_terminal_chat(site: Site) -> None:
    """Ctrl-C stops only the answer, the next prompt continues the chat, Ctrl-D ends the program."""
    program = EXAMPLES / "terminal_chat.py"
    with run_program(sys.executable, program, "chris", env=site.env) as chat:
        assert chat.stdin is not None
        read_until(chat, "> ")
        chat.stdin.write("count to 500\n")
        chat.stdin.flush()
        read_until(chat, "3")
        chat.send_signal(signal.SIGINT)
        assert read_until(chat, "> ").endswith("\n[stopped]\n> ")
        chat.stdin.write("why is the sky blue?\n")
        chat.stdin.flush()
        assert "Rayleigh" in read_until(chat, "> ")
        chat.stdin.close()
        assert chat.wait(timeout=60) == 0
    answers = site.dev.call("GET", "/users/chris/events?limit=1000", internal=True)["events"]
    started = [each["data"] for each in answers if each["event"] == "generation.started"]
    snapshot = site.dev.call("GET", f"/generations/{started[1]['generation']}?user=chris")
    assert [each["role"] for each in snapshot["messages"]] == ["user", "assistant", "user"]


async def test_long_job(site: Site) -> None:
    """A connected client receives each step; the log keeps only the end."""
    seen: list[tuple[str, int | None]] = []
    async with HubClient(site.dev.url, user="lena") as hub, hub.events(control=True) as events:
        with run_program(sys.executable, EXAMPLES / "long_job.py", "lena", env=site.env) as job:
            async for event in events:
                if event.name.startswith("export."):
                    seen.append((event.name, event.json().get("percent")))
                if event.name == "export.ready":
                    break
            assert await asyncio.to_thread(job.wait, 60) == 0
    assert seen[-2:] == [("export.progress", 100), ("export.ready", None)]
    stored = site.dev.call("GET", "/users/lena/events", internal=True)["events"]
    assert [each["event"] for each in stored] == ["export.ready"]


@pytest.mark.asyncio(loop_scope="module")  # as the browser fixture
async def test_fastapi_backend(site: Site, chromium: Browser) -> None:
    """In a browser, the button ships the order once, and the list shows the notification."""
    env = {"HUB_URL_OF_BROWSERS": f"http://localhost:{site.dev.port}"}
    env["HUB_URL_OF_BACKENDS"] = site.dev.internal_url
    command = ["-m", "uvicorn", "--app-dir", "examples", "fastapi_backend:app", "--log-level"]
    command += ["warning", "--port", str(site.backend_port)]
    with run_program(sys.executable, *command, env=env):
        url = f"http://localhost:{site.backend_port}/?user=flora"
        await asyncio.to_thread(wait_for, url)
        page = await chromium.new_page()
        await page.goto(url)
        await expect(page.get_by_text("connected")).to_be_visible()
        for _ in range(2):
            async with page.expect_response("**/ship") as shipped:
                await page.get_by_role("button").click()
            assert (await shipped.value).ok
            await expect(page.get_by_text("order 981 is on its way")).to_have_count(1)
        cookies = {each["name"]: each for each in await page.context.cookies()}
        await page.close()
    assert cookies["hub_token"]["httpOnly"]
    stored = site.dev.call("GET", "/users/flora/events", internal=True)["events"]
    assert [each["data"] for each in stored] == [{"order": 981}]


def wait_for(url: str) -> None:
    """Wait until the URL answers."""
    deadline = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(url, timeout=60):
                return
        except (urllib.error.URLError, OSError):
            assert time.monotonic() < deadline, f"nothing answers at {url}"
            time.sleep(0.05)


def read_nginx_example() -> str:
    return (EXAMPLES / "nginx.conf").read_text()


def read_nginx_guide() -> str:
    """Return the example with the blocks of the guide instead of its own."""
    text = read_nginx_example()
    servers, location = (
        block.code for block in runnable_blocks(DOCS / "guides" / "proxies.md", "nginx")
    )
    for form, block in (
        (r" +upstream .*?\n    }\n", ""),
        (r" +map .*?\n    }\n", servers),
        (r" +location .*?\n        }\n", location),
    ):
        text, count = re.subn(form, block, text, flags=re.DOTALL)
        assert count == 1
    return text


@pytest.mark.parametrize("read_config", [read_nginx_example, read_nginx_guide])
async def test_nginx(read_config: Callable[[], str], site: Site, tmp_path: Path) -> None:
    """nginx passes each event of an SSE stream and of a WebSocket without delay."""
    nginx = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if nginx is None:
        missing("nginx")
    file = tmp_path / "nginx.conf"
    file.write_text(site.substitutions.apply(read_config().replace("/tmp/", f"{tmp_path}/")))
    with run_program(nginx, "-p", tmp_path, "-c", file, "-e", "stderr", env={}):
        url = f"http://localhost:{site.backend_port}"
        await asyncio.to_thread(wait_for, url)
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(f"{url}/ws/connect/nina") as socket,
            HubClient(url, user="nina") as hub,
            hub.events(control=True) as events,
        ):
            opened = [json.loads(await socket.receive_str()), await anext(events)]
            await asyncio.to_thread(site.dev.publish, "nina", {"n": 1})
            assert json.loads(await socket.receive_str())["data"] == {"n": 1}
            assert (await anext(events)).json() == {"n": 1}
            assert (opened[0]["event"], opened[1].name) == ("hub.open", "hub.open")


@pytest.mark.parametrize("file", sorted(EXAMPLES.iterdir()), ids=lambda file: file.name)
def test_an_example_is_short_and_listed(file: Path) -> None:
    """Each example has at most 80 lines and a link in the README of the examples."""
    if file.is_file() and file.suffix != ".pyc":
        assert len(file.read_text().splitlines()) <= 80
        assert file.name == "README.md" or f"]({file.name})" in (EXAMPLES / "README.md").read_text()
