"""A connection that shows one answer: what there is so far, the rest as it comes, the end.

It follows its user's channel like any other and lets pass what belongs to the one generation. The
snapshot and the position that it was taken at are of one moment, so there is no hole between them
and no overlap.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hub.core.channel import Channel, user_channel
from hub.core.close_reason import CloseReason
from hub.core.cursor import Position
from hub.core.event import Event, encode_json
from hub.core.generation import Generation
from hub.engine.connection import Connection

END_EVENTS = frozenset({"generation.done", "generation.stopped", "generation.failed"})


class GenerationStream(Connection):
    """snapshot: the first event, or None when the client resumes and has it. on_left: is told when
    the client goes away before the end.
    """

    __slots__ = ("_on_disconnect", "_snapshot", "_start")

    def __init__(
        self,
        name: str,
        record: Generation,
        *,
        snapshot: bool,
        on_disconnect: Callable[[], None] | None = None,
        **parts: Any,
    ) -> None:
        super().__init__(name, record.user, [user_channel(record.user)], **parts)
        self._snapshot = record if snapshot else None
        self._start = b'{"generation":"%b"' % record.id.encode()
        self._on_disconnect = on_disconnect

    def enter_sync(self) -> None:
        """Never: what it is sent is not what the others of its channel are."""

    def send_open(
        self, *, node: str, heartbeat_seconds: float, recovered: bool, replayed: int
    ) -> None:
        """The snapshot stands for `hub.open`."""
        record = self._snapshot
        if record is None:
            return
        body = self.encoder.encode("generation.snapshot", encode_json(snapshot_fields(record)))
        self.set_first_event(body)
        if record.status.ended:
            data = encode_json({"generation": record.id, **record.end})
            self._send_event(self.encoder.encode(f"generation.{record.status.value}", data))
            self.close(CloseReason.ENDED)

    async def replay(self, events: Sequence[Event], read_to: Position, channel: Channel) -> None:
        """See Connection.replay."""
        mine = [event for event in events if self._belongs_to_generation(event)]
        await super().replay(mine, read_to, channel)
        if any(event.name in END_EVENTS for event in mine):
            self.close(CloseReason.ENDED)

    def send_reset(self, channel: Channel, head: Position, reason: str) -> None:
        """The rest cannot be had from where the client stands: it comes again for a snapshot."""
        data = encode_json({"channel": channel, "reason": reason})
        self._send_event(self.encoder.encode("hub.reset", data))
        self.close(CloseReason.TRIMMED)

    def _send_in_order(self, event: Event) -> None:
        if self._belongs_to_generation(event):
            super()._send_in_order(event)
            if event.name in END_EVENTS:
                self.close(CloseReason.ENDED)

    def _belongs_to_generation(self, event: Event) -> bool:
        return event.name.startswith("generation.") and event.data.startswith(self._start)

    def _finish(self, reason: CloseReason) -> None:
        super()._finish(reason)
        if reason is CloseReason.CLIENT_DISCONNECTED and self._on_disconnect is not None:
            self._on_disconnect()


def snapshot_fields(record: Generation) -> Mapping[str, Any]:
    """The data of `generation.snapshot`."""
    return {
        "generation": record.id,
        "status": record.status.value,
        "attempt": record.attempt,
        "text": record.text,
        "deltas": record.deltas,
    }
