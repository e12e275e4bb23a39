"""How the user of this machine types the command `hub`, for texts that show commands."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Final

_NAMES: Final = ("hub", "ssehub")


def command_name() -> str:
    """Return `hub` if that is this program, else a path from the current directory.

    Another program on the PATH may be called hub as well, and the environment of scripts/dev is not
    on the PATH.
    """
    programs = Path(sys.executable).parent  # not resolved: the interpreter can be a link
    for name in _NAMES:
        program = shutil.which(name)
        if program and Path(program).resolve().parent == programs.resolve():
            return name
    for script in (programs / name for name in _NAMES):
        if script.exists():
            return min(os.path.relpath(script), str(script), key=len)
    return f"{sys.executable} -m hub"
