"""The messages for functions: each reaches its run once, whatever notice is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.core.channel import partition_of, user_channel
from hub.core.event import encode_json
from hub.core.generation import Generation, GenerationRequest, Message, new_generation_id
from hub.core.steering import SteeringMessage
from hub.engine.functions.steering_feed import SteeringFeed, SteeringFollower
from hub.testing.backend import MemoryBackend
from tests.doubles import FakeClock, until

REQUEST = GenerationRequest([Message("user", "hi")], upstream="u", model="m")


def message(n: int, text: str = "") -> SteeringMessage:
    return SteeringMessage(n, {"role": "user", "content": text or str(n)}, "alice")


@given(
    st.lists(st.integers(0, 6), max_size=12),
    st.integers(0, 12),
    st.integers(0, 6),
)
def test_reads_in_any_order(reads: list[int], begins_at: int, known: int) -> None:
    """Reads of the record may overtake each other; the run gets each message once, in order."""
    all_messages = [message(n) for n in range(6)]
    follower, got = SteeringFollower(), list[SteeringMessage]()
    for n, count in enumerate([*reads, 0]):
        if n == min(begins_at, len(reads)):
            before = follower.messages
            got += before
            follower.deliver(got.extend, after=before)
        follower.update(all_messages[:count])
    assert got == all_messages[: max(reads, default=0)]


def test_messages_that_the_broker_has_lost() -> None:
    """Those that took their numbers after a fail-over reach the run too."""
    got: list[str] = []

    def deliver(messages: Sequence[SteeringMessage]) -> None:
        got.extend(each.text for each in messages)

    follower = SteeringFollower()
    follower.update([message(0), message(1)])
    follower.deliver(deliver, after=())
    follower.update([message(0)])
    follower.update([message(0), message(1, "other")])
    assert got == ["0", "1", "other"]


async def test_lost_notice() -> None:
    """What no notice announces comes with the next read, also after the broker was away."""
    backend, clock = MemoryBackend(), FakeClock()
    id_ = new_generation_id(partition_of(user_channel("alice")))
    record = Generation(id_, "alice", REQUEST, steerable=True)
    await backend.generations.create(record, None)
    feed, got = SteeringFeed(backend.generations, clock, interval_seconds=5.0), list[int]()

    async def send(text: str) -> None:
        body = encode_json({"role": "user", "content": text})
        await backend.generations.steer(record, body, "alice", None)

    task = asyncio.create_task(feed.run())
    with feed.follow(id_) as follower:
        follower.deliver(lambda new: got.extend(each.n for each in new), after=())
        await send("with a notice")
        feed.on_notice(id_)
        await until(lambda: got == [0])
        await send("without one")
        backend.is_unavailable = True
        await clock.advance(5.0)
        backend.is_unavailable = False
        assert got == [0]
        await clock.advance(5.0)
        await until(lambda: got == [0, 1])
    await send("after its end")
    feed.on_notice(id_)
    await clock.advance(5.0)
    assert got == [0, 1]
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
