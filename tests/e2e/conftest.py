"""`hub dev` as a user starts it: real processes, real Valkey, real HTTP, on free ports."""

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
    """One running `hub dev`."""

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
        """Returns when it has greeted. One that does not is ended, with all its parts."""
        until = time.monotonic() + _START_SECONDS
        while "Ctrl-C stops everything" not in self.output:
            if self.process.poll() is not None or time.monotonic() > until:
                self.process.kill()  # its parts end with it
                self.process.wait()
                raise AssertionError(f"hub dev did not start:\n{self.output}")
            time.sleep(0.02)  # a file that grows tells nobody
        return self

    def upstream_url(self) -> str:
        """The base URL of its simulated LLM, as the greeting tells it."""
        found = re.search(r"simulated, (http://\S+)/v1", self.output)
        assert found is not None
        return found[1]

    def children(self) -> dict[int, str]:
        """The processes that it started, by id, with their command lines."""
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            if parent == self.process.pid:
                found[int(folder.name)] = line
        return found

    def child(self, word: str) -> int:
        """The id of the one process whose command line has the word."""
        (pid,) = (pid for pid, line in self.children().items() if f" {word}" in line)
        return pid

    def stop(self) -> float:
        """Ctrl-C; returns how many seconds it took."""
        begun = time.monotonic()
        self.process.send_signal(signal.SIGINT)
        self.process.wait(timeout=60)
        return time.monotonic() - begun

    def call(self, method: str, path: str, body: Any = None, *, internal: bool = False) -> Any:
        """One HTTP exchange; the decoded answer."""
        request = urllib.request.Request(
            (self.internal_url if internal else self.url) + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def publish(self, user: str, data: Any, event: str = "notification") -> str:
        """Publishes; returns the cursor."""
        body = {"to": {"user": user}, "event": event, "data": data}
        cursor: str = self.call("POST", "/publish", body, internal=True)["published"][0]["cursor"]
        return cursor


def free_port() -> int:
    """A port that no other test has."""
    return free_ports(1)[0]


@pytest.fixture(scope="session")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    """One `hub dev` for the tests that leave it as they found it."""
    running = Dev(tmp_path_factory.mktemp("dev"), "--tokens-per-second", "60").wait_until_ready()
    yield running
    running.stop()
