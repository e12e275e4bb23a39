"""The event log, and the subscriptions that notify every node of new events."""

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
from hub.core.deliveries import Delivery
from hub.core.event import Event, digest
from hub.core.generation import GenerationUpdate
from hub.core.inbox import InboxOptions
from hub.errors import BrokerUnavailable

FROM_START: Final = Position("", 0)
"""A position from which a read returns everything that the log still holds."""


class Publication(msgspec.Struct, frozen=True, kw_only=True):
    """One event to publish to one channel.

    data: compact JSON in UTF-8.
    idempotency_key: a second publication with the same key in the same channel changes nothing. It
        returns the position of the first one, or a conflict if it is another event.
    idempotency_seconds: how long the key is remembered; None means as long as the backend's
        settings say.
    ephemeral: the event is delivered live only; it is not stored and has no position.
    ttl_seconds: how long the event is replayed; None means as long as the log holds it.
    update: the change of a generation's record that happens in the same atomic step. One of the
        kinds STORE and COMPACT comes without an event: name and data are empty, and nothing is
        published.
    durable: whether the caller is answered only when replicas of the broker have the event, as far
        as the settings ask for that. One durable publication makes its whole call wait.
    deliveries: of this channel; they are added in the same atomic step if the outcome is WRITTEN.
        An update without an event has none.
    inbox: how the event is kept as an item of the inbox of its channel, in the same atomic step;
        None means that it is not. In the channel of a user, the event `inbox.item` follows it, and
        before that `inbox.changed` if older items expired or had to make room.
    trace: identifies the span of the publish when its trace is sampled, in letters and digits. It
        is sent with the notification and not stored.
    """

    channel: Channel
    name: str
    data: bytes
    idempotency_key: str | None = None
    idempotency_seconds: float | None = None
    ephemeral: bool = False
    ttl_seconds: float | None = None
    update: GenerationUpdate | None = None
    durable: bool = False
    deliveries: Sequence[Delivery] = ()
    inbox: InboxOptions | None = None
    trace: str = ""


def publication_digest(publication: Publication) -> str:
    """Return a digest of an event, by which a repeated one is recognised.

    It covers the name, the data and `ephemeral`. `ttl_seconds` may differ, because publishers count
    it from the time of the call.
    """
    kind = "ephemeral" if publication.ephemeral else "stored"
    return digest(publication.data, kind, publication.name)


class Outcome(enum.Enum):
    """The outcome of a publication."""

    WRITTEN = "written"
    DUPLICATE = "duplicate"
    """The idempotency key was used before, the delta exists already, or the input was answered."""
    CONFLICT = "conflict"
    """Refused, because the idempotency key was used before with another event."""
    STALE = "stale"
    """Refused, because another attempt owns the generation, or its journal has changed since it was
    read."""
    GAP = "gap"
    """Refused, because the record lacks deltas that come before this update."""
    ENDED = "ended"
    """Refused, because the generation has ended."""
    EXPIRED = "expired"
    """Refused, because the time for this input is over."""
    NO_RECORD = "gone"
    """Refused, because the record has expired or never existed."""


class Published(msgspec.Struct, frozen=True):
    """The result of a publication.

    position: None for an ephemeral event, an update without an event and a refused publication.
    stop_requested_by: who requested that the generation stops. Every update returns it, so that a
        stop works even when its notice got lost.
    received: how much users have sent to the external producer whose update this is, by its
        record; 0 for other updates.
    replicas: how many replicas of the broker are known to have the event; None when the publication
        did not wait for them, and for an ephemeral event.
    item: the id of the inbox item, as ItemId.stored has it; None if this call kept none.
    """

    outcome: Outcome
    position: Position | None
    stop_requested_by: str | None = None
    replicas: int | None = None
    received: int = 0
    item: str | None = None


class Page(msgspec.Struct, frozen=True):
    """Stored events of one channel.

    head: the position of the channel's newest event (offset 0 when there is none).
    end: the position after which the next page begins.
    reset_reason: why the log cannot continue after the requested position (`epoch` or `trimmed`),
        otherwise None. With a reason there are no events, and `end` is the head.
    """

    events: Sequence[Event]
    head: Position
    end: Position
    reset_reason: str | None = None


class EventWriter(Protocol):
    """Writes events to channels."""

    async def publish(self, publications: Sequence[Publication]) -> list[Published]:
        """Publish events; return one result for each publication, in order.

        The following happens as one atomic step for each publication: check the idempotency key
        and the generation update, assign the next offset, append the event to the log, apply the
        update to the generation's record, and notify every node that is subscribed to the channel.
        Raise BrokerUnavailable; then any of the events may have been written, so repeat the call
        with the same idempotency keys.
        """
        ...

    async def try_publish(
        self, publications: Sequence[Publication]
    ) -> list[Published | BrokerUnavailable]:
        """Publish events that are independent of each other, and raise nothing.

        The result of a publication that failed is its BrokerUnavailable error.
        """
        ...


class EventReader(Protocol):
    """Reads the events of channels."""

    async def read(
        self, after: Mapping[Channel, Position | None], *, max_events: int, max_bytes: int
    ) -> Mapping[Channel, Page]:
        """Read one page of each channel.

        after: the position after which to read; None reads no events, only the head.
        max_events, max_bytes: bounds of one page. The event that reaches a bound is the last one.
        Raise BrokerUnavailable.
        """
        ...

    async def heads(self, channels: Sequence[Channel]) -> Mapping[Channel, Position | None]:
        """Return the position of each channel's newest event; None for a channel without events.

        This is cheap: it reads no events and creates nothing. Raise BrokerUnavailable.
        """
        ...


class EventLog(EventWriter, EventReader, Protocol):
    """The stored events of all channels."""

    async def erase(self, channel: Channel) -> None:
        """Erase the events of a channel and its position.

        Every earlier position is unknown from then on, so that a read after it returns the reset
        reason `epoch`. The nodes that are subscribed to the channel are notified, as of an event.
        Idempotency keys stay: a repeated publish does not bring its event back.
        Raise BrokerUnavailable.
        """
        ...


class Subscriptions(Protocol):
    """The channels whose new events this process receives."""

    async def subscribe(self, channels: Collection[Channel]) -> None:
        """Return when every event that is published from now on will be received.

        Raise BrokerUnavailable when a subscription is not acknowledged in time. The process stays
        subscribed all the same, and receives the events as soon as the broker is back.
        """
        ...

    def unsubscribe(self, channels: Collection[Channel]) -> None:
        """Stop receiving the events of these channels, now or a few seconds later."""
        ...

    def restore(self, channels: Collection[Channel]) -> None:
        """Subscribe to these channels again, because their events do not arrive.

        Others that share their connection are restored too; `on_resubscribed` is called afterwards.
        """
        ...

    def listen(
        self, on_events: Callable[[Sequence[Event]], None], on_resubscribed: Callable[[], None]
    ) -> None:
        """Set the callbacks.

        on_events: gets the events that arrived in one iteration of the loop, each channel's in
            order. An event may be missing or may arrive twice; its position tells.
        on_resubscribed: called when the subscriptions are complete again after a lost connection,
            because events may have been missed.
        """
        ...

    async def run(self) -> None:
        """Receive events until cancelled. Without this task nothing is received."""
        ...
