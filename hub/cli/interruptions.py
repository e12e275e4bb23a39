"""Notes on standard error while the client library reconnects."""

from __future__ import annotations

import logging
import sys


class _Notes(logging.Handler):
    """Prints the library's log, without a message that is the same as the one before."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self._last = ""

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if message != self._last:
            print(f"hub: {message}", file=sys.stderr, flush=True)
        self._last = message


def report_interruptions() -> None:
    """Print why the client has no connection, as often as the reason changes."""
    logger = logging.getLogger("hub_client")
    logger.setLevel(logging.INFO)
    logger.addHandler(_Notes())
    logger.propagate = False
