"""`hub` without the second that its imports take: a process that has them forks for each call.

The documents call it some thirty times. What runs is the command itself, in a process of its own,
with the caller's arguments, environment, folder and files; it ends when the caller does.
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

# A file for both: to sh its second line is exec, to Python a string. (A path with a space in it is
# no shebang.)
CALL = """#!/bin/sh
'''exec' {python} -SE "$0" "$@"
' '''
import json, os, socket, sys
place = socket.socket(socket.AF_UNIX)
place.connect({place!r})
said = json.dumps([sys.argv[1:], dict(os.environ), os.getcwd()]).encode()
socket.send_fds(place, [len(said).to_bytes(4, "big")], [0, 1, 2])
place.sendall(said)
sys.exit((place.recv(1) or b"\\x01")[0])
"""


@contextmanager
def quick_hub(folder: Path) -> Iterator[Path]:
    """A folder with a program `hub`."""
    place, bin_folder = folder / "place", folder / "bin"
    bin_folder.mkdir()
    program = bin_folder / "hub"
    program.write_text(CALL.format(python=shlex.quote(sys.executable), place=str(place)))
    program.chmod(0o755)
    process = subprocess.Popen(
        [sys.executable, __file__, place], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == b"ready\n"
        yield bin_folder
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def serve(place: str) -> None:
    """Forks for each call, until it is killed."""
    import hub.cli
    import hub.cli.answer
    import hub.client
    import hub.settings
    import hub.wiring.node
    import hub.wiring.worker  # noqa: F401 - all of them: so that the calls need not

    listener = socket.socket(socket.AF_UNIX)
    listener.bind(place)
    listener.listen()
    print("ready", flush=True)
    while True:
        caller, _ = listener.accept()
        if os.fork() == 0:  # twice, so that nobody waits for the one that works
            if os.fork() == 0:
                answer(caller)
            os._exit(0)
        os.wait()
        caller.close()


def answer(caller: socket.socket) -> None:
    """One call, in a process of its own."""
    head, files, _, _ = socket.recv_fds(caller, 4, 3)
    said = b""
    while len(said) < int.from_bytes(head, "big"):
        said += caller.recv(65536)
    arguments, environment, folder = json.loads(said)
    for number, file in enumerate(files):
        os.dup2(file, number)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv[1:] = arguments
    threading.Thread(target=_end_with, args=(caller,), daemon=True).start()
    code = 1
    try:
        from hub.cli import run

        run()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:
        sys.stdout.flush()
        caller.send(bytes([code]))
        os._exit(code)


def _end_with(caller: socket.socket) -> None:
    caller.recv(1)
    os._exit(1)


if __name__ == "__main__":
    serve(sys.argv[1])
