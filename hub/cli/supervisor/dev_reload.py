"""`hub dev --reload`: loads the application's functions again when a Python file changes.

The workers start new processes for the functions after SIGHUP, and running answers end in the old
ones. Nothing else restarts, so connections stay open.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from hub.cli.supervisor.child_process import ChildProcess

_LOOK_SECONDS: Final = 0.3
_OTHER_FOLDERS: Final = frozenset({"__pycache__", "node_modules", "site-packages"})


async def reload_on_change(folder: Path, children: Sequence[ChildProcess]) -> None:
    """Send SIGHUP to each worker whenever a Python file of the folder changes, until cancelled."""
    seen = await asyncio.to_thread(find_python_files, folder)
    while True:
        await asyncio.sleep(_LOOK_SECONDS)  # no file system tells every platform of changes
        times = await asyncio.to_thread(find_python_files, folder)
        if times == seen:
            continue
        changed = sorted(path for path, _ in times.items() ^ seen.items())
        seen = times
        print(f"hub dev: {changed[0]} has changed; the functions are loaded again", flush=True)
        for child in children:
            process = child.process
            is_worker = child.name.startswith("worker")
            if is_worker and process is not None and process.returncode is None:
                process.send_signal(signal.SIGHUP)


def find_python_files(folder: Path) -> Mapping[str, int]:
    """Return the modification time of each Python file, without virtual environments and caches."""
    times: dict[str, int] = {}
    for path, folders, files in os.walk(folder):
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".")
            and name not in _OTHER_FOLDERS
            and not (Path(path) / name / "pyvenv.cfg").exists()
        ]
        for name in files:
            if name.endswith(".py"):
                file = Path(path) / name
                try:
                    times[str(file.relative_to(folder))] = file.stat().st_mtime_ns
                except OSError:  # it was deleted meanwhile
                    continue
    return times
