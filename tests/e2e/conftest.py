"""Run `hub dev` as a user does: real processes, a real Valkey and real HTTP on free ports."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.topologies import free_ports

_START_SECONDS = 60.0


class Dev:
    """A running `hub dev`."""

    def __init__(
        self,
        folder: Path,
        *args: str,
        env: Mapping[str, str] | None = None,
        program: Sequence[str | Path] = (sys.executable, "-m", "hub"),
        cwd: Path | None = None,
    ) -> None:
        self.port, self.internal_port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.internal_url = f"http://127.0.0.1:{self.internal_port}"
        self._output = folder / f"dev-{self.port}.log"
        command = [*program, "dev", *args]
        command += ["--port", str(self.port), "--internal-port", str(self.internal_port)]
        with self._output.open("wb") as output:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(env or {})},
                cwd=cwd,
            )

    @property
    def output(self) -> str:
        return self._output.read_text()

    def wait_until_ready(self) -> Dev:
        """Return when it is ready. Kill it, with its child processes, when it does not start."""
        deadline = time.monotonic() + _START_SECONDS
        while "Ctrl-C stops everything" not in self.output:
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.process.kill()  # its child processes end with it
                self.process.wait()
                raise AssertionError(f"hub dev did not start:\n{self.output}")
            time.sleep(0.02)  # a file does not announce that it grows
        return self

    def upstream_url(self) -> str:
        """Return the base URL of the simulated LLM from the output."""
        match = re.search(r"simulated, (http://\S+)/v1", self.output)
        assert match is not None
        return match[1]

    def children(self) -> dict[int, str]:
        """Return the command lines of its child processes by process id."""
        command_lines = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            if parent == self.process.pid:
                command_lines[int(folder.name)] = line
        return command_lines

    def child(self, word: str) -> int:
        """Return the id of the only child process whose command line has this word."""
        (pid,) = (pid for pid, line in self.children().items() if f" {word}" in line)
        return pid

    def stop(self) -> None:
        """Send Ctrl-C, and wait for the end."""
        self.process.send_signal(signal.SIGINT)
        self.process.wait(timeout=60)

    def call(self, method: str, path: str, body: Any = None, *, internal: bool = False) -> Any:
        """Send one request and return the decoded JSON of its response."""
        request = urllib.request.Request(
            (self.internal_url if internal else self.url) + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as response:
            return json.load(response)

    def publish(self, user: str, data: Any, event: str = "notification") -> str:
        """Publish an event and return its cursor."""
        body = {"to": {"user": user}, "event": event, "data": data}
        cursor: str = self.call("POST", "/publish", body, internal=True)["published"][0]["cursor"]
        return cursor


def free_port() -> int:
    """Return a port that no other test uses."""
    return free_ports(1)[0]


@pytest.fixture(scope="session")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    """Share one `hub dev` between the tests that do not change its state."""
    running = Dev(tmp_path_factory.mktemp("dev"), "--tokens-per-second", "60").wait_until_ready()
    yield running
    running.stop()
