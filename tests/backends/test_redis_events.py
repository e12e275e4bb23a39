"""What only Redis does to the log: losing a key or a script, trimming, restarting, failing over."""

from __future__ import annotations

import asyncio
import random
import re
import time
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.backends.redis import events
from hub.backends.redis.call_lane import CallBatch
from hub.backends.redis.client import (
    channel_keys,
    generation_keys,
    inbox_keys,
    publish_idempotency_key,
)
from hub.backends.redis.events import (
    EVENTS_PER_CALL,
    RedisEventLog,
    pack_calls,
    parse_announcement,
)
from hub.core.channel import ALL, PARTITIONS, Channel, partition_of, topic_channel, user_channel
from hub.core.cursor import Position
from hub.core.event import Event
from hub.core.generation import (
    Generation,
    GenerationRequest,
    GenerationUpdate,
    Status,
    UpdateKind,
    new_generation_id,
)
from hub.core.inbox import ChangeTarget, InboxOptions, ItemChange, parse_item_id
from hub.errors import BrokerUnavailable
from hub.ports.events import FROM_START, Outcome, Page, Publication, Published
from hub.ports.inbox import ItemFilter
from tests.conftest import OpenedRedis
from tests.redis_backend import redis_backend, retention

ALICE = user_channel("alice")
KEYS = channel_keys(ALICE)


@pytest.fixture(params=["valkey", "redis"])
async def server(request: pytest.FixtureRequest, open_redis: Any) -> OpenedRedis:
    """Every kind of server, empty."""
    opened: OpenedRedis = await open_redis(request.param)
    return opened


async def read(log: RedisEventLog, after: Position | None, *, max_events: int = 20) -> Page:
    return (await log.read({ALICE: after}, max_events=max_events, max_bytes=10**6))[ALICE]


async def publish(log: RedisEventLog, data: bytes) -> Any:
    (published,) = await log.publish([Publication(channel=ALICE, name="n", data=data)])
    return published.position


async def test_channel_that_cannot_be_read_harms_no_other_reader(server: OpenedRedis) -> None:
    """Reads of one iteration of the loop share a call; each has a result of its own."""
    log = RedisEventLog(server.hub_client, retention())
    position = await publish(log, b"1")
    bad = user_channel("bad")
    await server.client.set(channel_keys(bad).head, "no hash")

    def read_one(channel: Channel) -> Any:
        return log.read({channel: FROM_START}, max_events=9, max_bytes=10**6)

    results: Any = await asyncio.gather(read_one(bad), read_one(ALICE), return_exceptions=True)
    assert isinstance(results[0], BrokerUnavailable)
    assert results[1][ALICE].head == position


async def test_lost_head_is_a_new_epoch_with_an_empty_log(server: OpenedRedis) -> None:
    """The entries of the older epoch are dropped, because their offsets have another meaning."""
    log = RedisEventLog(server.hub_client, retention())
    before = [await publish(log, b"old") for _ in range(3)]
    await server.client.delete(KEYS.head)
    after = await publish(log, b"new")
    assert after.epoch != before[0].epoch
    assert after.offset == 1
    page = await read(log, FROM_START)
    assert [event.data for event in page.events] == [b"new"]
    assert (await read(log, before[0])).reset_reason == "epoch"


async def test_reading_unknown_channels_creates_nothing(server: OpenedRedis) -> None:
    """However many channels without events are read, no key is theirs; each partition has one key
    for all of them.
    """
    log = RedisEventLog(server.hub_client, retention())
    channels = [topic_channel(f"fresh-{n}") for n in range(3 * PARTITIONS)]
    for origin in (None, FROM_START, Position("zzzzz", 3)):
        await log.read(dict.fromkeys(channels, origin), max_events=1, max_bytes=1)
    names = await server.client.keys("*")
    assert len(names) <= PARTITIONS
    assert {name.rpartition(b":")[2] for name in names} == {b"blank"}


async def test_blank_position_continues_with_the_first_event(server: OpenedRedis) -> None:
    """The position of a channel without events is continued by its first event, whatever became of
    the blank epoch in between; a position that is too old is a reset.
    """
    log = RedisEventLog(server.hub_client, retention())
    key = KEYS.head.partition("}")[0] + "}:blank"
    blank = (await read(log, None)).head
    assert (await read(log, blank)).reset_reason is None
    await server.client.hset(key, "r", "another run")  # a promoted replica
    page = await read(log, blank)
    assert (page.reset_reason, page.head.offset) == (None, 0)
    assert page.head.epoch != blank.epoch
    newer = page.head
    first = await publish(log, b"1")
    assert first.epoch not in (blank.epoch, newer.epoch)
    for position in (blank, newer):
        page = await read(log, position)
        assert (page.reset_reason, [event.data for event in page.events]) == (None, [b"1"])
    assert (await read(log, Position(blank.epoch, 1))).reset_reason == "epoch"


async def test_old_blank_position_is_a_reset(server: OpenedRedis) -> None:
    """A blank position that may be older than the head that its channel had is not continued."""
    log = RedisEventLog(server.hub_client, retention())
    key = KEYS.head.partition("}")[0] + "}:blank"
    blank = (await read(log, None)).head
    week = retention().position_ttl_seconds
    started_ms = int((time.time() - week) * 1000)
    await server.client.hset(key, "p", f"{blank.epoch}@{started_ms} ")
    assert (await read(log, blank)).reset_reason == "epoch"
    await publish(log, b"1")
    assert (await read(log, blank)).reset_reason == "epoch"


async def test_lost_server_is_a_reset_for_a_blank_position(server: OpenedRedis) -> None:
    """Whoever saw a channel without events cannot know what the lost data held."""
    log = RedisEventLog(server.hub_client, retention())
    blank = (await read(log, None)).head
    await publish(log, b"lost")
    await server.client.flushall()
    await publish(log, b"new")
    assert (await read(log, blank)).reset_reason == "epoch"


async def test_lost_log_is_a_reset(server: OpenedRedis) -> None:
    """Expired events are a reset for an old cursor, but not for a new one."""
    log = RedisEventLog(server.hub_client, retention())
    first, last = await publish(log, b"1"), await publish(log, b"2")
    await server.client.delete(KEYS.log)
    assert (await read(log, first)).reset_reason == "trimmed"
    assert (await read(log, last)).reset_reason is None
    start = await read(log, FROM_START)
    assert (start.reset_reason, list(start.events), start.end) == (None, [], last)


async def test_unknown_scripts_are_loaded_again(server: OpenedRedis) -> None:
    """A server that has lost the scripts gets them again."""
    log = RedisEventLog(server.hub_client, retention())
    await publish(log, b"1")
    await server.client.script_flush()
    many = [Publication(channel=ALICE, name="n", data=b"%d" % n) for n in range(2, 5)]
    published = await log.publish(many)
    assert [each.position.offset for each in published if each.position] == [2, 3, 4]


async def test_everything_expires(server: OpenedRedis) -> None:
    """Every key has a time to live."""
    log = RedisEventLog(server.hub_client, retention())
    once = Publication(channel=ALICE, name="n", data=b"1", idempotency_key="k")
    await log.publish([once])
    await log.read({user_channel("reader"): None}, max_events=1, max_bytes=1)
    names = await server.client.keys("*")
    assert len(names) == 5  # head, log, idempotency key, and the blank epoch of both partitions
    for name in names:
        assert await server.client.pttl(name) > 0


async def test_head_that_is_in_use_stays(server: OpenedRedis) -> None:
    """Reading the heads refreshes the time to live of one that would expire, and creates none."""
    log = RedisEventLog(server.hub_client, retention())
    position = await publish(log, b"1")
    other = user_channel("other")
    await server.client.pexpire(KEYS.head, 60_000)
    assert await log.heads([ALICE, other]) == {ALICE: position, other: None}
    assert await server.client.pttl(KEYS.head) > 6 * 86_400_000
    assert not await server.client.exists(channel_keys(other).head)


async def test_log_is_bounded_in_bytes(server: OpenedRedis) -> None:
    """The log holds at most 9/8 of max_bytes, keeps the newest events, and resets old cursors."""
    log = RedisEventLog(server.hub_client, retention(user={"max_bytes": 10_000}))
    first = await publish(log, b"x" * 500)
    for n in range(100):
        await publish(log, b"%03d" % n + b"x" * 497)
        entries = await server.client.xrange(KEYS.log)
        assert sum(len(fields[b"d"]) for _, fields in entries) <= 10_000 * 9 / 8
    page = await read(log, FROM_START, max_events=100)
    assert 15 <= len(page.events) <= 22
    assert page.events[-1].data[:3] == b"099"
    assert (await read(log, first)).reset_reason == "trimmed"


async def test_log_is_bounded_in_events(server: OpenedRedis) -> None:
    """Also where an event and its item share an entry: both count."""
    log = RedisEventLog(server.hub_client, retention(user={"max_events": 100}))
    # Blocks of few events, because the log drops whole blocks of 4 KB.
    kept = Publication(channel=ALICE, name="n", data=b'"%s"' % (b"x" * 1000), inbox=InboxOptions())
    for published in (100, 200, 300, 400):
        await log.publish([kept] * 50)
        page = await read(log, FROM_START, max_events=1000)
        assert page.head.offset == published
        assert 100 <= len(page.events) <= 200


async def test_event_larger_than_the_log(server: OpenedRedis) -> None:
    """The newest event stays whatever its size, and the next one replaces it."""
    log = RedisEventLog(server.hub_client, retention(user={"max_bytes": 100}))
    for data in (b"x" * 1000, b"y" * 1000):
        await publish(log, data)
        page = await read(log, FROM_START)
        assert [event.data for event in page.events] == [data]


async def test_log_is_bounded_in_age(server: OpenedRedis) -> None:
    """An event that is too old is not replayed, although newer ones keep the log alive."""
    log = RedisEventLog(server.hub_client, retention(user={"ttl_seconds": 0.4}))
    while True:  # again if this process was stopped meanwhile, for the server's clock goes on
        times = [time.monotonic()]
        old = await publish(log, b"old")
        await asyncio.sleep(0.3)
        times.append(time.monotonic())
        young = await publish(log, b"young")
        await asyncio.sleep(0.2)
        page = await read(log, FROM_START)
        from_start = await read(log, Position(old.epoch, 0))
        from_old = await read(log, old)
        await publish(log, b"new")
        kept = await server.client.xlen(KEYS.log)
        from_young = await read(log, young)
        times.append(time.monotonic())
        if max(later - earlier for earlier, later in pairwise(times)) < 0.35:
            break
    assert [event.data for event in page.events] == [b"young"]
    reasons = [each.reset_reason for each in (from_start, from_old, from_young)]
    assert reasons == ["trimmed", None, None]
    assert kept == 2


async def test_kinds_of_channels_have_their_own_retention(server: OpenedRedis) -> None:
    """The logs of a user, of a topic and of `all` have separate bounds."""
    keep = [{"max_bytes": n} for n in (1, 1000, 100_000)]
    log = RedisEventLog(server.hub_client, retention(user=keep[0], topic=keep[1], all=keep[2]))
    channels = (ALICE, topic_channel("t"), ALL)
    for channel in channels:
        for _ in range(10):
            await log.publish([Publication(channel=channel, name="n", data=b"x" * 300)])
    lengths = [await server.client.xlen(channel_keys(channel).log) for channel in channels]
    assert lengths == [1, 3, 10]


class Restarted:
    """A log whose server is replaced by another process, as by a restart or a failover."""

    def __init__(self, log: RedisEventLog, client: Any) -> None:
        self.log = log
        self.client = client
        self._saved: list[bytes] = []

    async def save(self) -> None:
        """Save the data that the new process will have."""
        self._saved = [await self.client.dump(key) for key in (KEYS.head, KEYS.log)]

    async def restart(self) -> None:
        """Replace the process; it has the saved data, or all data if nothing was saved."""
        for key, value in zip((KEYS.head, KEYS.log), self._saved, strict=False):
            await self.client.restore(key, 60_000, value, replace=True)
        epoch, _, *checks = (await self.client.hget(KEYS.head, "h")).split()
        await self.client.hset(KEYS.head, "h", b" ".join([epoch, b"another", *checks]))


@pytest.fixture
def restarted(server: OpenedRedis) -> Restarted:
    """A log whose server can be restarted."""
    return Restarted(RedisEventLog(server.hub_client, retention()), server.client)


async def test_restart_with_the_data_continues(restarted: Restarted) -> None:
    """A restart begins a new epoch, in which every cursor of the old one continues."""
    before = [await publish(restarted.log, b"%d" % n) for n in range(3)]
    await restarted.restart()
    after = await publish(restarted.log, b"3")
    assert (after.offset, after.epoch != before[0].epoch) == (4, True)
    for n, position in enumerate(before):
        page = await read(restarted.log, position)
        assert page.reset_reason is None
        assert [event.data for event in page.events] == [b"%d" % k for k in range(n + 1, 4)]
        assert {event.position.epoch for event in page.events if event.position} == {after.epoch}


async def test_first_event_after_a_restart_follows_the_newest_saved_one(
    restarted: Restarted,
) -> None:
    """A node that has received exactly what the new process has does not read the log."""
    saved = [await publish(restarted.log, b"%d" % n) for n in range(12)]
    await restarted.save()
    lost = await publish(restarted.log, b"lost")
    await restarted.restart()
    async with restarted.client.pubsub() as listener:
        await listener.psubscribe("*")
        await listener.get_message(timeout=60)  # the subscription
        position = await publish(restarted.log, b"new")
        message = await listener.get_message(timeout=60)
    received: list[Event] = []
    parse_announcement(ALICE, message["data"], received)
    assert received[0].position == position
    assert [each for each in [*saved, lost] if received[0].follows(each)] == [saved[-1]]


async def test_restart_that_lost_events_resets_the_cursors_behind_them(
    restarted: Restarted,
) -> None:
    """A cursor within the saved events continues. A cursor behind them is reset, even when new
    events have reached its offset.
    """
    positions = [await publish(restarted.log, b"%d" % n) for n in range(2)]
    await restarted.save()
    positions += [await publish(restarted.log, b"lost %d" % n) for n in range(2)]
    await restarted.restart()
    assert [(await read(restarted.log, p)).reset_reason for p in positions] == [
        None,
        None,
        "epoch",
        "epoch",
    ]
    for n in range(10):
        await publish(restarted.log, b"new %d" % n)
    assert [(await read(restarted.log, p)).reset_reason for p in positions] == [
        None,
        None,
        "epoch",
        "epoch",
    ]
    page = await read(restarted.log, positions[1])
    assert [event.data for event in page.events] == [b"new %d" % n for n in range(10)]


async def test_many_restarts(restarted: Restarted) -> None:
    """Cursors of the last epochs continue, and older ones are reset."""
    positions = []
    for n in range(40):
        positions.append(await publish(restarted.log, b"%d" % n))
        await restarted.restart()
    assert len(await restarted.client.hget(KEYS.head, "p")) <= 200
    lost = [(await read(restarted.log, p)).reset_reason for p in positions]
    assert lost[-15:] == [None] * 15
    assert lost[0] == "epoch"


async def test_same_key_after_a_restart(restarted: Restarted) -> None:
    """A repeated key returns the first position, which can still be read from."""
    once = Publication(channel=ALICE, name="n", data=b"1", idempotency_key="k")
    (first,) = await restarted.log.publish([once])
    await restarted.restart()
    await publish(restarted.log, b"2")
    (again,) = await restarted.log.publish([once])
    assert (again.outcome, again.position) == (Outcome.DUPLICATE, first.position)
    page = await read(restarted.log, again.position)
    assert [event.data for event in page.events] == [b"2"]


@pytest.mark.parametrize(("ephemeral", "trace"), [(False, ""), (True, ""), (False, "0a" * 24)])
async def test_event_and_its_item_are_one_notification(
    server: OpenedRedis, ephemeral: bool, trace: str
) -> None:
    """The subscribers get the events of one step, with data of several lines, in one message."""
    log, payload = RedisEventLog(server.hub_client, retention()), b""
    publication = Publication(
        channel=ALICE,
        name="n",
        data=b'{\n"a":1}\n',
        ephemeral=ephemeral,
        inbox=InboxOptions(),
        trace=trace,
    )
    async with server.client.pubsub() as pubsub, asyncio.timeout(60):
        await pubsub.subscribe(KEYS.log)
        await log.publish([publication])
        while not payload:
            message = await pubsub.get_message(ignore_subscribe_messages=True, timeout=1)
            payload = b"" if message is None else message["data"]
    events: list[Event] = []
    parse_announcement(ALICE, payload, events)
    assert [(event.name, event.trace) for event in events] == [("n", trace), ("inbox.item", "")]
    assert events[0].data == publication.data
    stored = (await read(log, FROM_START)).events
    assert [(each.position, each.data) for each in stored] == [
        (each.position, each.data) for each in events if each.position is not None
    ]


async def test_one_write_of_the_head_for_an_event_and_its_items(server: OpenedRedis) -> None:
    """Also where items were removed for the new one; the next publish counts on from there."""
    log = RedisEventLog(server.hub_client, retention())
    kept = Publication(channel=ALICE, name="n", data=b"1", inbox=InboxOptions())
    for _ in range(5):
        await log.publish([kept] * 45)  # as many as an inbox may hold
    await server.client.config_resetstat()
    (published,) = await log.publish([kept])
    stats = await server.client.info("commandstats")
    assert [stats[f"cmdstat_{each}"]["calls"] for each in ("xadd", "publish")] == [2, 1]
    assert stats["cmdstat_hset"]["calls"] == 1  # the head, which has the state of the inbox
    assert published.position is not None
    assert (await publish(log, b"2")).offset == published.position.offset + 3


@pytest.mark.parametrize("state", ["3 0 -3 1-1 9999999999999", "2 2", ""])
async def test_counts_that_cannot_be_are_counted_again(server: OpenedRedis, state: str) -> None:
    """Counts became negative when the server lost a key of the inbox; the inbox works again."""
    backend = redis_backend(server.hub_client)
    kept = Publication(channel=ALICE, name="n", data=b"1", inbox=InboxOptions())
    await backend.events.publish([kept, kept])
    await server.client.hset(KEYS.head, "i", state)
    assert (await backend.inboxes.read("alice", ItemFilter(limit=9))).counts.unread == 2
    await server.client.hset(KEYS.head, "i", state)
    await backend.events.publish([kept])
    page = await backend.inboxes.read("alice", ItemFilter(limit=9))
    assert (page.counts.unread, page.counts.unseen, len(page.items)) == (3, 3, 3)


async def test_invalid_publication_affects_no_other(server: OpenedRedis) -> None:
    """A publication in the same iteration of the loop as an invalid one is written."""
    log = RedisEventLog(server.hub_client, retention())
    update = GenerationUpdate(
        generation="no id",
        kind=UpdateKind.BEGIN,
        attempt=1,
        status=Status.RUNNING,
        index=0,
    )
    bad = Publication(channel=ALICE, name="n", data=b"1", update=update)
    good = Publication(channel=ALICE, name="n", data=b"1")
    async with asyncio.timeout(60):
        failed, written = await asyncio.gather(
            log.publish([bad]), log.publish([good]), return_exceptions=True
        )
    assert isinstance(failed, ValueError)
    assert isinstance(written, list)
    assert written[0].outcome is Outcome.WRITTEN


async def test_key_of_a_publish_has_its_own_lifetime(server: OpenedRedis) -> None:
    """The key of a publication with `idempotency_seconds` expires after them, also when it is
    repeated, and other keys expire as the settings say.
    """
    log = RedisEventLog(server.hub_client, retention(idempotency_seconds=100.0))
    batch = [
        Publication(
            channel=ALICE, name="n", data=b"1", idempotency_key=key, idempotency_seconds=seconds
        )
        for key, seconds in (("a", None), ("b", 86_400.0))
    ]
    for _ in range(2):
        await log.publish(batch)
        seconds = [await server.client.ttl(publish_idempotency_key(ALICE, key)) for key in "ab"]
        assert 90 < seconds[0] <= 100
        assert 86_390 < seconds[1] <= 86_400


async def test_reads_of_one_iteration_share_calls(server: OpenedRedis) -> None:
    """What many connections read together takes few calls, and each gets its own pages."""
    log = RedisEventLog(server.hub_client, retention())
    users = [user_channel(f"u{n}") for n in range(40)]
    await log.publish([Publication(channel=user, name=user, data=b"1") for user in users])
    before = server.hub_client.calls
    answers = await asyncio.gather(
        *(
            log.read({user: FROM_START, ALL: None}, max_events=10 + n % 2, max_bytes=1000)
            for n, user in enumerate(users)
        )
    )
    for user, pages in zip(users, answers, strict=True):
        assert list(pages) == [user, ALL]
        assert [event.name for event in pages[user].events] == [user]
    assert server.hub_client.calls - before <= len(users) / 2


@given(st.lists(st.integers(1, 150), min_size=1, max_size=8))
def test_events_of_one_caller_go_in_one_call(sizes: list[int]) -> None:
    """No call has more events than it may, the events keep their order, and those of a caller are
    in as few calls as possible. So its events are written together or not at all.
    """
    loop = asyncio.new_event_loop()
    batches = [
        CallBatch[Publication, Published](
            [Publication(channel=ALICE, name=f"{n}", data=b"%d" % k) for k in range(size)],
            loop.create_future(),
        )
        for n, size in enumerate(sizes)
    ]
    loop.close()
    addressed = [(each, b, k) for b in batches for k, each in enumerate(b.items)]
    calls = pack_calls(addressed)
    assert [each for call in calls for each in call] == addressed
    assert all(1 <= len(call) <= EVENTS_PER_CALL for call in calls)
    for batch, size in zip(batches, sizes, strict=True):
        used = sum(any(each[1] is batch for each in call) for call in calls)
        assert used == -(-size // EVENTS_PER_CALL)


async def test_delta_keeps_the_record_alive(server: OpenedRedis) -> None:
    """A delta refreshes the lives of record and parts when an eighth of them has passed, and gives
    one to parts that are new.
    """
    backend = redis_backend(server.hub_client)
    generation = new_generation_id(partition_of(ALICE))
    request = GenerationRequest([], upstream="u", model="m")
    await backend.generations.create(Generation(generation, "alice", request), None)
    keys = generation_keys(generation)
    assert keys is not None

    async def update(kind: UpdateKind, index: int = 0) -> list[int]:
        change = GenerationUpdate(generation, 1, kind, index=index, entries=b"x")
        event = Publication(channel=ALICE, name="n", data=b"{}", update=change)
        (published,) = await backend.events.publish([event])
        assert published.outcome is Outcome.WRITTEN
        return [await server.client.pttl(key) for key in (keys.record, keys.parts)]

    min_ms = retention().position_ttl_seconds * 1000
    assert min(await update(UpdateKind.BEGIN)) >= min_ms
    for key in (keys.record, keys.parts):
        await server.client.pexpire(key, 60_000)
    assert max(await update(UpdateKind.DELTA)) <= 60_000  # an eighth of its life has not passed
    await server.client.hset(keys.record, "renew_ms", "1")
    assert min(await update(UpdateKind.DELTA, 1)) >= min_ms
    await server.client.delete(keys.parts)
    assert min(await update(UpdateKind.DELTA, 2)) >= min_ms  # parts that are new have a life too


@pytest.mark.parametrize("lost", ["field", "head"])
async def test_inbox_is_counted_again(server: OpenedRedis, lost: str) -> None:
    """The head has the counts of the inbox; they are those of the items if it has expired."""
    backend = redis_backend(server.hub_client)
    log, inboxes = backend.events, backend.inboxes
    kept = Publication(channel=ALICE, name="n", data=b"1", inbox=InboxOptions())
    items = [each.item or "" for each in await log.publish([kept] * 3)]
    target = ChangeTarget(items=[parse_item_id(items[0], path="id")])
    await inboxes.change("alice", ItemChange.READ, target)
    if lost == "field":
        await server.client.hdel(KEYS.head, "i")
    else:
        await server.client.delete(KEYS.head)
    page = await inboxes.read("alice", ItemFilter(limit=9))
    assert (page.counts.unread, page.counts.unseen, len(page.items)) == (2, 2, 3)
    (published,) = await log.publish([kept])
    assert (published.item or "") > items[-1]
    page = await inboxes.read("alice", ItemFilter(limit=9))
    assert (page.counts.unread, page.counts.unseen, len(page.items)) == (3, 3, 4)


async def test_publish_while_the_inbox_is_erased(
    server: OpenedRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An item that arrives between any two commands of the erasure is counted, and expires."""
    backend = redis_backend(server.hub_client)
    kept = Publication(channel=ALICE, name="n", data=b"1", inbox=InboxOptions())
    await backend.events.publish([kept] * 2)
    call_key = server.hub_client.call_key

    async def publish_before(*arguments: Any) -> Any:
        await backend.events.publish([kept])
        return await call_key(*arguments)

    monkeypatch.setattr(server.hub_client, "call_key", publish_before)
    await backend.inboxes.erase("alice")
    monkeypatch.undo()
    assert [await server.client.pttl(name) for name in await server.client.keys("*")].count(-1) == 0
    page = await backend.inboxes.read("alice", ItemFilter(limit=9))
    assert page.counts.unread == len(page.items)


async def _next_millisecond(server: OpenedRedis) -> None:
    """Wait until the id of a new item has the number 0."""
    first = await _milliseconds(server)
    while await _milliseconds(server) == first:
        pass


async def _milliseconds(server: OpenedRedis) -> int:
    seconds, microseconds = await server.client.time()
    return int(seconds) * 1000 + int(microseconds) // 1000


async def _publish_by(server: OpenedRedis, body: str, seed: int) -> list[Any]:
    """Publish with the text of a script on an empty server. Return all that it replied, stored and
    announced, without times.
    """
    chance = random.Random(seed)
    backend = redis_backend(
        server.hub_client,
        log={"user": {"max_events": 70, "max_bytes": 30_000}},
        inbox={"max_items": 16},
    )
    log = backend.events
    await server.client.flushall()
    listener = server.client.pubsub()
    await listener.psubscribe("*")
    await listener.get_message(timeout=60)  # the subscription
    written: list[Any] = []
    channels = [user_channel("a"), user_channel("b"), topic_channel("t")]
    options = [None, None, InboxOptions(category="c"), *(InboxOptions(key=key) for key in "xyz")]
    for _ in range(16):
        publications = [
            Publication(
                channel=channel,
                name="n",
                data=b"x" * chance.randint(0, 99),
                inbox=chance.choice(options) if kept else None,
                ephemeral=chance.random() < 0.05,
            )
            for kept in [chance.random() < 0.8]
            for channel in chance.choices(channels, k=chance.randint(1, 64))
        ]
        call = log.publish_call(publications)
        arguments = ("", *call.arguments)
        await _next_millisecond(server)
        written.append(await server.client.eval(body, len(call.keys), *call.keys, *arguments))
        written += [(await listener.get_message(timeout=60) or {})["data"] for _ in publications]
        items = await server.client.xrange(inbox_keys(channels[0]).items)
        if items and chance.random() < 0.6:
            item = parse_item_id(chance.choice(items)[0].decode(), path="")
            change = chance.choice([ItemChange.READ, ItemChange.SEEN, ItemChange.DELETE])
            changed = await backend.inboxes.change("a", change, ChangeTarget(items=[item]))
            if changed is not None and changed.items:
                written.append((await listener.get_message(timeout=60) or {})["data"])
    for channel in channels:
        keys, inbox = channel_keys(channel), inbox_keys(channel)
        hashes = [await server.client.hgetall(name) for name in (keys.head, inbox.state)]
        written += [sorted(fields.items()) for fields in hashes]
        written += [await server.client.xrange(stream) for stream in (keys.log, inbox.items)]
    await listener.aclose()
    return [re.sub(r"(?<!\d)1\d{12}(-\d+)?(?!\d)", "…", str(each)) for each in written]


@pytest.mark.parametrize("seed", range(3))
async def test_plain_events_are_written_like_all_others(
    server: OpenedRedis, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """The part of the script for plain events does what the rest of it would do."""
    monkeypatch.setattr(events, "new_epoch", lambda: "epoch")
    # XTRIM with '~' removes whole nodes, whose bytes depend on the times of their entries.
    await server.client.config_set("stream-node-max-bytes", 0)
    kept = Publication(channel=ALICE, name="n", data=b"", inbox=InboxOptions())
    body = RedisEventLog(server.hub_client, retention()).publish_call([kept]).script.body
    rest_only = body.replace(
        "local function publish_plain()", "local function publish_plain() if true then return end"
    )
    assert rest_only != body
    written = [await _publish_by(server, text, seed) for text in (body, rest_only)]
    await server.client.config_set("stream-node-max-bytes", 4096)
    assert written[0] == written[1]


@pytest.mark.parametrize(
    ("from_ms", "until_ms", "is_taken"),
    [(-60_000, 60_000, True), (-3_600_000, -3_599_900, False), (3_600_000, 3_600_100, False)],
)
async def test_script_takes_a_history_only_at_its_time(
    server: OpenedRedis, from_ms: int, until_ms: int, is_taken: bool
) -> None:
    """A call that was under way for long, or reaches another clock, asks the server."""
    log = RedisEventLog(server.hub_client, retention())
    before = await publish(log, b"first")
    call = log.publish_call([Publication(channel=ALICE, name="n", data=b"second")])
    now = int(time.time() * 1000)
    known = f"{'f' * 16} {now + from_ms:013d} {now + until_ms:013d} run"
    arguments = (known, *call.arguments)
    reply = await server.client.eval(call.script.body, len(call.keys), *call.keys, *arguments)
    epoch = reply.split(b" ")[1].decode()
    assert (epoch != before.epoch) == is_taken  # the first event was written in another history
    head = await server.client.hget(KEYS.head, "h")
    assert (b" ffffffffffffffff " in head) == is_taken
