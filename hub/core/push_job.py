"""The jobs of push notifications, which are the bodies of deliveries in the queue `push`.

    user     when it is due: is the notification still needed? If so, send it to the user's devices
    device   send it to one device again, because its push service asked for time
    topic    make the jobs of the next users of a topic

A topic's job makes jobs of users, and a job of a user makes jobs of devices. Their ids follow from
the id of the first job, so a step that is repeated after a crash adds none twice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

import msgspec

from hub.core.channel import Channel, topics_among, user_channel, user_of_channel
from hub.core.cursor import Position
from hub.core.deliveries import PUSH_QUEUE, Delivery, delivery_id, new_delivery_id
from hub.core.generation import Generation, Status
from hub.core.inputs import InputRequest
from hub.core.push_message import MAX_PAYLOAD_BYTES, PushMessage
from hub.core.push_subscription import PushSubscription

ANSWER_READY: Final = "Your answer is ready"
ANSWER_FAILED: Final = "Your answer could not be completed"
INPUT_NEEDED: Final = "Your answer needs an input"
_NAME_CHARS: Final = 32


class PushOrigin(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where a notification comes from.

    push_id: names it; the id of its first job. channel: that of the event. position: that of the
    event. in_inbox: whether the event is in the inbox. category: by which users mute notifications.
    required: whether a user who has muted the category gets it all the same. delay_seconds: the
    time from the event until it is due; its time to live begins then.
    """

    push_id: str
    channel: Channel
    position: Position | None = None
    in_inbox: bool = False
    category: str = ""
    required: bool = False
    delay_seconds: float = 0.0


class UserPush(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="user"):
    """The notification of one user."""

    user: str
    message: PushMessage
    origin: PushOrigin


class DevicePush(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="device"):
    """The notification for one device. age_seconds: its age when this job was made."""

    user: str
    subscription: str
    message: PushMessage
    origin: PushOrigin
    age_seconds: float


class TopicPush(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="topic"):
    """The notification of the users of a topic after one of them. count: of those before."""

    topic: str
    message: PushMessage
    origin: PushOrigin
    after: str = ""
    count: int = 0


PushJob = UserPush | DevicePush | TopicPush


def decode_job(body: bytes) -> PushJob:
    """Return the job of a delivery. Raise msgspec.DecodeError."""
    job: PushJob = msgspec.json.decode(body, type=PushJob)
    return job


def first_delivery(
    channel: Channel,
    message: PushMessage,
    *,
    delay_seconds: float,
    in_inbox: bool = False,
    category: str = "",
    required: bool = False,
) -> Delivery:
    """Return the delivery that is written with an event in a channel.

    It is for the user, or the subscribers of the topic, whose channel it is. Its position is that
    of the event.
    """
    push_id = new_delivery_id(channel)
    origin = PushOrigin(
        push_id=push_id,
        channel=channel,
        in_inbox=in_inbox,
        category=category,
        required=required,
        delay_seconds=delay_seconds,
    )
    job: PushJob
    user = user_of_channel(channel)
    if user is not None:
        job = UserPush(user=user, message=message, origin=origin)
    else:
        (topic,) = topics_among([channel])
        job = TopicPush(topic=topic, message=message, origin=origin)
    return _delivery(channel, push_id, job, delay_seconds)


def end_deliveries(record: Generation, status: Status) -> Sequence[Delivery]:
    """Return the delivery that is written with the end of an answer, if its user wants one.

    Whoever stops an answer knows about its end.
    """
    title = {Status.DONE: ANSWER_READY, Status.FAILED: ANSWER_FAILED}.get(status)
    return () if title is None else _answer_deliveries(record, record.channel, record.user, title)


def input_deliveries(
    record: Generation, request: InputRequest, approver: str | None = None
) -> Sequence[Delivery]:
    """Return the delivery that is written with the request of an input, if its user wants one.

    approver: the user in whose channel the request is; None for the channel of the answer.
    """
    channel = record.channel if approver is None else user_channel(approver)
    user = approver or record.user
    return _answer_deliveries(record, channel, user, INPUT_NEEDED, request.prompt)


def _answer_deliveries(
    record: Generation, channel: Channel, user: str, title: str, body: str = ""
) -> Sequence[Delivery]:
    delay_seconds = record.request.notify_seconds
    if delay_seconds is None:
        return ()
    push_id = new_delivery_id(channel)
    job = UserPush(
        user=user,
        message=PushMessage(title=title, body=body[:MAX_PAYLOAD_BYTES], tag=record.id),
        origin=PushOrigin(push_id=push_id, channel=channel, delay_seconds=delay_seconds),
    )
    return (_delivery(channel, push_id, job, delay_seconds),)


def device_deliveries(
    job: UserPush, subscriptions: Sequence[PushSubscription], *, age_seconds: float
) -> list[tuple[PushSubscription, Delivery]]:
    """Return the jobs that send a notification again to some devices of its user."""
    channel = user_channel(job.user)
    return [
        (
            each,
            _delivery(
                channel,
                delivery_id(channel, _name(job.origin.push_id, job.user, each.id)),
                DevicePush(
                    user=job.user,
                    subscription=each.id,
                    message=job.message,
                    origin=job.origin,
                    age_seconds=age_seconds,
                ),
                0.0,
            ),
        )
        for each in subscriptions
    ]


def user_deliveries(job: TopicPush, users: Sequence[str]) -> list[Delivery]:
    """Return the jobs of some users of a topic."""
    deliveries = []
    for user in users:
        channel = user_channel(user)
        name = delivery_id(channel, _name(job.origin.push_id, user))
        child = UserPush(user=user, message=job.message, origin=job.origin)
        deliveries.append(_delivery(channel, name, child, 0.0))
    return deliveries


def next_step(job: TopicPush, users: Sequence[str]) -> Delivery:
    """Return the job of the users of a topic after these."""
    following = msgspec.structs.replace(job, after=users[-1], count=job.count + len(users))
    channel = job.origin.channel
    name = delivery_id(channel, _name(job.origin.push_id, "after", users[-1]))
    return _delivery(channel, name, following, 0.0)


def at_position(job: PushJob, position: Position | None) -> PushJob:
    """Return the job with the position of its event, if it does not have it yet."""
    if position is None or job.origin.position is not None:
        return job
    origin = msgspec.structs.replace(job.origin, position=position)
    return msgspec.structs.replace(job, origin=origin)


def _delivery(channel: Channel, name: str, job: PushJob, delay_seconds: float) -> Delivery:
    return Delivery(
        queue=PUSH_QUEUE,
        channel=channel,
        lane=name,  # no notification waits for another one
        id=name,
        body=msgspec.json.encode(job),
        delay_seconds=delay_seconds,
    )


def _name(*parts: str) -> str:
    digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()
    return digest[:_NAME_CHARS]
