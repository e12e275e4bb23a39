"""Run `hub dev` as a user does: real processes, a real Valkey and real HTTP on free ports.

All of its processes are forked (tests/forked_hub.py), unless a test names the program to start.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.forked_hub import HubProcess, start_hub
from tests.topologies import free_ports

_START_SECONDS = 120.0


class Dev:
    """A running `hub dev`."""

    def __init__(
        self,
        folder: Path,
        *args: str,
        env: Mapping[str, str] | None = None,
        program: Sequence[str | Path] | None = None,
        cwd: Path | None = None,
    ) -> None:
        self.port, self.internal_port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.internal_url = f"http://127.0.0.1:{self.internal_port}"
        self._output = folder / f"dev-{self.port}.log"
        args = ("dev", *args, "--port", str(self.port), "--internal-port", str(self.internal_port))
        # Valkey may be slow on a busy machine.
        whole_env = {"HUB_REDIS__TIMEOUT_SECONDS": "10", **os.environ, **(env or {})}
        self._process: subprocess.Popen[bytes] | HubProcess
        with self._output.open("wb") as output:
            if program is None:
                self._process = start_hub(*args, env=whole_env, output=output, folder=cwd)
            else:
                self._process = subprocess.Popen(
                    [*program, *args],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=whole_env,
                    cwd=cwd,
                )

    @property
    def output(self) -> str:
        return self._output.read_text()

    def wait_until_ready(self) -> Dev:
        """Return when it is ready. Kill it, with its child processes, when it does not start."""
        deadline = time.monotonic() + _START_SECONDS
        while "Ctrl-C stops everything" not in self.output:
            if self._has_ended() or time.monotonic() > deadline:
                self.kill()  # its child processes end with it
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
            if parent == self._process.pid:
                command_lines[int(folder.name)] = line
        return command_lines

    def child(self, word: str) -> int:
        """Return the id of the only child process whose command line has this word."""
        (pid,) = (pid for pid, line in self.children().items() if f" {word}" in line)
        return pid

    def stop(self) -> None:
        """Send Ctrl-C, and wait for the end."""
        self._process.send_signal(signal.SIGINT)
        self.wait()

    def kill(self) -> None:
        """Kill it, and wait for the end."""
        self._process.kill()
        self.wait()

    def wait(self) -> int:
        """Wait for the end, and return the exit code."""
        if isinstance(self._process, HubProcess):
            return self._process.wait_blocking(60.0)
        return self._process.wait(60.0)

    def _has_ended(self) -> bool:
        if isinstance(self._process, subprocess.Popen):
            self._process.poll()
        return self._process.returncode is not None

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        internal: bool = False,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """Send one request and return the decoded JSON of its response."""
        request = urllib.request.Request(
            (self.internal_url if internal else self.url) + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json", **(headers or {})},
        )
        with urllib.request.urlopen(request, timeout=60) as response:
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
