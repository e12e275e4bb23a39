"""Where the running `hub dev` can be reached: a small file that the everyday commands look for.

So `hub ask alice …` finds a hub that was started on other ports. The file is the user's own, in
the temporary folder, and counts only while the process that wrote it lives.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec


class DevState(msgspec.Struct, frozen=True):
    """The URLs of the two listeners, and the supervisor's process id."""

    url: str
    internal_url: str
    pid: int


@contextmanager
def write_dev_state(notice: DevState) -> Iterator[None]:
    """The file is there inside the block; the newest `hub dev` wins."""
    path = _path()
    with suppress(OSError):  # a convenience; the URLs are printed too
        path.unlink(missing_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(msgspec.json.encode(notice))
    try:
        yield
    finally:
        if read_dev_state() == notice:
            path.unlink(missing_ok=True)


def read_dev_state() -> DevState | None:
    """The running `hub dev` of this user, if there is one."""
    path = _path()
    try:
        if path.stat().st_uid != os.getuid():
            return None
        notice = msgspec.json.decode(path.read_bytes(), type=DevState)
        os.kill(notice.pid, 0)
    except (OSError, msgspec.DecodeError):
        return None
    return notice


def _path() -> Path:
    return Path(tempfile.gettempdir()) / f"hub-dev-{os.getuid()}.json"
