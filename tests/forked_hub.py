"""Processes of `hub` that start quickly: a server process imports the hub once and forks for each.

The imports take most of the CPU time of a start, and the tests start a few hundred processes. A
forked process runs the real command line with the arguments, the environment, the folder and the
files of its caller. Tests whose subject is the start itself run `python -m hub`.

start_hub      starts a process that the test sends signals to and waits for
hub_program    the path of a program `hub`, for whatever takes the path of a program

The supervisors (`hub dev` and `hub serve --workers N`) start their child processes with that
program as well. It passes on the files that it has inherited, such as listening sockets.

Each process of pytest has a server. A caller connects to the Unix socket of the server and sends
its files and the call. It receives the process id, and later the exit code. The server kills the
process when its caller disconnects.
"""

from __future__ import annotations

import asyncio
import atexit
import fcntl
import gc
import json
import os
import select
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import IO, Any, Final, NamedTuple

import typer.main

_ROOT: Final = Path(__file__).parents[1]
_SOCKET: Final = "socket"
_NUMBER_BYTES: Final = 4
_MAX_FILES: Final = 16
_IMPORTED: Final = (
    *("hub.cli.doctor", "hub.cli.functions", "hub.client", "uvloop"),
    *("hub.cli.supervisor.dev", "hub.cli.supervisor.multiprocess"),
    *("hub.wiring.node", "hub.wiring.simulated", "hub.wiring.worker"),
)

# A script for sh and Python: its second line is `exec` for sh and a string for Python. A shebang
# with the path of Python would not work, because the path may contain a space.
_PROGRAM: Final = """#!/bin/sh
'''exec' {python} -SE "$0" "$@"
' '''
import json, os, signal, socket, sys
def is_inherited(number):
    try:
        return os.get_inheritable(number)
    except OSError:
        return False
files = [int(name) for name in os.listdir("/dev/fd")]
files = [number for number in sorted(files) if number < 3 or is_inherited(number)]
server = socket.socket(socket.AF_UNIX)
server.connect({socket_path!r})
call = json.dumps([sys.argv[1:], dict(os.environ), os.getcwd(), files]).encode()
socket.send_fds(server, [len(call).to_bytes(4, "big")], files)
server.sendall(call)
process = int.from_bytes(server.recv(4), "big")
with open(os.path.join({folder!r}, str(os.getpid())), "w") as file:
    file.write(str(process))
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, lambda number, frame: os.kill(process, number))
code = int.from_bytes(server.recv(4), "big", signed=True)
if code < 0:
    signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)
sys.exit(code)
"""


class HubProcess:
    """A process of `hub`, with what tests use of the processes of asyncio and subprocess."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self.pid = int.from_bytes(_receive(connection), "big")
        self._code: int | None = None

    @property
    def returncode(self) -> int | None:
        """Return the exit code, or None while the process runs."""
        if self._code is None and self._wait(0):
            self._code = int.from_bytes(_receive(self._connection), "big", signed=True)
            self._connection.close()
        return self._code

    def send_signal(self, number: int) -> None:
        """Send a signal, unless the process has ended."""
        if self.returncode is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send SIGTERM, unless the process has ended."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL, unless the process has ended."""
        self.send_signal(signal.SIGKILL)

    async def wait(self) -> int:
        """Return the exit code when the process has ended."""
        while (code := self.returncode) is None:
            loop, ended = asyncio.get_running_loop(), asyncio.Event()
            with self._connection.dup() as waiting:  # others may wait as well
                loop.add_reader(waiting, ended.set)
                try:
                    await ended.wait()
                finally:
                    loop.remove_reader(waiting)
        return code

    def wait_blocking(self, timeout_seconds: float) -> int:
        """Return the exit code when the process has ended. Raise TimeoutError."""
        if self._code is None:
            self._wait(timeout_seconds)
        code = self.returncode
        if code is None:
            raise TimeoutError(f"the process {self.pid} has not ended in {timeout_seconds} s")
        return code

    def _wait(self, seconds: float) -> bool:
        """Wait until the process has ended, at most so long; return whether it has."""
        ended = select.poll()  # select() would refuse the high numbers of a test with many clients
        ended.register(self._connection, select.POLLIN)
        return bool(ended.poll(seconds * 1000))


def start_hub(
    *args: str, env: Mapping[str, str], output: IO[bytes], folder: Path | None = None
) -> HubProcess:
    """Start `hub` with these arguments.

    env: its whole environment. output: the file for its standard output and error. folder: its
    current directory, by default that of the tests.
    """
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(str(_server_folder() / _SOCKET))
        call = json.dumps([args, dict(env), str(folder or Path.cwd()), [0, 1, 2]]).encode()
        with Path(os.devnull).open("rb") as nothing:
            files = [nothing.fileno(), output.fileno(), output.fileno()]
            socket.send_fds(connection, [len(call).to_bytes(_NUMBER_BYTES, "big")], files)
        connection.sendall(call)
        return HubProcess(connection)
    except BaseException:
        connection.close()
        raise


def hub_program() -> str:
    """Return the path of a program that runs `hub` as start_hub does, and passes signals on."""
    return str(_server_folder() / "hub")


@cache
def _server_folder() -> Path:
    """Start the server, which ends with this process; return the folder of its socket."""
    folder = Path(tempfile.mkdtemp(prefix="hub-fork-"))
    socket_path = str(folder / _SOCKET)
    program = folder / "hub"
    python = shlex.quote(sys.executable)
    program.write_text(_PROGRAM.format(python=python, socket_path=socket_path, folder=str(folder)))
    program.chmod(0o755)
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.forked_hub", socket_path],
        stdin=subprocess.PIPE,  # the server ends when this end of the pipe is closed
        stdout=subprocess.PIPE,
        cwd=_ROOT,
    )
    stdin, stdout = server.stdin, server.stdout
    assert stdin is not None
    assert stdout is not None

    def end() -> None:
        stdin.close()
        server.wait()
        shutil.rmtree(folder, ignore_errors=True)

    atexit.register(end)
    with stdout:
        assert stdout.readline() == b"ready\n"
    return folder


def _receive(connection: socket.socket) -> bytes:
    number = connection.recv(_NUMBER_BYTES, socket.MSG_WAITALL)
    if len(number) < _NUMBER_BYTES:
        raise RuntimeError("the server that forks the processes of `hub` has ended")
    return number


class Call(NamedTuple):
    """What a forked process gets from its caller.

    files: standard input, output and error, and others. numbers: the number that each has in the
    process.
    """

    files: Sequence[int]
    args: Sequence[str]
    env: Mapping[str, str]
    folder: str
    numbers: Sequence[int]


class ForkServer:
    """The server: forks a process for each connection."""

    def __init__(self, socket_path: str) -> None:
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(socket_path)
        self._listener.listen(128)
        self._callers: dict[int, socket.socket] = {}  # by the id of the process
        self._ended, self._wakeup = socket.socketpair()  # readable when a process has ended
        self._wakeup.setblocking(False)
        signal.set_wakeup_fd(self._wakeup.fileno())
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the tests, which end the server

    def serve(self) -> Call:
        """Fork a process for each connection. Return only in the forked processes."""
        while True:
            readers = [sys.stdin, self._listener, self._ended, *self._callers.values()]
            readable, _, _ = select.select(readers, [], [])
            if sys.stdin in readable:
                self._kill(*self._callers)
                sys.exit()
            if self._ended in readable:
                self._ended.recv(4096)
                self._report_ends()
            # A caller sends nothing after its call, so it has disconnected.
            self._kill(*(pid for pid, caller in self._callers.items() if caller in readable))
            if self._listener in readable and (call := self._fork()) is not None:
                return call

    def _fork(self) -> Call | None:
        """Accept a connection, and fork. Return the call in the forked process."""
        caller, _ = self._listener.accept()
        head, files, _, _ = socket.recv_fds(caller, _NUMBER_BYTES, _MAX_FILES)
        call = caller.recv(int.from_bytes(head, "big"), socket.MSG_WAITALL)
        pid = os.fork()
        self._callers[pid] = caller
        if pid == 0:
            self._close()
            return Call(files, *json.loads(call))
        for file in files:
            os.close(file)
        with suppress(OSError):  # the caller may be gone
            caller.sendall(pid.to_bytes(_NUMBER_BYTES, "big"))
        return None

    def _report_ends(self) -> None:
        """Send the exit codes of the processes that have ended."""
        for pid in [*self._callers]:
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                code = os.waitstatus_to_exitcode(status)
                with self._callers.pop(pid) as caller, suppress(OSError):
                    caller.sendall(code.to_bytes(_NUMBER_BYTES, "big", signed=True))

    def _kill(self, *pids: int) -> None:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            self._callers.pop(pid).close()

    def _close(self) -> None:
        """Close the files of the server in a forked process, and handle signals as usual."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for each in (self._listener, self._ended, self._wakeup, *self._callers.values()):
            each.close()


def become(call: Call) -> None:
    """Give this process the files, the arguments, the environment and the folder of the caller."""
    lowest = max(call.numbers) + 1
    files = [fcntl.fcntl(file, fcntl.F_DUPFD_CLOEXEC, lowest) for file in call.files]
    for file in call.files:
        os.close(file)
    for file, number in zip(files, call.numbers, strict=True):
        os.dup2(file, number)
        os.close(file)
    os.environ.clear()
    os.environ.update(call.env)
    os.chdir(call.folder)
    time.tzset()
    tempfile.tempdir = None  # it depends on the environment
    sys.path[0] = call.folder  # as with `python -m hub`
    sys.argv[1:] = call.args


def _fork_children(program: Path) -> None:
    """Let the supervisors of this process start their child processes with the program."""
    from hub.cli.supervisor.child_process import ChildProcess

    start, send_signal = ChildProcess.start, ChildProcess.send_signal

    async def fork(self: ChildProcess) -> Any:
        if [*self._command[:3]] == [sys.executable, "-m", "hub"]:
            self._command = [str(program), *self._command[3:]]
        return await start(self)

    def signal_forked(self: ChildProcess, number: signal.Signals) -> int | None:
        """Send the signal to the forked process: the program cannot pass SIGSTOP on."""
        if self._command[0] != str(program):
            return send_signal(self, number)
        assert self.process is not None
        if self.process.returncode is not None:
            return None
        pid = int(program.with_name(str(self.process.pid)).read_text())
        with suppress(ProcessLookupError):  # it has just ended
            os.kill(pid, number)
        return pid

    ChildProcess.start = fork  # type: ignore[method-assign]
    ChildProcess.send_signal = signal_forked  # type: ignore[method-assign]


def main() -> None:
    """Import what the commands import, and run the server."""
    for name in _IMPORTED:
        import_module(name)
    from hub.cli.app import app, run

    # The commands are built from the signatures of their functions, once for all processes.
    typer.main.get_command = cache(typer.main.get_command)
    typer.main.get_command(app)

    socket_path = Path(sys.argv[1])
    server = ForkServer(str(socket_path))
    gc.collect()
    gc.freeze()  # the forked processes share the memory of all this
    print("ready", flush=True)
    become(server.serve())
    _fork_children(socket_path.with_name("hub"))
    run()


if __name__ == "__main__":
    main()
