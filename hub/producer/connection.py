"""One end of the socket between a worker and a child process (protocol.py)."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from typing import Any, Final, Generic, TypeVar, cast

import msgspec

from hub.producer.protocol import ToChild, ToWorker

Received = TypeVar("Received")
_HEADER_BYTES: Final = 4


class FrameConnection(asyncio.Protocol, Generic[Received]):
    """One end of the socket.

    messages: the type of a list of the messages that this end receives. on_message: called for each
    one. on_lost: called once, when the other end is gone. on_unencodable: called with a message
    that JSON cannot express and the reason; returns the one that is sent in its place, or None.
    """

    def __init__(
        self,
        messages: Any,
        on_message: Callable[[Received], None],
        on_lost: Callable[[], None],
        on_unencodable: Callable[[Any, Exception], Any],
    ) -> None:
        self._decoder = msgspec.json.Decoder(messages)
        self._on_message = on_message
        self._on_lost = on_lost
        self._on_unencodable = on_unencodable
        self._received = bytearray()
        self._unsent: list[Any] = []
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None

    async def open(self, sock: socket.socket) -> None:
        """Use a connected socket, which belongs to this object from now on."""
        await self._loop.create_unix_connection(lambda: self, sock=sock)

    def send(self, message: ToChild | ToWorker) -> None:
        """Send a message with all others of this iteration of the event loop."""
        if not self._unsent:
            self._loop.call_soon(self.flush)
        self._unsent.append(message)

    def flush(self) -> None:
        """Send what has not been sent yet."""
        messages, self._unsent = self._unsent, []
        if messages and self._transport is not None and not self._transport.is_closing():
            try:
                frame = msgspec.json.encode(messages)
            except Exception:  # noqa: BLE001 - one of them is the reason; the others are sent
                frame = b"[" + b",".join(self._encode_each(messages)) + b"]"
            self._transport.write(len(frame).to_bytes(_HEADER_BYTES, "big") + frame)

    def _encode_each(self, messages: list[Any]) -> Iterator[bytes]:
        for message in messages:
            try:
                yield msgspec.json.encode(message)
            except Exception as error:  # noqa: BLE001 - whatever a value of the application raises
                replacement = self._on_unencodable(message, error)
                if replacement is not None:
                    yield msgspec.json.encode(replacement)

    def close(self) -> None:
        """Send what has not been sent yet, and close the socket."""
        self.flush()
        if self._transport is not None:
            self._transport.close()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop has classes of its own
        self.flush()

    def data_received(self, data: bytes) -> None:
        received = self._received
        received += data
        while len(received) >= _HEADER_BYTES:
            end = _HEADER_BYTES + int.from_bytes(received[:_HEADER_BYTES], "big")
            if len(received) < end:
                return
            frame = bytes(received[_HEADER_BYTES:end])
            del received[:end]
            for message in self._decoder.decode(frame):
                self._on_message(message)

    def connection_lost(self, error: Exception | None) -> None:
        self._on_lost()
