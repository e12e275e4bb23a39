"""Where the running `hub dev` can be reached: the text that it prints, and its state file.

The client commands read the state file, so that `hub ask alice …` finds a hub on other ports than
the default ones. The file belongs to the user, is in the temporary directory, and counts only while
the process that wrote it runs.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from hub.wiring.command_name import command_name


class DevState(msgspec.Struct, frozen=True):
    """The URLs of the two listeners, and the process id of the supervisor."""

    url: str
    internal_url: str
    pid: int


@contextmanager
def write_dev_state(state: DevState) -> Iterator[None]:
    """Keep the state file inside the block. The newest `hub dev` overwrites the others."""
    path = _state_path()
    with suppress(OSError):  # the file is a convenience: the URLs are printed, too
        path.unlink(missing_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(msgspec.json.encode(state))
    try:
        yield
    finally:
        if read_dev_state() == state:
            path.unlink(missing_ok=True)


def read_dev_state() -> DevState | None:
    """Return the state of this user's running `hub dev`, or None."""
    if sys.platform == "win32":
        return None  # `hub dev` does not run there
    path = _state_path()
    try:
        if path.stat().st_uid != os.getuid():
            return None
        state = msgspec.json.decode(path.read_bytes(), type=DevState)
        os.kill(state.pid, 0)
    except (OSError, msgspec.DecodeError):
        return None
    return state


def ready_text(state: DevState, *, llm: str, data: str) -> str:
    """Return the text that `hub dev` prints when it is ready."""
    body = '{"to":{"user":"alice"},"data":{"title":"Hello"}}'
    publish_url, json_header = f"{state.internal_url}/publish", "Content-Type: application/json"
    return f"""
  hub dev is ready. It listens on loopback only and needs no token.

  page      {state.url}/
  stream    curl -N {state.url}/sse/connect/alice
  publish   curl -X POST {publish_url} -H '{json_header}' -d '{body}'
  ask       {command_name()} ask alice "why is the sky blue?"
  LLM       {llm}
  data      {data}

  Ctrl-C stops everything."""


def _state_path() -> Path:
    return Path(tempfile.gettempdir()) / f"hub-dev-{os.getuid()}.json"
