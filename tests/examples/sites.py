"""Start the examples' pages as their READMEs do, with one `hub dev`.

The files are served unchanged, with the ports that they name. The browser maps those to free ports,
since several test runs may share a machine.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from tests.conftest import missing
from tests.e2e.conftest import Dev, free_port

EXAMPLES = Path(__file__).parents[2] / "examples"
FUNCTIONS = ("handbook", "langgraph_agent", "pydantic_ai_agent")
HUB_PORT = 8080
_NGINX_PATH = "/usr/sbin:/usr/bin:/usr/local/sbin:/opt/homebrew/bin"
_START_TIMEOUT_SECONDS = 60.0
_STOP_TIMEOUT_SECONDS = 60.0


class Sites(NamedTuple):
    """hub: the running hub. ports: the free port for each port that the examples name."""

    hub: Dev
    ports: dict[int, int]

    @property
    def resolver_rules(self) -> str:
        """The value of Chromium's --host-resolver-rules."""
        return ",".join(
            f"MAP 127.0.0.1:{named} 127.0.0.1:{port}" for named, port in self.ports.items()
        )


@contextmanager
def sites(folder: Path) -> Iterator[Sites]:
    """Start the hub and all pages."""
    with ExitStack() as started:
        origins = [f"http://127.0.0.1:{port}" for port in allowed_ports()]
        env = {
            "HUB_PUBLIC__ALLOWED_ORIGINS": json.dumps(origins),
            "HUB_DEFAULT_UPSTREAM": "simulated",
            "HUB_UPSTREAMS": json.dumps(
                {name: {"kind": "function", "target": f"{name}:app"} for name in FUNCTIONS}
            ),
        }
        hub = Dev(folder, "--tokens-per-second", "60", env=env, cwd=EXAMPLES / "functions")
        started.callback(hub.stop)
        running = Sites(hub, {HUB_PORT: hub.port})
        started.enter_context(_npm_start("vue", running))
        started.enter_context(_npm_start("react", running))
        started.enter_context(_nginx(folder, running))
        hub.wait_until_ready()
        yield running


def port_of(example: str) -> int:
    """Return the port of the URL in the example's README."""
    match = re.search(r"<http://127\.0\.0\.1:(\d+)/\?user=alice>", _readme(example))
    assert match is not None
    return int(match[1])


def allowed_ports() -> list[int]:
    """Return the ports of the origins that the READMEs allow."""
    return [_allowed_port(example) for example in ("vue", "react")]


def _allowed_port(example: str) -> int:
    match = re.search(
        r"ALLOWED_ORIGINS='\[\"http://127\.0\.0\.1:(\d+)\"\]' \.venv/bin/hub dev", _readme(example)
    )
    assert match is not None, f"examples/{example}/README.md allows no origin"
    return int(match[1])


def _readme(example: str) -> str:
    return (EXAMPLES / example / "README.md").read_text()


@contextmanager
def _npm_start(example: str, running: Sites) -> Iterator[None]:
    """Run the example's `npm start` on a free port."""
    folder, named = EXAMPLES / example, port_of(example)
    if not (folder / "node_modules").is_dir():
        missing(f"node_modules of examples/{example}")
    script = json.loads((folder / "package.json").read_text())["scripts"]["start"]
    assert str(named) in script
    running.ports[named] = free_port()
    command = shlex.split(script.replace(str(named), str(running.ports[named])))
    program = folder / "node_modules" / ".bin" / command[0]
    if program.exists():
        command[0] = str(program)
    with _process(command, folder, running.ports[named]):
        yield


@contextmanager
def _nginx(folder: Path, running: Sites) -> Iterator[None]:
    """Start nginx for the chat page, with temporary files in a folder of this run."""
    nginx = shutil.which("nginx", path=_NGINX_PATH)
    if nginx is None:
        missing("nginx")
    example, named = EXAMPLES / "chat-page", port_of("chat-page")
    running.ports[named] = free_port()
    text = (example / "nginx.conf").read_text()
    for old, new in {
        f"127.0.0.1:{named}": f"127.0.0.1:{running.ports[named]}",
        f"127.0.0.1:{HUB_PORT}": f"127.0.0.1:{running.ports[HUB_PORT]}",
        "/tmp/": f"{folder}/",
    }.items():
        assert old in text
        text = text.replace(old, new)
    (folder / "nginx.conf").write_text(text)
    command = [nginx, "-p", str(example), "-c", str(folder / "nginx.conf"), "-e", "stderr"]
    with _process(command, example, running.ports[named]):
        yield


@contextmanager
def _process(command: list[str], folder: Path, port: int) -> Iterator[None]:
    """Run a command and its children. Return once it listens on the port."""
    process = subprocess.Popen(
        command,
        cwd=folder,
        stdin=subprocess.PIPE,  # esbuild ends when stdin is closed
        stdout=subprocess.DEVNULL,
        start_new_session=True,  # esbuild's command is a script that starts the program
    )
    try:
        _wait_until_listening(port, process)
        yield
    finally:
        with suppress(ProcessLookupError):  # it could not start
            os.killpg(process.pid, signal.SIGTERM)
        process.communicate(timeout=_STOP_TIMEOUT_SECONDS)


def _wait_until_listening(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            assert process.poll() is None, f"{process.args!r} ended"
            assert time.monotonic() < deadline, f"{process.args!r} does not listen on {port}"
            time.sleep(0.02)
        else:
            return
