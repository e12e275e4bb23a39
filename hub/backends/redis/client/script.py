"""Lua scripts, called by their digest.

The first argument of every script is what is known of the server (server_history.py); the arguments
of the caller follow.

Every script declares its flags in its first line. Without them Redis does not check the memory
after the first write of a script, and a DEL at the beginning is allowed when the memory is full.
https://redis.io/docs/latest/develop/programmability/lua-api/#script-flags
"""

from __future__ import annotations

import hashlib
from importlib.resources import files
from typing import ClassVar


class Script:
    """A script that joins one or more `lua/*.lua` files of a package.

    needs_memory: False for a script that also runs when the memory of the server is full, because
        it reads, frees memory, or ends what would wait for it. The server refuses all others then.
    is_repeatable: whether a second execution with the same arguments changes nothing that matters,
        so that a call whose reply was lost may be repeated.

    Every pipeline first loads the scripts that the server of a new connection lacks (after a
    restart or a promotion). Otherwise the server would refuse the first of several calls and run
    the rest.
    """

    known: ClassVar[list[Script]] = []

    def __init__(
        self, package: str, *names: str, needs_memory: bool = True, is_repeatable: bool = False
    ) -> None:
        self.is_repeatable = is_repeatable
        folder = files(package)
        texts = [folder.joinpath(f"lua/{name}.lua").read_text() for name in names]
        self.body = "\n".join(["#!lua" if needs_memory else "#!lua flags=allow-oom", *texts])
        # The protocol identifies a script by its SHA-1; this is no matter of security.
        self.sha = hashlib.sha1(self.body.encode(), usedforsecurity=False).hexdigest()
        self.known.append(self)
