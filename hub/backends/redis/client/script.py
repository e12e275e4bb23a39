"""Lua scripts, called by their digest.

The first argument of every script is the run id of the server (connection.py); the arguments of the
caller follow.
"""

from __future__ import annotations

import hashlib
from importlib.resources import files
from typing import ClassVar


class Script:
    """A script that joins one or more `lua/*.lua` files of a package.

    Every pipeline loads all scripts first on a new connection. Otherwise a server that does not
    know them (after a restart or a promotion) would refuse the first of several calls and run the
    rest.
    """

    known: ClassVar[list[Script]] = []

    def __init__(self, package: str, *names: str) -> None:
        folder = files(package)
        self.body = "\n".join(folder.joinpath(f"lua/{name}.lua").read_text() for name in names)
        # The protocol identifies a script by its SHA-1; this is no matter of security.
        self.sha = hashlib.sha1(self.body.encode(), usedforsecurity=False).hexdigest()
        self.known.append(self)
