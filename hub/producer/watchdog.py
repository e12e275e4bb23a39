"""Tells the worker while the event loop of a child process is blocked, with the stack.

It runs in a thread, because a blocked loop can answer nothing itself. The worker sends a byte on a
socket of its own and gets one frame back when the loop has answered: a length of 4 bytes and the
stack, which is empty if the loop answered at once. While the loop is blocked, a frame with the
stack comes before it.

The thread also ends the process after the worker has closed the socket, whatever the functions do:
the kernel kills it with SIGALRM if it has not ended by itself.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
import threading
import traceback
from typing import Final

_HEADER_BYTES: Final = 4
_EXIT_GRACE_SECONDS: Final = 0.5
_LOOK_SECONDS: Final = 0.5  # how often it looks for the worker while the loop is blocked


class Watchdog:
    """Watches the loop of the thread that starts it.

    warning_seconds: how long the loop may be blocked. exit_seconds: how long the process may go on
    after the worker has closed the socket.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        *,
        warning_seconds: float,
        exit_seconds: float,
    ) -> None:
        self._loop = loop
        self._loop_thread = threading.get_ident()
        self._socket = sock
        self._warning_seconds = warning_seconds
        self._exit_seconds = exit_seconds

    def start(self) -> None:
        """Start the thread. It runs until the process ends."""
        threading.Thread(target=self._run, name="watchdog", daemon=True).start()

    def _run(self) -> None:
        try:
            while self._socket.recv(1):
                self._answer()
        except (OSError, RuntimeError):  # the worker has closed it, or the loop is closed
            pass
        signal.setitimer(signal.ITIMER_REAL, self._exit_seconds + _EXIT_GRACE_SECONDS)

    def _answer(self) -> None:
        """Answer one request of the worker. Raise OSError when the worker has closed it."""
        answered = threading.Event()
        self._loop.call_soon_threadsafe(answered.set)
        if not answered.wait(self._warning_seconds):
            self._send(self._stack())
            while not answered.wait(_LOOK_SECONDS):
                if self._is_closed():
                    raise BrokenPipeError
        self._send("")

    def _is_closed(self) -> bool:
        try:
            return not self._socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False

    def _send(self, stack: str) -> None:
        encoded = stack.encode(errors="replace")
        self._socket.sendall(len(encoded).to_bytes(_HEADER_BYTES, "big") + encoded)

    def _stack(self) -> str:
        frame = sys._current_frames().get(self._loop_thread)
        return "".join(traceback.format_stack(frame)) or "unknown"
