"""A `hub` command that starts quickly: a server process imports the hub once and forks per call.

The documents run the command about thirty times, and the imports take a second. The forked
process runs the real command with the arguments, the environment, the folder and the files of the
caller. It ends when the caller ends.
"""

from __future__ import annotations

import json
import os
import shlex
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# A script for sh and Python: its second line is `exec` for sh and a string for Python. A shebang
# with the path of Python would not work, because the path may contain a space.
CALL = """#!/bin/sh
'''exec' {python} -SE "$0" "$@"
' '''
import json, os, socket, sys
server = socket.socket(socket.AF_UNIX)
server.connect({socket_path!r})
call = json.dumps([sys.argv[1:], dict(os.environ), os.getcwd()]).encode()
socket.send_fds(server, [len(call).to_bytes(4, "big")], [0, 1, 2])
server.sendall(call)
sys.exit((server.recv(1) or b"\\x01")[0])
"""


@contextmanager
def quick_hub(folder: Path) -> Iterator[Path]:
    """Run the server process; yield a folder that contains the program `hub`."""
    socket_path, bin_folder = folder / "socket", folder / "bin"
    bin_folder.mkdir()
    program = bin_folder / "hub"
    program.write_text(
        CALL.format(python=shlex.quote(sys.executable), socket_path=str(socket_path))
    )
    program.chmod(0o755)
    process = subprocess.Popen(
        [sys.executable, __file__, socket_path], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == b"ready\n"
        yield bin_folder
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def serve(socket_path: str) -> None:
    """Fork a process for each call, until this process is killed."""
    import hub_client.client  # noqa: F401 - imported here so that the calls do not have to

    listener = socket.socket(socket.AF_UNIX)
    listener.bind(socket_path)
    listener.listen()
    print("ready", flush=True)
    while True:
        caller, _ = listener.accept()
        if (
            os.fork() == 0
        ):  # fork twice, so that no process has to wait for the one that runs the command
            if os.fork() == 0:
                run_command(caller)
            os._exit(0)
        os.wait()
        caller.close()


def run_command(caller: socket.socket) -> None:
    """Run one command in this process, and end the process."""
    head, files, _, _ = socket.recv_fds(caller, 4, 3)
    call = b""
    while len(call) < int.from_bytes(head, "big"):
        call += caller.recv(65536)
    arguments, environment, folder = json.loads(call)
    for number, file in enumerate(files):
        os.dup2(file, number)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv[1:] = arguments
    threading.Thread(target=_exit_with_caller, args=(caller,), daemon=True).start()
    code = 1
    try:
        from hub.cli import run

        run()
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    finally:
        sys.stdout.flush()
        caller.send(bytes([code]))
        os._exit(code)


def _exit_with_caller(caller: socket.socket) -> None:
    caller.recv(1)
    os._exit(1)


if __name__ == "__main__":
    serve(sys.argv[1])
