"""One client connection: its writer and the encoder of its events."""

from __future__ import annotations

from typing import Protocol


class ConnectionOwner(Protocol):
    """Who writes to a sink, and is told what becomes of it."""

    def on_writable(self) -> None:
        """The sink is no longer paused."""
        ...

    def on_disconnect(self) -> None:
        """The connection has ended, by whomever; nothing can be written any more."""
        ...


class ConnectionWriter(Protocol):
    """Where one connection's bytes go."""

    owner: ConnectionOwner | None

    cursor_prefix: bytes
    """What stands in every cursor of this connection for its own channel; the owner's to keep."""

    def try_send(self, frames: bytes, /) -> int:
        """Hands over what the socket takes now and returns how much that was: `write` without its
        guards, for who knows that the sink is idle and not gone. Raises OSError (BlockingIOError
        when the socket is full).
        """
        ...

    def is_closing(self) -> bool:
        """Whether the connection is ending: `send` is forbidden then, its socket may be
        another's.
        """
        ...

    @property
    def is_drained(self) -> bool:
        """Whether nothing waits in front of the socket."""
        ...

    @property
    def is_full(self) -> bool:
        """Whether so much waits in front of the socket that no more should be written."""
        ...

    def write(self, frames: bytes) -> None:
        """Hands the bytes to the socket; after the peer has gone it does nothing."""
        ...

    def sent_bytes(self) -> int | None:
        """How many bytes the connection has carried to the client; None when nobody knows."""
        ...

    def close(self) -> None:
        """Ends the connection when what was written has left."""
        ...

    def abort(self) -> None:
        """Drops the connection and what is still unsent."""
        ...


class EventEncoder(Protocol):
    """How events look on one kind of connection. Pure: bytes out, no I/O."""

    label: str
    heartbeat: bytes

    def encode(self, name: str, data: bytes, channel: str = "") -> bytes:
        """The part of an event that is the same for every connection; `data` is compact JSON, and
        the hub's own events have no channel.
        """
        ...

    def frame(self, body: bytes, cursor: bytes | None, /) -> bytes:
        """The whole event for one connection, as a sink is given it. The cursor stands in it as it
        is, in front of the body, and nothing depends on it but its length.
        """
        ...

    def first_event(self, body: bytes, cursor: bytes, retry_ms: int) -> bytes:
        """The first event, which also tells the client how long to wait before it returns."""
        ...

    def trailer(self, *, reconnect: bool) -> bytes:
        """What tells the client that nothing follows, and whether to come back."""
        ...
