"""SIGINT and SIGTERM, which request that a process ends."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable


def on_termination(callback: Callable[[], None]) -> None:
    """Call `callback` in the running event loop on SIGINT and on SIGTERM."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        try:
            loop.add_signal_handler(number, callback)
        except NotImplementedError:  # the event loops of Windows
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(callback))
