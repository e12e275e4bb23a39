"""Lua scripts, run by their digest.

Every script gets the server's run (wire.py) as its first argument, before those of its caller.
"""

from __future__ import annotations

import hashlib
from importlib.resources import files
from typing import ClassVar


class Script:
    """A script made of a package's `lua/*.lua` files, one after the other.

    Every pipe loads all scripts as the first thing on a new connection: a server that does not know
    them yet (restarted, promoted) would else refuse the first of several calls and run the rest.
    """

    known: ClassVar[list[Script]] = []

    def __init__(self, package: str, *names: str) -> None:
        folder = files(package)
        self.body = "\n".join(folder.joinpath(f"lua/{name}.lua").read_text() for name in names)
        # The digest is the protocol's name for a script, not a matter of security.
        self.sha = hashlib.sha1(self.body.encode(), usedforsecurity=False).hexdigest()
        self.known.append(self)
