"""A connection that shows one whole answer on a surface: every event of it, from its first one.

It follows its user's channel like any other, from the position before the generation began, and
feeds what belongs to the generation to the surface. A reader that resumes at chunk N gets the
same chunks without the first N: their numbers follow from the log, and nothing is kept of them.

A close that the client should come back from (draining, slow, the broker away) must not look like
the answer's end: the connection is cut after the last whole chunk, without the mark that ends an
HTTP body, so that the client's own error handling resumes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from hub.core.channel import Channel, user_channel
from hub.core.close import CloseReason
from hub.core.cursor import Position
from hub.core.event import Event
from hub.engine.connection import Connection
from hub.engine.generations import Followed, is_of
from hub.ports import Surface

_TRIMMED: Final = "the hub no longer keeps the beginning of this answer; ask for it as a whole"
_BLOCK_BYTES: Final = 16 * 1024


class SurfaceStream(Connection):
    """from_chunk: the chunks before it are not sent. on_left: is told when the client goes away
    before the end.
    """

    __slots__ = ("_followed", "_on_left", "_skip", "_surface")

    def __init__(
        self,
        name: str,
        followed: Followed,
        surface: Surface,
        *,
        from_chunk: int = 0,
        on_left: Callable[[], None] | None = None,
        **parts: Any,
    ) -> None:
        user = followed.record.user
        super().__init__(name, user, [user_channel(user)], **parts)
        self._followed = followed
        self._surface = surface
        self._skip = from_chunk
        self._on_left = on_left

    def step_in(self) -> None:
        """Never: what it is sent is not what the others of its channel are."""

    def open(self, *, node: str, heartbeat_seconds: float, recovered: bool, replayed: int) -> None:
        """The surface's own opening, and what only the record tells."""
        self._lead = self._framed(self._surface.opening())
        if self._followed.kept is None:
            return
        if self._skip:
            self._break_off("log_trimmed", _TRIMMED)
            return
        for name, data in self._followed.kept:
            self._lead += self._framed(self._surface.feed(name, data))
        self._end_if_over()

    async def replay(self, events: Sequence[Event], read_to: Position, channel: Channel) -> None:
        """See Connection.replay."""
        frames: list[bytes] = []
        unsent_bytes = 0
        for event in events:
            if self._surface.over or event.position is None or not self._is_mine(event):
                continue
            frames.append(self._framed(self._surface.feed(event.name, event.data)))
            unsent_bytes += len(frames[-1])
            if unsent_bytes >= _BLOCK_BYTES:
                await self._write_replay(frames, channel, event.position)
                frames, unsent_bytes = [], 0
        await self._write_replay(frames, channel, read_to)
        self._end_if_over()

    def reset(self, channel: Channel, head: Position, reason: str) -> None:
        """The rest cannot be had from where the client stands."""
        if self.closed is None:
            self._break_off("log_trimmed", _TRIMMED)

    def tell(self, name: str, data: Mapping[str, Any]) -> None:
        """Nothing: the client knows the answer's words only."""

    def close(self, reason: CloseReason, *, later_ms: int = 0) -> None:
        """Ends as the answer does, breaks off in the surface's words, or cuts."""
        if self.closed is not None:
            return
        if reason is CloseReason.ENDED:
            self._finish(self._surface.trailer, reason)
        elif reason.reconnect or reason is CloseReason.CLIENT_LEFT:
            self.sink.close()
            self._end(reason)
        else:
            message = f"the hub has ended this stream: {reason.label}"
            self._finish(self._surface.broken(reason.label, message), reason)

    def _hand_over(self, event: Event) -> None:
        if self._is_mine(event):
            self._counted += 1
            frames = self._framed(self._surface.feed(event.name, event.data))
            if frames:
                self._send(frames)
            self._end_if_over()

    def _framed(self, chunks: Sequence[bytes]) -> bytes:
        """What is left of the chunks behind those that the client has, ready to be written."""
        skipped = min(self._skip, len(chunks))
        self._skip -= skipped
        body = b"".join(chunks[skipped:])
        return self.transport.frame(body, None) if body else b""

    def _is_mine(self, event: Event) -> bool:
        return is_of(event, self._followed.record.id)

    def _end_if_over(self) -> None:
        if self._surface.over and self.closed is None:
            self.close(CloseReason.ENDED)

    def _break_off(self, code: str, message: str) -> None:
        self._finish(self._surface.broken(code, message), CloseReason.TRIMMED)

    def _finish(self, last: bytes, reason: CloseReason) -> None:
        """A client that is slow at the end still gets it: what waits is bounded."""
        self.write_out()
        if last:
            self._write(self.transport.frame(last, None))
        self._write(self.transport.ending(reconnect=False))
        self.sink.close()
        self._end(reason)

    def _end(self, reason: CloseReason) -> None:
        super()._end(reason)
        if reason is CloseReason.CLIENT_LEFT and self._on_left is not None:
            self._on_left()
