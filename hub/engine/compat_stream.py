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
from hub.core.close_reason import CloseReason
from hub.core.cursor import Position
from hub.core.event import Event
from hub.engine.connection import Connection
from hub.engine.generations import ReplayStart, belongs_to
from hub.ports.compat import AnswerEncoder

_TRIMMED: Final = "the hub no longer keeps the beginning of this answer; ask for it as a whole"
_BLOCK_BYTES: Final = 16 * 1024


class CompatStream(Connection):
    """from_chunk: the chunks before it are not sent. on_left: is told when the client goes away
    before the end.
    """

    __slots__ = ("_answer_encoder", "_on_disconnect", "_replay", "_skip")

    def __init__(
        self,
        name: str,
        replay: ReplayStart,
        answer_encoder: AnswerEncoder,
        *,
        from_chunk: int = 0,
        on_disconnect: Callable[[], None] | None = None,
        **parts: Any,
    ) -> None:
        user = replay.record.user
        super().__init__(name, user, [user_channel(user)], **parts)
        self._replay = replay
        self._answer_encoder = answer_encoder
        self._skip = from_chunk
        self._on_disconnect = on_disconnect

    def enter_sync(self) -> None:
        """Never: what it is sent is not what the others of its channel are."""

    def send_open(
        self, *, node: str, heartbeat_seconds: float, recovered: bool, replayed: int
    ) -> None:
        """The surface's own opening, and what only the record tells."""
        self._pending_open = self._framed(self._answer_encoder.start())
        if self._replay.kept is None:
            return
        if self._skip:
            self._break_off("log_trimmed", _TRIMMED)
            return
        for name, data in self._replay.kept:
            self._pending_open += self._framed(self._answer_encoder.feed(name, data))
        self._end_if_over()

    async def replay(self, events: Sequence[Event], read_to: Position, channel: Channel) -> None:
        """See Connection.replay."""
        frames: list[bytes] = []
        unsent_bytes = 0
        for event in events:
            if (
                self._answer_encoder.is_finished
                or event.position is None
                or not self._belongs_to_generation(event)
            ):
                continue
            frames.append(self._framed(self._answer_encoder.feed(event.name, event.data)))
            unsent_bytes += len(frames[-1])
            if unsent_bytes >= _BLOCK_BYTES:
                await self._write_replay(frames, channel, event.position)
                frames, unsent_bytes = [], 0
        await self._write_replay(frames, channel, read_to)
        self._end_if_over()

    def send_reset(self, channel: Channel, head: Position, reason: str) -> None:
        """The rest cannot be had from where the client stands."""
        if self.close_reason is None:
            self._break_off("log_trimmed", _TRIMMED)

    def send_event(self, name: str, data: Mapping[str, Any]) -> None:
        """Nothing: the client knows the answer's words only."""

    def close(self, reason: CloseReason, *, later_ms: int = 0) -> None:
        """Ends as the answer does, breaks off in the surface's words, or cuts."""
        if self.close_reason is not None:
            return
        if reason is CloseReason.ENDED:
            self._close_with(self._answer_encoder.trailer, reason)
        elif reason.reconnect or reason is CloseReason.CLIENT_DISCONNECTED:
            self.writer.close()
            self._finish(reason)
        else:
            message = f"the hub has ended this stream: {reason.label}"
            self._close_with(self._answer_encoder.abort(reason.label, message), reason)

    def _send_in_order(self, event: Event) -> None:
        if self._belongs_to_generation(event):
            self._event_count += 1
            frames = self._framed(self._answer_encoder.feed(event.name, event.data))
            if frames:
                self._send(frames)
            self._end_if_over()

    def _framed(self, chunks: Sequence[bytes]) -> bytes:
        """What is left of the chunks behind those that the client has, ready to be written."""
        skipped = min(self._skip, len(chunks))
        self._skip -= skipped
        body = b"".join(chunks[skipped:])
        return self.encoder.frame(body, None) if body else b""

    def _belongs_to_generation(self, event: Event) -> bool:
        return belongs_to(event, self._replay.record.id)

    def _end_if_over(self) -> None:
        if self._answer_encoder.is_finished and self.close_reason is None:
            self.close(CloseReason.ENDED)

    def _break_off(self, code: str, message: str) -> None:
        self._close_with(self._answer_encoder.abort(code, message), CloseReason.TRIMMED)

    def _close_with(self, last: bytes, reason: CloseReason) -> None:
        """A client that is slow at the end still gets it: what waits is bounded."""
        self.drain_outbox()
        if last:
            self._write(self.encoder.frame(last, None))
        self._write(self.encoder.trailer(reconnect=False))
        self.writer.close()
        self._finish(reason)

    def _finish(self, reason: CloseReason) -> None:
        super()._finish(reason)
        if reason is CloseReason.CLIENT_DISCONNECTED and self._on_disconnect is not None:
            self._on_disconnect()
