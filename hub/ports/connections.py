"""One client connection: its writer and the encoder of its events."""

from __future__ import annotations

from typing import Protocol


class ConnectionOwner(Protocol):
    """The connection that uses a writer and gets its callbacks."""

    def on_writable(self) -> None:
        """The writer is not full any more."""
        ...

    def on_disconnect(self) -> None:
        """The connection has ended, on either side; nothing can be written any more."""
        ...


class ConnectionWriter(Protocol):
    """Writes the bytes of one client connection."""

    owner: ConnectionOwner | None

    cursor_prefix: bytes
    """The part of every cursor that names the user's own channel. The owner sets it."""

    def try_send(self, frames: bytes, /) -> int:
        """Write what the socket takes now and return the number of bytes.

        This is `write` without its checks: call it only when `is_drained` is true and `is_closing`
        is false. Raise OSError; BlockingIOError when the socket is full.
        """
        ...

    def is_closing(self) -> bool:
        """Whether the connection is ending.

        Then `try_send` is forbidden, because the descriptor may belong to another socket.
        """
        ...

    @property
    def is_drained(self) -> bool:
        """Whether no byte waits for the socket."""
        ...

    @property
    def is_full(self) -> bool:
        """Whether so many bytes wait for the socket that no more should be written."""
        ...

    def write(self, frames: bytes) -> None:
        """Write the bytes; do nothing after the peer has disconnected."""
        ...

    def sent_bytes(self) -> int | None:
        """Return the number of bytes that reached the client; None when it is not known."""
        ...

    def close(self) -> None:
        """Close the connection after everything written has been sent."""
        ...

    def abort(self) -> None:
        """Close the connection at once; unsent bytes are lost."""
        ...


class EventEncoder(Protocol):
    """Encodes events for one kind of connection. Pure: it returns bytes and does no I/O."""

    label: str
    heartbeat: bytes

    def encode(self, name: str, data: bytes, channel: str = "") -> bytes:
        """Return the part of an event that is the same for every connection.

        data: compact JSON in UTF-8. channel: empty for control events.
        """
        ...

    def frame(self, body: bytes, cursor: bytes | None, /) -> bytes:
        """Return the whole event for one connection.

        The cursor is part of it unchanged, and nothing but its length depends on it. A frame has no
        NUL byte after the cursor.
        """
        ...

    def first_event(self, body: bytes, cursor: bytes, retry_ms: int) -> bytes:
        """Return the first event, with the time that the client waits before it reconnects."""
        ...

    def trailer(self, *, reconnect: bool) -> bytes:
        """Return the bytes that end the stream and tell the client whether to reconnect."""
        ...
