"""Send packed commands to a broker without waiting for each reply, and count the replies."""

from __future__ import annotations

import socket
import time
from typing import Any, Final

import hiredis

from hub.backends.redis.client.connection import pack_command

_READ_BYTES: Final = 1 << 20
_PAUSE_SECONDS: Final = 0.0005


class Pipeline:
    """A connection to a broker of `run_broker`.

    answered: how many commands of `send` have a reply. An error of the broker is raised: a command
    that it refuses would look fast.
    """

    def __init__(self, url: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(url.removeprefix("unix://"))
        self._replies = hiredis.Reader()
        self.answered = 0

    def __enter__(self) -> Pipeline:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def call(self, *arguments: Any) -> Any:
        """Send one command while no other one waits for its reply; return the reply."""
        self._socket.setblocking(True)
        self._socket.sendall(pack_command(list(arguments)))
        while (reply := self._next_reply()) is False:
            self._replies.feed(self._socket.recv(_READ_BYTES))
        return reply

    def send(self, block: bytes) -> None:
        """Send some commands that are packed already."""
        self._socket.setblocking(True)
        self._socket.sendall(block)

    def receive(self) -> None:
        """Count the replies that have arrived; if there is none, pause for half a millisecond."""
        self._socket.setblocking(False)
        try:
            self._replies.feed(self._socket.recv(_READ_BYTES))
        except BlockingIOError:
            time.sleep(_PAUSE_SECONDS)
        while self._next_reply() is not False:
            self.answered += 1

    def _next_reply(self) -> Any:
        """Return a reply, or False if none is complete. Raise ReplyError."""
        reply = self._replies.gets()
        if isinstance(reply, hiredis.ReplyError):
            raise reply
        return reply
