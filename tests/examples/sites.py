"""The examples' pages as their READMEs start them, before one `hub dev`.

The files are served as they are, with the ports that they name: it is the browser that finds other
ports behind those, since several runs may share a machine.
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
HUB_PORT = 8080
_NGINX_PATH = "/usr/sbin:/usr/bin:/usr/local/sbin:/opt/homebrew/bin"
_START_SECONDS = 60.0
_STOP_SECONDS = 60.0


class Sites(NamedTuple):
    """The hub, and the free port behind each port that the examples name."""

    hub: Dev
    ports: dict[int, int]

    @property
    def resolver_rules(self) -> str:
        """For Chromium's --host-resolver-rules."""
        return ",".join(
            f"MAP 127.0.0.1:{named} 127.0.0.1:{port}" for named, port in self.ports.items()
        )


@contextmanager
def sites(folder: Path) -> Iterator[Sites]:
    """All of them, until the end."""
    with ExitStack() as started:
        origins = [f"http://127.0.0.1:{port}" for port in allowed_ports()]
        env = {"HUB_PUBLIC__ALLOWED_ORIGINS": json.dumps(origins)}
        hub = Dev(folder, "--tokens-per-second", "60", env=env)
        started.callback(hub.stop)
        running = Sites(hub, {HUB_PORT: hub.port})
        started.enter_context(_npm_start("vue", running))
        started.enter_context(_npm_start("react", running))
        started.enter_context(_nginx(folder, running))
        hub.wait_until_ready()
        yield running


def port_of(example: str) -> int:
    """Where its README says that it is to be opened."""
    found = re.search(r"<http://127\.0\.0\.1:(\d+)/\?user=alice>", _readme(example))
    assert found is not None
    return int(found[1])


def allowed_ports() -> list[int]:
    """Of the origins that the READMEs tell the hub to allow."""
    found = [
        re.search(r"ALLOWED_ORIGINS='\[\"http://127\.0\.0\.1:(\d+)\"\]' hub dev", _readme(example))
        for example in ("vue", "react")
    ]
    return [int(each[1]) for each in found if each]


def _readme(example: str) -> str:
    return (EXAMPLES / example / "README.md").read_text()


@contextmanager
def _npm_start(example: str, running: Sites) -> Iterator[None]:
    """What `npm start` runs there, on a free port."""
    folder, named = EXAMPLES / example, port_of(example)
    if not (folder / "node_modules").is_dir():
        missing(f"what scripts/test installs for examples/{example}")
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
    """The one before the chat page, with its files beside those of other runs."""
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
    """Runs until the end, with what it starts itself; first it listens on the port."""
    process = subprocess.Popen(
        command,
        cwd=folder,
        stdin=subprocess.PIPE,  # esbuild ends when nobody holds it
        stdout=subprocess.DEVNULL,
        start_new_session=True,  # esbuild's command is a script around the program
    )
    try:
        _wait_until_listening(port, process)
        yield
    finally:
        with suppress(ProcessLookupError):  # it could not start
            os.killpg(process.pid, signal.SIGTERM)
        process.communicate(timeout=_STOP_SECONDS)


def _wait_until_listening(port: int, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + _START_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            assert process.poll() is None, f"{process.args!r} ended"
            assert time.monotonic() < until, f"{process.args!r} does not listen on {port}"
            time.sleep(0.02)
        else:
            return
