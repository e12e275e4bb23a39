"""The event log and the notification of all nodes: what a broker must do."""

from __future__ import annotations

import enum
from collections.abc import (
    Callable,
    Collection,
    Mapping,
    Sequence,
)
from typing import Final, Protocol

import msgspec

from hub.core.channel import Channel
from hub.core.cursor import Position
from hub.core.event import Event
from hub.core.generation import GenerationUpdate
from hub.errors import BrokerUnavailable

FROM_START: Final = Position("", 0)
"""Read from here to get all that the log still holds."""


class Publication(msgspec.Struct, frozen=True, kw_only=True):
    """One event on its way into one channel.

    data: compact JSON in UTF-8.
    idempotency_key: a second publication with the same key in the same channel changes nothing
        and gets the first one's position.
    ephemeral: delivered live, not logged, no position.
    ttl_seconds: how long the event is worth replaying; None: as long as the log holds it.
    step: the change to a generation's record that must happen together with the event.
    trace: of a sampled trace, what joins the delivery to the publishing, in letters and digits;
        told with the announcement and not stored.
    """

    channel: Channel
    name: str
    data: bytes
    idempotency_key: str | None = None
    ephemeral: bool = False
    ttl_seconds: float | None = None
    update: GenerationUpdate | None = None
    trace: str = ""


class Outcome(enum.Enum):
    """What became of a publication."""

    WRITTEN = "written"
    DUPLICATE = "duplicate"
    """The same key, or a delta that was there already."""
    STALE = "stale"
    """Refused: another attempt owns the generation."""
    ENDED = "ended"
    """Refused: the generation has ended."""
    GONE = "gone"
    """Refused: the generation's record has expired or never was."""


class Published(msgspec.Struct, frozen=True):
    """The broker's answer to a publication.

    position is None for what has none (ephemeral, refused). stop_by: who wishes that the
    generation stops, told with every step so that a lost notice stops it all the same.
    """

    outcome: Outcome
    position: Position | None
    stop_requested_by: str | None = None


class Page(msgspec.Struct, frozen=True):
    """Stored events of one channel.

    head: the position of the channel's newest event now (a channel without events has offset 0).
    read_to: the position up to which this page reads: the next page begins after it.
    lost: why the log cannot continue from where the caller stood (`epoch`, `trimmed`), else None;
        then there are no events and read_to is the head.
    """

    events: Sequence[Event]
    head: Position
    end: Position
    reset_reason: str | None = None


class Broker(Protocol):
    """The log, and the bell that rings on every node. Raises BrokerUnavailable, nothing else."""

    async def publish(self, publications: Sequence[Publication]) -> list[Published]:
        """Numbers, stores and announces each one atomically; the answers are in order.

        When it raises, any of them may have been written: repeat with idempotency keys.
        """
        ...

    async def try_publish(
        self, publications: Sequence[Publication]
    ) -> list[Published | BrokerUnavailable]:
        """The same for publications that have nothing to do with each other: the broker's absence
        is the answer of those that it befell.
        """
        ...

    async def read(
        self, after: Mapping[Channel, Position | None], *, max_events: int, max_bytes: int
    ) -> Mapping[Channel, Page]:
        """A page of each channel: the events after a position; None reads none and tells the head.

        A page ends with the event that reaches either bound.
        """
        ...

    async def subscribe(self, channels: Collection[Channel]) -> None:
        """Returns when every event published from now on will be heard."""
        ...

    def unsubscribe(self, channels: Collection[Channel]) -> None:
        """The node needs these channels no more."""
        ...

    def listen(
        self, on_events: Callable[[Sequence[Event]], None], on_resubscribed: Callable[[], None]
    ) -> None:
        """Who is told of events (those of one tick at once, each channel's in order), and that some
        may have been missed.
        """
        ...

    async def ping(self) -> None:
        """Returns when the broker answers and the bell works."""
        ...
