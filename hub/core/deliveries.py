"""Deliveries: messages to somebody outside of the hub that are sent later, at least once.

A delivery belongs to a queue (`webhook`, `push`) and to a lane of its channel. The deliveries of
one lane are sent one after the other, in the order in which they were added; lanes do not wait for
each other. A delivery that cannot be sent becomes a dead letter, and the next one of its lane
follows.
"""

from __future__ import annotations

import re
import secrets
from typing import Final

import msgspec

from hub.core.channel import PARTITIONS, Channel, partition_of

MAX_ERROR_CHARS: Final = 200
DELIVERY_QUEUES: Final = ("webhook", "push")
"""All queues: an erasure of a user's data goes through them."""
PUSH_QUEUE: Final = "push"
"""The queue of Web Push: reading an item of the inbox cancels the deliveries of its event."""
_ID = re.compile(r"d[0-9a-f]{2}[0-9A-Za-z_-]{1,64}")


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """One message to send.

    queue: who sends it. channel: the channel that it belongs to; it decides where the delivery is
        stored, and with the lane what it waits for.
    lane: 1 to 64 characters of the sender's choice.
    id: see new_delivery_id; a delivery whose id is stored already is not added again.
    body: what the sender needs to send it. delay_seconds: the time until it is due.
    """

    queue: str
    channel: Channel
    lane: str
    id: str
    body: bytes
    delay_seconds: float = 0.0


class DeliveryLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How much of each queue is stored.

    max_per_lane: the number of deliveries that wait in one lane. Another one becomes a dead letter
        at once.
    max_bytes: bodies of each partition, dead letters included. For another one, the oldest dead
        letters are dropped; if that is not enough, it is dropped. What is dropped is counted.
    ttl_seconds: how long a delivery is stored while nobody sends it; longer than the time for which
        a sender tries.
    max_dead: dead letters of each partition; the oldest one is dropped for another one.
    dead_seconds: how long a dead letter is kept.
    """

    max_per_lane: int
    max_bytes: int
    ttl_seconds: float
    max_dead: int
    dead_seconds: float


class Done(msgspec.Struct, frozen=True):
    """The delivery was sent, or is not wanted any more."""


class Failed(msgspec.Struct, frozen=True):
    """An attempt failed; RetryPolicy says when it is tried again.

    retry_after_seconds: what the receiver asks for.
    """

    error: str
    retry_after_seconds: float = 0.0


class Retry(msgspec.Struct, frozen=True):
    """An attempt failed; the delivery is due again after a delay."""

    delay_seconds: float
    error: str


class Postponed(msgspec.Struct, frozen=True):
    """The delivery was not tried; it is due again after a delay."""

    delay_seconds: float


class Dead(msgspec.Struct, frozen=True):
    """The delivery is given up and kept as a dead letter."""

    error: str


SendResult = Done | Failed | Postponed | Dead
"""What a sender says of a delivery."""

Settlement = Done | Retry | Postponed | Dead
"""What becomes of a delivery that was taken."""


class RetryPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """When a failed delivery is tried again.

    min_seconds, max_seconds: the delay after the first failure, which doubles with each failure up
        to the largest one.
    max_age_seconds: the age at which a failed delivery is given up.
    """

    min_seconds: float
    max_seconds: float
    max_age_seconds: float

    def decide(
        self, result: SendResult, *, failures: int, age_seconds: float, jitter: float
    ) -> Settlement:
        """Return what becomes of a delivery.

        failures: how many attempts failed before. age_seconds: the time since it was added.
        jitter: a random number from 0 to 1; the delay is from a half to the whole of the step.
        What the receiver asks for counts up to `max_seconds`.
        """
        if isinstance(result, Postponed) and age_seconds >= self.max_age_seconds:
            return Dead("not sent in time")
        if not isinstance(result, Failed):
            return result
        if age_seconds >= self.max_age_seconds:
            return Dead(result.error)
        step = min(self.max_seconds, self.min_seconds * 2 ** min(failures, 32))
        delay = step * (0.5 + 0.5 * jitter)
        delay = max(delay, min(result.retry_after_seconds, self.max_seconds))
        return Retry(min(delay, self.max_age_seconds - age_seconds), result.error)


def error_line(error: str) -> str:
    """Return an error as one short line without surrogates, and never empty."""
    line = " ".join(error.split())[:MAX_ERROR_CHARS] or "error"
    return line.encode(errors="replace").decode()


def new_delivery_id(channel: Channel) -> str:
    """Return a random id. It contains the partition of the channel, so that any process finds the
    delivery.
    """
    return delivery_id(channel, secrets.token_hex(12))


def delivery_id(channel: Channel, name: str) -> str:
    """Return the id with a name of the sender's choice: 1 to 64 letters, digits, `-` and `_`."""
    return f"d{partition_of(channel):02x}{name}"


def partition_of_delivery(delivery: str) -> int | None:
    """Return the partition in an id; None when this is not the id of a delivery."""
    if _ID.fullmatch(delivery) is None:
        return None
    partition = int(delivery[1:3], 16)
    return partition if partition < PARTITIONS else None
