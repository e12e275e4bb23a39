"""The programs of comparable servers that are no part of this repository, and their versions.

`scripts/bench` builds none of them. It runs those that --peer NAME=PATH gives or the PATH has.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

# How each program prints its version.
_VERSION_ARGUMENTS: Final = {"centrifugo": "version", "mercure": "--version"}
NAMES: Final = tuple(_VERSION_ARGUMENTS)
_VERSION_TIMEOUT_SECONDS: Final = 30.0


class Program(msgspec.Struct, frozen=True):
    """An executable and the version that it prints."""

    path: str
    version: str


PROGRAMS: Final[dict[str, Program]] = {}  # of this run, by name; see use_programs


def parse_peer(text: str) -> tuple[str, str]:
    """Return name and path of an argument NAME=PATH of --peer. Raise ArgumentTypeError."""
    name, separator, path = text.partition("=")
    if name not in NAMES or not separator:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=PATH with {' or '.join(NAMES)}")
    executable = shutil.which(path)
    if executable is None:
        raise argparse.ArgumentTypeError(f"{path} is not an executable file")
    return name, str(Path(executable).resolve())


def use_programs(given: Mapping[str, str]) -> None:
    """Fill PROGRAMS with the given programs, and with the others that are on the PATH."""
    PROGRAMS.clear()
    for name in NAMES:
        path = given.get(name) or shutil.which(name)
        if path:
            PROGRAMS[name] = Program(path, read_version(path, _VERSION_ARGUMENTS[name]))


def read_version(path: str, argument: str) -> str:
    """Return the first version number that the program prints; "unknown" if it prints none."""
    completed = subprocess.run(
        [path, argument],
        check=False,
        capture_output=True,
        text=True,
        timeout=_VERSION_TIMEOUT_SECONDS,
    )
    version = re.search(r"\d+\.\d+[\w.-]*", completed.stdout + completed.stderr)
    return version[0] if version else "unknown"
