"""What every broker must do: one suite over memory, fakeredis, Valkey and Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import msgspec
import pytest

from hub.core.channel import ALL, Channel, partition_of, topic_channel, user_channel
from hub.core.cursor import Position
from hub.core.event import Event
from hub.core.generation import (
    Generation,
    GenerationRequest,
    GenerationUpdate,
    Message,
    Status,
    StopResult,
    UpdateKind,
    new_generation_id,
)
from hub.engine.tasks import cancel_and_wait
from hub.ports.backend import Backend
from hub.ports.events import FROM_START, Outcome, Page, Publication
from hub.testing.backend import MemoryBackend
from tests.redis_backend import redis_backend

ALICE = user_channel("alice")
KEEP = 100
QUESTION = GenerationRequest(messages=[Message(role="user", content="hi")], upstream="u", model="m")


class Kit:
    """A broker, its generations, and everything that it announced."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.heard: asyncio.Queue[Event] = asyncio.Queue()
        self.relinked = asyncio.Event()
        backend.subscriptions.listen(self._take, self.relinked.set)

    def _take(self, events: Sequence[Event]) -> None:
        for event in events:
            self.heard.put_nowait(event)

    async def publish(self, data: str = "1", **more: Any) -> tuple[Outcome, Position | None]:
        publication = Publication(channel=ALICE, name="n", data=data.encode(), **more)
        (published,) = await self.backend.events.publish([publication])
        return published.outcome, published.position

    async def next(self) -> Event:
        async with asyncio.timeout(30):
            return await self.heard.get()

    async def read(self, after: Position | None, limit: int = 100) -> list[bytes]:
        return [event.data for event in (await self.page(after, limit)).events]

    async def page(
        self, after: Position | None, max_events: int = 100, max_bytes: int = 10**6
    ) -> Page:
        pages = await self.backend.events.read(
            {ALICE: after}, max_events=max_events, max_bytes=max_bytes
        )
        return pages[ALICE]


@pytest.fixture(params=["memory", "fakeredis", "valkey", "redis"])
async def kit(request: pytest.FixtureRequest, open_redis: Any) -> AsyncIterator[Kit]:
    """The broker in memory, or RedisBroker over each server."""
    if request.param == "memory":
        yield Kit(MemoryBackend(max_events=KEEP))
        return
    client = (await open_redis(request.param)).link
    backend = redis_backend(client, log={"user": {"max_events": KEEP}})
    receiving = asyncio.create_task(backend.subscriptions.run())
    yield Kit(backend)
    await cancel_and_wait([receiving])


async def test_offsets_count_up_in_one_epoch(kit: Kit) -> None:
    """A channel's events are 1, 2, 3 in one epoch."""
    positions = [(await kit.publish())[1] for _ in range(3)]
    assert [p.offset for p in positions if p] == [1, 2, 3]
    assert len({p.epoch for p in positions if p}) == 1


async def test_channels_are_numbered_apart(kit: Kit) -> None:
    """Another channel begins at 1 too."""
    await kit.publish()
    (other,) = await kit.backend.events.publish([Publication(channel=ALL, name="n", data=b"1")])
    assert other.position is not None
    assert other.position.offset == 1


async def test_batch_is_answered_in_order(kit: Kit) -> None:
    """Each publication of a batch gets its own answer."""
    batch = [Publication(channel=ALICE, name="n", data=b"%d" % n) for n in range(5)]
    answers = await kit.backend.events.publish(batch)
    assert [a.position.offset for a in answers if a.position] == [1, 2, 3, 4, 5]
    assert await kit.read(FROM_START) == [b"0", b"1", b"2", b"3", b"4"]


async def test_same_key_writes_once(kit: Kit) -> None:
    """A repeated key gets the first position and leaves no second event."""
    first = await kit.publish(idempotency_key="k")
    again = await kit.publish("2", idempotency_key="k")
    assert first[0] is Outcome.WRITTEN
    assert again == (Outcome.DUPLICATE, first[1])
    assert await kit.read(FROM_START) == [b"1"]


async def test_key_of_an_ephemeral_event_counts_too(kit: Kit) -> None:
    """The second sending of an ephemeral event is a duplicate without a position."""
    await kit.publish(idempotency_key="k", ephemeral=True)
    assert await kit.publish(idempotency_key="k", ephemeral=True) == (Outcome.DUPLICATE, None)


async def test_reading_after_a_position(kit: Kit) -> None:
    """Exactly the events after it, in order."""
    await kit.publish("1")
    _, second = await kit.publish("2")
    await kit.publish("3")
    await kit.publish("4")
    assert await kit.read(second) == [b"3", b"4"]


async def test_reading_in_pages(kit: Kit) -> None:
    """A page says up to where it reads, so that the next one can go on."""
    for n in range(5):
        await kit.publish(str(n))
    page = await kit.page(FROM_START, 3)
    rest = await kit.page(page.end, 3)
    assert [e.data for e in (*page.events, *rest.events)] == [b"0", b"1", b"2", b"3", b"4"]
    assert page.end != page.head
    assert rest.end == rest.head


async def test_page_is_bounded_in_bytes(kit: Kit) -> None:
    """It ends with the event that reaches the bound, and goes on after it."""
    for n in range(4):
        await kit.publish(str(n) * 1000)
    page = await kit.page(FROM_START, 100, 1500)
    rest = await kit.page(page.end, 100, 10**6)
    assert [len(p.events) for p in (page, rest)] == [2, 2]
    assert [e.data[:1] for e in (*page.events, *rest.events)] == [b"0", b"1", b"2", b"3"]


async def test_reading_several_channels(kit: Kit) -> None:
    """Each from its own position."""
    await kit.publish("1")
    await kit.backend.events.publish([Publication(channel=ALL, name="n", data=b"2")])
    pages = await kit.backend.events.read(
        {ALICE: None, ALL: FROM_START}, max_events=10, max_bytes=10**6
    )
    assert [len(pages[channel].events) for channel in (ALICE, ALL)] == [0, 1]


async def test_reading_the_head_reads_nothing(kit: Kit) -> None:
    """Without a position there are no events, only the head."""
    _, position = await kit.publish()
    page = await kit.page(None, 10)
    assert (list(page.events), page.head) == ([], position)


async def test_channel_without_events_has_a_head(kit: Kit) -> None:
    """A cursor taken before the first event continues with that event."""
    head = (await kit.page(None, 10)).head
    assert head.offset == 0
    await kit.publish("first")
    assert await kit.read(head) == [b"first"]


async def test_other_epoch_is_lost(kit: Kit) -> None:
    """A position of another epoch cannot be continued, and the page says so."""
    await kit.publish()
    page = await kit.page(Position("zzzzz", 1), 10)
    assert (page.reset_reason, list(page.events), page.end) == ("epoch", [], page.head)


async def test_position_from_the_future_is_lost(kit: Kit) -> None:
    """An offset that the channel has not reached is not a place to continue from."""
    _, position = await kit.publish()
    assert position is not None
    page = await kit.page(Position(position.epoch, position.offset + 1), 10)
    assert page.reset_reason == "epoch"


async def test_trimmed_position_is_lost(kit: Kit) -> None:
    """When events after the position are gone, the page says so and gives none."""
    _, first = await kit.publish()
    await kit.backend.events.publish([Publication(channel=ALICE, name="n", data=b"1")] * (KEEP * 4))
    page = await kit.page(first, 10)
    assert (page.reset_reason, list(page.events)) == ("trimmed", [])


async def test_expired_event_is_not_replayed(kit: Kit) -> None:
    """An event past its own life is skipped and not taken for a loss."""
    head = (await kit.page(None, 10)).head
    await kit.publish("short", ttl_seconds=0.001)
    await asyncio.sleep(0.01)  # the servers' clock cannot be held
    await kit.publish("long", ttl_seconds=100.0)
    assert await kit.read(head) == [b"long"]


async def test_ephemeral_event_is_heard_and_not_stored(kit: Kit) -> None:
    """It is announced without a position and never read again."""
    await kit.backend.subscriptions.subscribe([ALICE])
    assert await kit.publish("now", ephemeral=True) == (Outcome.WRITTEN, None)
    assert await kit.next() == Event(ALICE, "n", b"now", None)
    assert await kit.read(FROM_START) == []


async def test_channel_of_the_hubs_own(kit: Kit) -> None:
    """One that is no user's, no topic and not all is a channel like others."""
    own = Channel("hub:reports")
    await kit.backend.subscriptions.subscribe([own])
    for ephemeral in (True, False):
        event = Publication(channel=own, name="n", data=b"1", ephemeral=ephemeral)
        (published,) = await kit.backend.events.publish([event])
        assert await kit.next() == Event(own, "n", b"1", published.position)


async def test_subscribed_channel_is_heard(kit: Kit) -> None:
    """Every event published after subscribe has returned is heard, with its position."""
    await kit.backend.subscriptions.subscribe([ALICE])
    _, position = await kit.publish('{"a":"line\\nend"}')
    assert await kit.next() == Event(ALICE, "n", b'{"a":"line\\nend"}', position)


@pytest.mark.parametrize("ephemeral", [False, True])
async def test_trace_is_heard_and_not_stored(kit: Kit, ephemeral: bool) -> None:
    """An event carries its publication's trace to who listens, beside events that have none."""
    await kit.backend.subscriptions.subscribe([ALICE])
    traced = Publication(
        channel=ALICE, name="n", data=b"1", ephemeral=ephemeral, ttl_seconds=60.0, trace="4e" * 24
    )
    plain = Publication(channel=ALICE, name="n", data=b"2")
    first, _ = await kit.backend.events.publish([traced, plain])
    assert await kit.next() == Event(ALICE, "n", b"1", first.position, "4e" * 24)
    assert (await kit.next()).trace == ""
    page = await kit.page(FROM_START)
    assert [event.trace for event in page.events] == [""] * (1 if ephemeral else 2)


async def test_trace_stands_behind_a_generations_step(kit: Kit) -> None:
    """The step is made and its event carries the trace."""
    await kit.backend.subscriptions.subscribe([ALICE])
    name = new_generation_id(partition_of(ALICE))
    await kit.backend.generations.create(Generation(id=name, user="alice", request=QUESTION), None)
    step = GenerationUpdate(name, 1, UpdateKind.BEGIN, Status.RUNNING)
    outcome, _ = await kit.publish(update=step, idempotency_key="k", trace="ab" * 24)
    assert outcome is Outcome.WRITTEN
    assert (await kit.next()).trace == "ab" * 24


async def test_question_keeps_who_asked(kit: Kit) -> None:
    """A question's trace is in its record."""
    name = new_generation_id(partition_of(ALICE))
    question = msgspec.structs.replace(QUESTION, trace="00-ab-cd-01")
    await kit.backend.generations.create(Generation(id=name, user="alice", request=question), None)
    found = await kit.backend.generations.find(name)
    assert found is not None
    assert found.request == question


async def test_other_channels_are_not_heard(kit: Kit) -> None:
    """Only what was subscribed to comes."""
    await kit.backend.subscriptions.subscribe([topic_channel("a")])
    await kit.publish("not this")
    other = Publication(channel=topic_channel("a"), name="n", data=b"this")
    await kit.backend.events.publish([other])
    assert (await kit.next()).data == b"this"


async def test_subscribing_twice_is_heard_once(kit: Kit) -> None:
    """A second subscriber does not double the events."""
    await kit.backend.subscriptions.subscribe([ALICE])
    await kit.backend.subscriptions.subscribe([ALICE])
    await kit.publish("1")
    await kit.publish("2")
    assert [(await kit.next()).data, (await kit.next()).data] == [b"1", b"2"]


async def test_subscribing_many_channels(kit: Kit) -> None:
    """More channels than one command's batch are all heard."""
    many = [user_channel(f"u{n}") for n in range(1200)]
    await kit.backend.subscriptions.subscribe(many)
    await kit.backend.events.publish([Publication(channel=c, name="n", data=b"1") for c in many])
    assert {(await kit.next()).channel for _ in many} == set(many)


async def test_broker_that_works_answers_the_ping(kit: Kit) -> None:
    """A broker that is there and heard passes."""
    await kit.backend.subscriptions.subscribe([ALICE])
    await kit.backend.health.check_ready()


class Story:
    """One generation of alice's, and steps on it."""

    def __init__(self, kit: Kit) -> None:
        self.kit = kit
        self.id = new_generation_id(partition_of(ALICE))

    async def create(self, key: str | None = None) -> Any:
        return await self.kit.backend.generations.create(
            Generation(self.id, "alice", QUESTION), key
        )

    async def step(self, change: UpdateKind, attempt: int = 1, **more: Any) -> Outcome:
        step = GenerationUpdate(self.id, attempt, change, **more)
        outcome, _ = await self.kit.publish('{"by":"x"}', update=step)
        return outcome

    async def found(self) -> Generation:
        found = await self.kit.backend.generations.find(self.id)
        assert found is not None
        return found


async def test_created_generation_is_found(kit: Kit) -> None:
    """The record holds the question and waits in the queue."""
    story = Story(kit)
    _, before = await kit.publish()
    created = await story.create()
    assert (created.generation, created.position, created.new) == (story.id, before, True)
    assert await story.found() == Generation(story.id, "alice", QUESTION, after=before)


async def test_same_key_finds_the_same_generation(kit: Kit) -> None:
    """A repeated question starts nothing and gets the first one's id and position."""
    first = await Story(kit).create("key")
    await kit.publish()
    again = await Story(kit).create("key")
    assert (again.generation, again.position) == (first.generation, first.position)
    assert (first.new, again.new) == (True, False)


async def test_key_belongs_to_its_user(kit: Kit) -> None:
    """Another user's same key is another generation."""
    first = await Story(kit).create("key")
    other = Generation(new_generation_id(partition_of(user_channel("bob"))), "bob", QUESTION)
    assert (await kit.backend.generations.create(other, "key")).generation != first.generation


async def test_newest_generation_of_a_chat(kit: Kit) -> None:
    """Of the user's own chat of that name, whether it still runs or not."""
    chat = msgspec.structs.replace(QUESTION, chat="c d")
    assert await kit.backend.generations.newest_of_chat("alice", "c d") is None
    older, newest = (new_generation_id(partition_of(ALICE)) for _ in range(2))
    for each in (older, newest):
        await kit.backend.generations.create(Generation(each, "alice", chat), None)
        assert await kit.backend.generations.newest_of_chat("alice", "c d") == each
    await Story(kit).create()
    assert await kit.backend.generations.newest_of_chat("alice", "c d") == newest
    assert await kit.backend.generations.newest_of_chat("bob", "c d") is None
    found = await kit.backend.generations.find(newest)
    assert found is not None
    assert found.request.chat == "c d"


async def test_chat_of_a_question_that_was_refused(kit: Kit) -> None:
    """The answer that ran in it before can still be found and stopped; if none did, none can."""
    chat = msgspec.structs.replace(QUESTION, chat="c")
    running, refused, later = (new_generation_id(partition_of(ALICE)) for _ in range(3))
    await kit.backend.generations.create(Generation(running, "alice", chat), None)
    await kit.backend.generations.create(Generation(refused, "alice", chat), "key")
    await kit.backend.generations.discard(refused, "alice", "key", "c")
    assert await kit.backend.generations.newest_of_chat("alice", "c") == running
    await kit.backend.generations.create(Generation(refused, "alice", chat), None)
    await kit.backend.generations.create(Generation(later, "alice", chat), None)
    await kit.backend.generations.discard(refused, "alice", None, "c")
    assert await kit.backend.generations.newest_of_chat("alice", "c") == later
    only = msgspec.structs.replace(QUESTION, chat="d")
    await kit.backend.generations.create(Generation(refused, "alice", only), None)
    await kit.backend.generations.discard(refused, "alice", None, "d")
    assert await kit.backend.generations.newest_of_chat("alice", "d") is None
    assert await kit.backend.generations.find(refused) is None


def like_named(channel_of: Callable[[str], Channel]) -> tuple[str, str]:
    """A name, and a longer one with a colon whose channel has the same partition."""
    partition = partition_of(channel_of("a"))
    longer = (f"a:{n}" for n in range(10_000))
    return "a", next(name for name in longer if partition_of(channel_of(name)) == partition)


async def test_names_with_colons_share_no_memory(kit: Kit) -> None:
    """User `a` with key `1:k` is not user `a:1` with key `k`; nor are their chats, or topics."""
    short, long = like_named(user_channel)
    rest = long.removeprefix(short + ":")
    partition = partition_of(user_channel(short))
    mine, theirs = new_generation_id(partition), new_generation_id(partition)
    for user, name, key in ((long, mine, "k"), (short, theirs, f"{rest}:k")):
        question = msgspec.structs.replace(QUESTION, chat=key)
        created = await kit.backend.generations.create(Generation(name, user, question), key)
        assert (created.generation, created.new) == (name, True)
    assert await kit.backend.generations.newest_of_chat(long, "k") == mine
    short, long = like_named(topic_channel)
    rest = long.removeprefix(short + ":")
    for topic, key in ((long, "k"), (short, f"{rest}:k")):
        publication = Publication(
            channel=topic_channel(topic), name="n", data=b"1", idempotency_key=key
        )
        (published,) = await kit.backend.events.publish([publication])
        assert published.outcome is Outcome.WRITTEN


async def test_steps_add_up_to_the_text(kit: Kit) -> None:
    """Deltas append, a replacement replaces, the end keeps its data."""
    story = Story(kit)
    await story.create()
    await story.step(UpdateKind.BEGIN)
    await story.step(UpdateKind.DELTA, index=0, text="你")
    await story.step(UpdateKind.DELTA, index=1, text="好")
    assert ((await story.found()).text, (await story.found()).deltas) == ("你好", 2)
    await story.step(UpdateKind.REPLACE, index=2, text="new")
    await story.step(UpdateKind.END, status=Status.DONE)
    found = await story.found()
    assert (found.status, found.text, found.deltas, found.end) == (
        Status.DONE,
        "new",
        3,
        {"by": "x"},
    )


async def test_repeated_delta_writes_nothing(kit: Kit) -> None:
    """A delta whose answer was lost can be sent again."""
    story = Story(kit)
    await story.create()
    await story.step(UpdateKind.BEGIN)
    assert await story.step(UpdateKind.DELTA, index=0, text="a") is Outcome.WRITTEN
    assert await story.step(UpdateKind.DELTA, index=0, text="a") is Outcome.DUPLICATE
    assert (await story.found()).text == "a"


async def test_generation_ends_once(kit: Kit) -> None:
    """After the end every step is refused, and no event is written."""
    story = Story(kit)
    await story.create()
    await story.step(UpdateKind.BEGIN)
    await story.step(UpdateKind.END, status=Status.STOPPED)
    before = await kit.read(FROM_START)
    assert await story.step(UpdateKind.END, status=Status.DONE) is Outcome.ENDED
    assert await story.step(UpdateKind.DELTA, index=0, text="late") is Outcome.ENDED
    assert await kit.read(FROM_START) == before


async def test_stale_attempt_is_refused(kit: Kit) -> None:
    """Once a second attempt has begun, the first one writes nothing."""
    story = Story(kit)
    await story.create()
    await story.step(UpdateKind.BEGIN, 1)
    await story.step(UpdateKind.DELTA, 1, index=0, text="old")
    await story.step(UpdateKind.BEGIN, 2)
    assert await story.step(UpdateKind.DELTA, 1, index=1, text="old") is Outcome.STALE
    assert await story.step(UpdateKind.END, 1, status=Status.DONE) is Outcome.STALE
    assert await story.step(UpdateKind.BEGIN, 2) is Outcome.STALE
    assert (await story.found()).text == ""


async def test_unknown_generation_is_gone(kit: Kit) -> None:
    """A step on a record that is not there is refused."""
    assert await Story(kit).step(UpdateKind.BEGIN) is Outcome.GONE


async def test_stop_wish_lasts_and_is_told(kit: Kit) -> None:
    """The first wish stays in the record and comes with every step's answer."""
    story = Story(kit)
    await story.create()
    assert await kit.backend.generations.request_stop(story.id, "alice") is StopResult.STOPPING
    assert await kit.backend.generations.request_stop(story.id, "bob") is StopResult.STOPPING
    assert (await story.found()).stop_requested_by == "alice"
    step = GenerationUpdate(story.id, 1, UpdateKind.BEGIN)
    (answer,) = await kit.backend.events.publish(
        [Publication(channel=ALICE, name="n", data=b"1", update=step)]
    )
    assert answer.stop_requested_by == "alice"


async def test_stop_after_the_end(kit: Kit) -> None:
    """A wish after the end is answered so and changes nothing."""
    story = Story(kit)
    await story.create()
    await story.step(UpdateKind.BEGIN)
    await story.step(UpdateKind.END, status=Status.DONE)
    assert await kit.backend.generations.request_stop(story.id, "alice") is StopResult.ENDED
    assert (await story.found()).stop_requested_by is None


async def test_stop_of_nothing(kit: Kit) -> None:
    """There is no such generation."""
    assert await kit.backend.generations.request_stop(Story(kit).id, "alice") is None
    assert await kit.backend.generations.request_stop("not an id", "alice") is None
    assert await kit.backend.generations.find("not an id") is None
