"""A real PostgreSQL for tests: one server per process, on a socket in a temporary folder.

The programs are those of Debian's package `postgresql`, or whatever is on the PATH. initdb and
postgres refuse root, so that they run as another user there. The system's own server is not used.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import pytest

_SETTINGS: Final = {
    "listen_addresses": "",
    "fsync": "off",  # a killed process loses nothing that it has written
    "full_page_writes": "off",
    "shared_buffers": "16MB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "min_wal_size": "32MB",
    "autovacuum_naptime": "5s",
}
_START_SECONDS: Final = 60.0


def find_programs() -> Path | None:
    """Return the folder of initdb and postgres, or None."""
    folders = sorted(
        Path("/usr/lib/postgresql").glob("*/bin"), key=lambda each: int(each.parent.name)
    )
    if (program := shutil.which("initdb")) is not None:
        folders.append(Path(program).resolve().parent)
    complete = [
        each for each in folders if (each / "initdb").exists() and (each / "postgres").exists()
    ]
    return complete[-1] if complete else None


class PostgresServer:
    """One server, which can be killed, paused and started again. folder: an empty one with a short
    path, which the server's user can enter.
    """

    def __init__(self, folder: Path) -> None:
        programs = find_programs()
        if programs is None:
            message = "there is no PostgreSQL (Debian: apt-get install postgresql)"
            if os.environ.get("CI") == "true":
                pytest.fail(message)
            pytest.skip(message)
        self._programs = programs
        self._data = folder / "data"
        self.socket = folder / "socket"
        self._log = folder / "log"
        self._as_user = unprivileged_user()
        for each in (self._data, self.socket):
            each.mkdir(mode=0o700)
        self._log.touch()
        if self._as_user:
            uid, gid = self._as_user["user"], self._as_user["group"]
            for each in (folder, self._data, self.socket, self._log):
                os.chown(each, uid, gid)
        self.process: subprocess.Popen[bytes] | None = None
        self._databases = 0
        self._children: list[str] = []
        self._run(
            *("initdb", "--pgdata", str(self._data), "--username", "postgres", "--no-sync"),
            *("--auth", "trust", "--encoding", "UTF8", "--no-locale"),
        )
        try:
            self.start()
        except BaseException:
            self.kill()
            raise

    def start(self) -> None:
        """Start the server, and return when it accepts connections."""
        deadline = time.monotonic() + _START_SECONDS
        self.process = self._start()
        while not self._is_ready():
            if time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL did not start:\n{self._log.read_text()}")
            if self.process.poll() is not None:  # a session of the one before is still ending
                self.process = self._start()
            time.sleep(0.02)

    def _start(self) -> subprocess.Popen[bytes]:
        options = [word for each in _SETTINGS.items() for word in ("-c", "=".join(each))]
        program = str(self._programs / "postgres")
        with self._log.open("ab") as log:
            return subprocess.Popen(
                [program, "-D", str(self._data), "-k", str(self.socket), *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                **self._as_user,
            )

    def kill(self) -> None:
        """Kill all processes of the server, as a crash of the machine does."""
        if self.process is not None and self.process.poll() is None:
            self._signal_all(signal.SIGSTOP)  # it starts no others meanwhile
            self._signal_all(signal.SIGKILL)
            self.process.wait()
            self.process = None

    def stop(self, signum: signal.Signals = signal.SIGINT) -> None:
        """Shut the server down; SIGINT ends the sessions."""
        if self.process is not None:
            self.process.send_signal(signum)
            self.process.wait()
            self.process = None

    def pause(self, paused: bool) -> None:
        """Pause all processes of the server, or let them continue."""
        self._signal_all(signal.SIGSTOP if paused else signal.SIGCONT)

    def _signal_all(self, signum: signal.Signals) -> None:
        """Send a signal to the server and to its sessions."""
        assert self.process is not None
        pid = self.process.pid
        os.kill(pid, signum)
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        if signum == signal.SIGKILL:
            children = self._children
        self._children = children
        for child in children:
            with suppress(ProcessLookupError):
                os.kill(int(child), signum)

    def create_database(self) -> str:
        """Return the URL of a new database."""
        self._databases += 1
        name = f"test{self._databases}"
        self.execute(f"CREATE DATABASE {name}")
        return self.url(name)

    def url(self, database: str, *, user: str = "postgres") -> str:
        """Return the URL of a database."""
        return f"postgresql://{user}@/{database}?host={quote(str(self.socket), safe='')}"

    def execute(self, *statements: str, database: str = "postgres") -> str:
        """Run statements, each in a transaction of its own, and return what psql prints."""
        words = [word for statement in statements for word in ("-c", statement)]
        return self._run(
            *("psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", str(self.socket)),
            *("-U", "postgres", "-d", database, *words),
        )

    def _is_ready(self) -> bool:
        """Return whether the file of the server says that it is ready."""
        try:
            lines = (self._data / "postmaster.pid").read_text().split()
        except OSError:
            return False
        assert self.process is not None
        return lines[:1] == [str(self.process.pid)] and lines[-1] == "ready"

    def _run(self, program: str, *arguments: str) -> str:
        done = subprocess.run(
            [str(self._programs / program), *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
            **self._as_user,
        )
        assert done.returncode == 0, done.stderr
        return str(done.stdout)


def unprivileged_user() -> dict[str, Any]:
    """Return the arguments of Popen that make a process of root one of another user."""
    if os.geteuid() != 0:
        return {}
    names = {each.pw_name for each in pwd.getpwall()}
    entry = pwd.getpwnam("postgres" if "postgres" in names else "nobody")
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
