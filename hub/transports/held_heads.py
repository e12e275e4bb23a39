"""Heads of responses that wait for the first bytes of their streams.

A stream says its first words a moment after it was opened, when the log has been read. Head and
first events in one write cost the node, the network and the client one packet less. If a stream is
silent for longer, its head is sent alone: a client wants to know that it is connected.
"""

from __future__ import annotations

import asyncio
from typing import Final

from hub.transports.socket_writer import SocketWriter

_HOLD_SECONDS: Final = 1.0


class HeldHeads:
    """Holds heads for one to two seconds, with one timer for all of them."""

    def __init__(self) -> None:
        self._new: list[SocketWriter] = []
        self._old: list[SocketWriter] = []  # for a second or more
        self._is_timed = False

    def hold(self, writer: SocketWriter, head: bytes) -> None:
        """Have the writer send the head with its next bytes."""
        writer.hold(head)
        self._new.append(writer)
        if not self._is_timed:
            self._is_timed = True
            asyncio.get_running_loop().call_later(_HOLD_SECONDS, self._send_old)

    def _send_old(self) -> None:
        for writer in self._old:
            writer.send_held()
        self._old, self._new = self._new, []
        self._is_timed = bool(self._old)
        if self._is_timed:
            asyncio.get_running_loop().call_later(_HOLD_SECONDS, self._send_old)
