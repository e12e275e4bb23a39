"""What a pipeline knows of the history of its server's data: the first argument of every script.

The history is the replication id of the server, which is a new one after each start and each
promotion (docs/contributing/decisions/0004-epochs-that-continue-each-other.md). A script reads it
with INFO, which costs the server as much as two writes. While many scripts run, the pipeline
reads it for all of them.

Rules
1. A pipeline passes a history on for at most 50 ms after it has asked for it, on the same
   connection. A script takes it for at most 100 ms of the server's clock after the server has
   answered; then, or if the clock is that of another server, the script reads the history itself.
   Nobody finds out in this time that a primary does not answer, and promotes another one.
2. The history counts from before it was read: TIME is sent first.
3. A pipeline that sends few scripts does not read it; the scripts do.
"""

from __future__ import annotations

import re
from typing import Any, Final

_PASSED_SECONDS: Final = 0.05
_INTERVAL_SECONDS: Final = 0.025
_TAKEN_MS: Final = 100
_MIN_SCRIPTS: Final = 4  # in an interval
_REPLICATION_ID: Final = re.compile(rb"role:master\r\n(?:.*\r\n)*?master_replid:([0-9a-f]{16})")


class ServerHistory:
    """The history of one server, as one connection knows it. Times are those of the event loop.

    run_id: of the connection; it identifies a server that reports no history.
    """

    __slots__ = ("_interval_start", "_passed_until", "_run_id", "_scripts", "_text")

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id
        self._text = run_id
        self._passed_until = 0.0
        self._interval_start = 0.0
        self._scripts = 0  # of the interval

    def argument(self, now: float) -> str:
        """Return the first argument of a script that is sent now: the run id; if the history is
        known, after `<history> <from> <until> `, the times of the server (ms) in which it counts.
        """
        self._scripts += 1
        return self._text if now < self._passed_until else self._run_id

    def should_ask(self, now: float) -> bool:
        """Return whether TIME and INFO should be sent now. Called whenever replies are there."""
        if now - self._interval_start < _INTERVAL_SECONDS:
            return False
        are_many = self._scripts >= _MIN_SCRIPTS and now - self._interval_start < _PASSED_SECONDS
        self._interval_start, self._scripts = now, 0
        return are_many

    def learn(self, sent_at: float, time: Any, replication: Any) -> None:
        """Take the replies of TIME and INFO; anything else than replies of a primary is ignored."""
        if not isinstance(time, list) or not isinstance(replication, bytes):
            return
        history = _REPLICATION_ID.search(replication)
        if history is None:
            return
        seconds, microseconds = map(int, time)
        first = seconds * 1000 + microseconds // 1000
        self._text = f"{history[1].decode()} {first:013d} {first + _TAKEN_MS:013d} {self._run_id}"
        self._passed_until = sent_at + _PASSED_SECONDS
