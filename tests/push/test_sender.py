"""What is sent of the notifications that are due."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from hub.core.channel import Channel, topic_channel, user_channel
from hub.core.cursor import Position
from hub.core.deliveries import PUSH_QUEUE, Dead, Done, Failed, RetryPolicy
from hub.core.push_job import PushOrigin, first_delivery
from hub.core.push_message import PushMessage
from hub.core.push_subscription import PushSubscription, subscription_id
from hub.engine.delivery_loop import DeliveryLoop
from hub.engine.tasks import Supervisor
from hub.ports.events import Publication
from hub.ports.push import SendOutcome, SendResult
from hub.push.sender import USERS_PER_STEP, PushSender
from hub.testing.backend import MemoryBackend
from hub.testing.fakes import FakeClock
from hub.testing.push import FakePushChannel

MESSAGE = PushMessage(title="Report ready", ttl_seconds=600.0)


class FakeInbox:
    """Implements PushInbox with what the test sets."""

    def __init__(self) -> None:
        self.read: set[str] = set()
        self.muted: set[tuple[str, str]] = set()
        self.users: list[str] = []

    async def is_read(
        self, user: str, channel: Channel, position: Position, *, category: str = ""
    ) -> bool:
        return user in self.read

    async def is_muted(self, user: str, category: str) -> bool:
        return (user, category) in self.muted

    async def topic_users(self, topic: str, after: str, limit: int) -> list[str]:
        return [user for user in sorted(self.users) if user > after][:limit]


class Bench:
    """A sender over a backend in memory, and a clock that the test moves."""

    def __init__(self, **options: Any) -> None:
        self.now = 1.7e9
        self.backend = MemoryBackend(now=lambda: self.now)
        self.channel, self.inbox = FakePushChannel(), FakeInbox()
        self.taken: set[str] = set()
        self.failures: list[tuple[str, str]] = []
        self.sender = PushSender(
            {"web_push": self.channel},
            self.backend.push_subscriptions,
            self.backend.deliveries,
            self._is_taken,
            inbox=self.inbox,
            on_failed=self._on_failed,
            **{"ttl_seconds": 3600.0, "max_topic_users": 10_000, **options},
        )

    async def _is_taken(self, user: str, channel: Channel, position: Position) -> bool:
        return user in self.taken

    async def _on_failed(
        self, user: str, origin: PushOrigin, message: PushMessage, reason: str
    ) -> None:
        self.failures.append((user, reason))

    async def add_device(self, user: str, name: str) -> str:
        """Add a device and return its endpoint."""
        endpoint = f"https://push.example/{name}"
        device = PushSubscription(
            id=subscription_id(endpoint), endpoint=endpoint, p256dh="k", auth="a"
        )
        await self.backend.push_subscriptions.put(user, device)
        return endpoint

    async def publish(
        self, channel: Channel, message: PushMessage = MESSAGE, **origin: Any
    ) -> None:
        """Publish an event with a notification that is due after ten seconds."""
        delivery = first_delivery(channel, message, delay_seconds=10.0, **origin)
        publication = Publication(channel=channel, name="n", data=b"1", deliveries=[delivery])
        await self.backend.events.publish([publication])

    async def run(self, passed_seconds: float = 10.0) -> list[Any]:
        """Do everything that is due after this time, and return the results."""
        self.now += passed_seconds
        results = []
        while taken := await self.backend.deliveries.take(PUSH_QUEUE, 100, lease_seconds=60):
            for each in taken:
                result = await self.sender.send(each)
                results.append(result)
                settlement = RetryPolicy(
                    min_seconds=2, max_seconds=900, max_age_seconds=86400
                ).decide(result, failures=each.failures, age_seconds=each.age_seconds, jitter=1)
                await self.backend.deliveries.complete(each, settlement)
        return results

    @property
    def endpoints(self) -> list[str]:
        """Where messages were sent, in order."""
        return [each.endpoint for each in self.channel.sent]


async def test_sent_to_every_device() -> None:
    """A notification that nobody took is sent once to each device of the user, when it is due."""
    bench = Bench()
    devices = [await bench.add_device("alice", name) for name in ("phone", "laptop")]
    await bench.add_device("bob", "other")
    await bench.publish(user_channel("alice"))
    assert await bench.run(9.0) == []
    assert await bench.run(1.0) == [Done()]
    assert sorted(bench.endpoints) == sorted(devices)
    assert {each.ttl_seconds for each in bench.channel.sent} == {600.0}
    assert len({each.push_id for each in bench.channel.sent}) == 1
    assert await bench.run(1000.0) == []


async def test_not_needed() -> None:
    """What a connection has taken, and what was read or muted, is not sent."""
    bench = Bench()
    for user in ("taker", "reader", "muter", "other"):
        await bench.add_device(user, user)
    bench.taken, bench.inbox.read, bench.inbox.muted = {"taker"}, {"reader"}, {("muter", "ads")}
    for user in ("taker", "reader", "muter", "other", "nobody"):
        await bench.publish(user_channel(user), in_inbox=True, category="ads")
    assert await bench.run() == [Done()] * 5
    assert bench.endpoints == ["https://push.example/other"]


async def test_required_and_not_in_the_inbox() -> None:
    """A required notification ignores muting, and what is in no inbox cannot be read there."""
    bench = Bench()
    await bench.add_device("a", "a")
    bench.inbox.muted, bench.inbox.read = {("a", "ads")}, {"a"}
    await bench.publish(user_channel("a"), category="ads", required=True)
    await bench.run()
    assert len(bench.endpoints) == 1


async def test_unsubscribed() -> None:
    """A subscription that has ended is removed, and the others get the message."""
    bench = Bench()
    old = await bench.add_device("alice", "old")
    new = await bench.add_device("alice", "new")
    bench.channel.results[old] = SendResult(SendOutcome.UNSUBSCRIBED)
    await bench.publish(user_channel("alice"))
    assert await bench.run() == [Done()]
    left = await bench.backend.push_subscriptions.list("alice")
    assert [each.endpoint for each in left] == [new]
    assert bench.failures == []


async def test_all_unsubscribed() -> None:
    """A notification that no device of the user takes has failed, and leaves no dead letter."""
    bench = Bench()
    for name in ("old", "older"):
        device = await bench.add_device("alice", name)
        bench.channel.results[device] = SendResult(SendOutcome.UNSUBSCRIBED)
    await bench.publish(user_channel("alice"))
    assert await bench.run() == [Done()]
    assert bench.failures == [("alice", "no device of the user is subscribed any more")]


async def test_later() -> None:
    """A device whose service is busy gets the message later, and no other device gets it twice."""
    bench = Bench()
    busy = await bench.add_device("alice", "busy")
    other = await bench.add_device("alice", "other")
    bench.channel.results[busy] = SendResult(SendOutcome.LATER, "busy", 30.0)
    await bench.publish(user_channel("alice"))
    assert await bench.run() == [Done()]
    assert await bench.run(29.0) == []
    assert await bench.run(1.0) == [Failed("busy", 30.0)]
    assert await bench.run(29.0) == []
    del bench.channel.results[busy]
    assert await bench.run(1.0) == [Done()]
    assert sorted(bench.endpoints) == sorted([busy, busy, busy, other])
    assert bench.channel.sent[-1].ttl_seconds == 540.0
    assert {each.push_id for each in bench.channel.sent} == {bench.channel.sent[0].push_id}


async def test_later_than_allowed() -> None:
    """A service that asks for years gets the message after the longest delay of the settings."""
    bench = Bench(max_retry_seconds=60.0)
    busy = await bench.add_device("alice", "busy")
    bench.channel.results[busy] = SendResult(SendOutcome.LATER, "busy", 10.0**9)
    await bench.publish(user_channel("alice"))
    await bench.run()
    assert await bench.run(60.0) == [Failed("busy", 10.0**9)]


async def test_later_but_not_needed() -> None:
    """A device does not get again what the user has taken or unsubscribed meanwhile."""
    bench = Bench()
    for user in ("taker", "absent"):
        endpoint = await bench.add_device(user, user)
        bench.channel.results[endpoint] = SendResult(SendOutcome.LATER, "busy")
        await bench.publish(user_channel(user))
    await bench.run()
    assert len(bench.endpoints) == 2
    bench.taken = {"taker"}
    await bench.backend.push_subscriptions.remove_all("absent")
    assert await bench.run() == [Done()] * 2
    assert len(bench.endpoints) == 2


async def test_given_up_before_its_time_to_live() -> None:
    """A message that may live longer than deliveries are tried is given up with them."""
    bench = Bench(ttl_seconds=14 * 86400.0)
    busy = await bench.add_device("alice", "busy")
    bench.channel.results[busy] = SendResult(SendOutcome.LATER, "busy", 900.0)
    await bench.publish(user_channel("alice"), PushMessage(title="T"))
    await bench.run()
    while (await bench.backend.deliveries.counts(PUSH_QUEUE)).waiting:
        await bench.run(900.0)
    assert bench.failures == [("alice", "busy")]
    assert (await bench.backend.deliveries.counts(PUSH_QUEUE)).dead == 1


async def test_given_up() -> None:
    """What cannot be sent is a dead letter, and the application is told."""
    bench = Bench()
    refused = await bench.add_device("refused", "refused")
    busy = await bench.add_device("busy", "busy")
    bench.channel.results[refused] = SendResult(SendOutcome.REFUSED, "403")
    bench.channel.results[busy] = SendResult(SendOutcome.LATER, "busy")
    await bench.publish(user_channel("refused"))
    await bench.publish(user_channel("busy"))
    assert Dead("403") in await bench.run()
    for _ in range(20):
        await bench.run(100.0)
    assert bench.failures[0] == ("refused", "403")
    assert [user for user, _ in bench.failures] == ["refused", "busy"]
    counts = await bench.backend.deliveries.counts(PUSH_QUEUE)
    assert (counts.dead, counts.waiting) == (2, 0)


async def test_one_device_refused() -> None:
    """A notification that reached one device has not failed."""
    bench = Bench()
    refused = await bench.add_device("a", "refused")
    await bench.add_device("a", "fine")
    bench.channel.results[refused] = SendResult(SendOutcome.REFUSED, "403")
    await bench.publish(user_channel("a"))
    assert await bench.run() == [Done()]
    assert bench.failures == []


async def test_expired() -> None:
    """The time to live begins when the notification is due, so that a short one is sent too."""
    bench = Bench()
    await bench.add_device("a", "a")
    for ttl_seconds in (0.0, 5.0):
        await bench.publish(user_channel("a"), PushMessage(title="t", ttl_seconds=ttl_seconds))
        assert await bench.run() == [Done()]
    assert [each.ttl_seconds for each in bench.channel.sent] == [0.0, 5.0]
    await bench.publish(user_channel("a"), PushMessage(title="t", ttl_seconds=5.0))
    assert isinstance((await bench.run(15.0))[0], Dead)


@pytest.mark.parametrize("ttl_seconds", [0.0, 5.0])
async def test_expired_before_the_service_has_time(ttl_seconds: float) -> None:
    """A busy service does not get a notification after its time to live; 0 means only once."""
    bench = Bench()
    bench.channel.results[await bench.add_device("a", "a")] = SendResult(SendOutcome.LATER, "busy")
    await bench.publish(user_channel("a"), PushMessage(title="t", ttl_seconds=ttl_seconds))
    assert await bench.run() == [Done()]
    assert isinstance((await bench.run(5.0))[0], Dead)
    assert len(bench.channel.sent) == 1


async def test_topic() -> None:
    """Every subscriber of a topic is notified once, in steps, but who has taken the event."""
    bench = Bench()
    bench.inbox.users = [f"u{n:04}" for n in range(2 * USERS_PER_STEP + 7)]
    for user in bench.inbox.users:
        await bench.add_device(user, user)
    bench.taken = set(bench.inbox.users[::2])
    await bench.publish(topic_channel("news"))
    await bench.run()
    expected = [f"https://push.example/{user}" for user in bench.inbox.users[1::2]]
    assert sorted(bench.endpoints) == expected


async def test_topic_is_cut_off() -> None:
    """A step that is repeated after a crash adds no job twice."""
    bench = Bench()
    bench.inbox.users = [f"u{n:04}" for n in range(USERS_PER_STEP + 3)]
    for user in bench.inbox.users:
        await bench.add_device(user, user)
    await bench.publish(topic_channel("news"))
    bench.now += 10.0
    (taken,) = await bench.backend.deliveries.take(PUSH_QUEUE, 1, lease_seconds=60)
    await bench.sender.send(taken)  # and then the worker is lost: nothing is recorded
    await bench.sender.send(taken)
    await bench.backend.deliveries.complete(taken, Done())
    await bench.run()
    assert len(bench.endpoints) == len(set(bench.endpoints)) == len(bench.inbox.users)


async def test_topic_has_a_limit() -> None:
    """At most max_topic_users users of a topic are notified."""
    bench = Bench(max_topic_users=3)
    bench.inbox.users = [f"u{n}" for n in range(9)]
    for user in bench.inbox.users:
        await bench.add_device(user, user)
    await bench.publish(topic_channel("news"))
    await bench.run()
    assert len(bench.endpoints) == 3


async def test_unknown_job() -> None:
    """A job that cannot be read is a dead letter."""
    bench = Bench()
    delivery = first_delivery(user_channel("a"), MESSAGE, delay_seconds=0.0)
    await bench.backend.deliveries.add([msgspec.structs.replace(delivery, body=b'{"type":"x"}')])
    assert isinstance((await bench.run())[0], Dead)


async def test_loop_sends_what_is_due() -> None:
    """The loop of deliveries and the sender fit together."""
    bench, clock = Bench(), FakeClock()
    await bench.add_device("a", "a")
    delivery = first_delivery(user_channel("a"), MESSAGE, delay_seconds=0.0)
    await bench.backend.deliveries.add([delivery])
    policy = RetryPolicy(min_seconds=2, max_seconds=900, max_age_seconds=86400)
    loop = DeliveryLoop(
        bench.backend.deliveries,
        PUSH_QUEUE,
        bench.sender.send,
        clock,
        policy=policy,
        concurrency=4,
        lease_seconds=60,
        poll_seconds=1,
    )
    async with Supervisor(clock) as tasks:
        tasks.start("pushes", loop.run)
        async with asyncio.timeout(60):
            while not bench.endpoints:
                await asyncio.sleep(0)
