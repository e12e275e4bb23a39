"""What every store of generations must do, together with the events that update its records."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from hub.core.channel import Channel, partition_of, topic_channel, user_channel
from hub.core.external_producer import ExternalUpdate, Progress
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
from hub.core.parts_journal import PartsJournal
from hub.errors import Conflict
from hub.ports.events import FROM_START, Outcome, Publication
from hub.testing.contracts.node import ALICE, BackendOptions, Node, OpenBackend

REQUEST = GenerationRequest(messages=[Message(role="user", content="hi")], upstream="u", model="m")


class GenerationKit:
    """One generation of alice, and the updates of it."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.id = new_generation_id(partition_of(ALICE))

    async def create(self, key: str | None = None) -> Any:
        return await self.node.backend.generations.create(
            Generation(self.id, "alice", REQUEST), key
        )

    async def update(self, kind: UpdateKind, attempt: int = 1, **more: Any) -> Outcome:
        update = GenerationUpdate(self.id, attempt, kind, **more)
        outcome, _ = await self.node.publish('{"by":"x"}', update=update)
        return outcome

    async def find(self) -> Generation:
        """Return the record without its age, which grows from one call to the next."""
        record = await self.node.backend.generations.find(self.id)
        assert record is not None
        return msgspec.structs.replace(record, age_seconds=0.0)


def colliding_names(channel_of: Callable[[str], Channel]) -> tuple[str, str]:
    """Return a name, and a longer one with a colon whose channel has the same partition."""
    partition = partition_of(channel_of("a"))
    longer = (f"a:{n}" for n in range(10_000))
    return "a", next(name for name in longer if partition_of(channel_of(name)) == partition)


class GenerationsContract:
    """The suite for ports.generations and for the generation updates of ports.events."""

    @pytest.fixture
    async def node(self, open_backend: OpenBackend) -> Node:
        """A node on an empty backend."""
        return Node(await open_backend(BackendOptions()))

    async def test_created_generation_is_found(self, node: Node) -> None:
        """The record holds the request and its status is queued."""
        kit = GenerationKit(node)
        _, before = await node.publish()
        created = await kit.create()
        assert (created.generation, created.position, created.new) == (kit.id, before, True)
        record = msgspec.structs.replace(await kit.find(), requested_at=0.0)
        assert record == Generation(kit.id, "alice", REQUEST, after=before)

    async def test_store_sets_the_time_of_the_request(self, node: Node) -> None:
        """The clock of the process that creates or reads a generation does not count."""
        kit = GenerationKit(node)
        wrong = Generation(kit.id, "alice", REQUEST, requested_at=1.0)
        await node.backend.generations.create(wrong, None)
        first, second = [await node.backend.generations.find(kit.id) for _ in range(2)]
        assert first is not None
        assert second is not None
        assert first.requested_at == second.requested_at > 1.6e9
        assert 0 <= first.age_seconds <= second.age_seconds < 60

    async def test_moments(self, node: Node) -> None:
        """The record has when each attempt began and had its first delta, and when it ended."""
        kit = GenerationKit(node)
        await kit.create()
        await kit.update(UpdateKind.BEGIN)
        for index in range(3):
            await kit.update(UpdateKind.DELTA, index=index)
        await kit.update(UpdateKind.BEGIN, attempt=2, index=3)
        await kit.update(UpdateKind.RESTART, attempt=2, index=3)
        await kit.update(UpdateKind.DELTA, attempt=2, index=0)
        await kit.update(UpdateKind.END, attempt=2, index=1, status=Status.DONE)
        record = await kit.find()
        assert [(each.kind, each.attempt) for each in record.moments] == [
            ("begin", 1),
            ("delta", 1),
            ("begin", 2),
            ("delta", 2),
            ("end", 2),
        ]
        times = [each.at for each in record.moments]
        assert times == sorted(times)
        assert record.requested_at - 0.001 <= times[0]

    async def test_open_generations(self, node: Node) -> None:
        """A generation is open from its creation to its end, and one process gets the open ones."""
        store = node.backend.generations
        kits = [GenerationKit(node) for _ in range(4)]
        for kit in kits:
            await kit.create()
        await kits[1].update(UpdateKind.BEGIN)
        await store.request_stop(kits[1].id, "alice")
        await kits[2].update(UpdateKind.BEGIN)
        await kits[2].update(UpdateKind.END, status=Status.DONE)
        await store.discard(Generation(kits[3].id, "alice", REQUEST), None)
        taken = {each.id: each for each in await store.take_open(3600.0)}
        assert set(taken) == {kits[0].id, kits[1].id}
        assert (taken[kits[0].id].attempt, taken[kits[0].id].stop_requested) == (0, False)
        assert (taken[kits[1].id].attempt, taken[kits[1].id].stop_requested) == (1, True)
        assert all(0 <= each.age_seconds < 60 for each in taken.values())
        assert await store.take_open(3600.0) == []
        assert {each.id for each in await store.take_open(1e-9)} == set(taken)
        await kits[1].update(UpdateKind.END, status=Status.STOPPED)
        assert [each.id for each in await store.take_open(1e-9)] == [kits[0].id]

    async def test_same_key_finds_the_same_generation(self, node: Node) -> None:
        """A repeated key starts nothing and returns the first id and position."""
        first = await GenerationKit(node).create("key")
        await node.publish()
        again = await GenerationKit(node).create("key")
        assert (again.generation, again.position) == (first.generation, first.position)
        assert (first.new, again.new) == (True, False)

    async def test_same_key_with_another_request_is_a_conflict(self, node: Node) -> None:
        """A key that has created a generation for another request creates and returns none."""
        first = await GenerationKit(node).create("key")
        for change in (
            {"messages": [Message(role="user", content="hello")]},
            {"model": "other"},
            {"params": {"temperature": 1}},
            {"chat": "c"},
        ):
            generation = GenerationKit(node).id
            other = Generation(generation, "alice", msgspec.structs.replace(REQUEST, **change))
            with pytest.raises(Conflict, match="another request"):
                await node.backend.generations.create(other, "key")
            assert await node.backend.generations.find(generation) is None
        traced = msgspec.structs.replace(REQUEST, trace="00-4e-01")
        again = Generation(GenerationKit(node).id, "alice", traced)
        created = await node.backend.generations.create(again, "key")
        assert (created.generation, created.new) == (first.generation, False)

    async def test_key_belongs_to_its_user(self, node: Node) -> None:
        """The same key of another user starts another generation."""
        first = await GenerationKit(node).create("key")
        other = Generation(new_generation_id(partition_of(user_channel("bob"))), "bob", REQUEST)
        assert (await node.backend.generations.create(other, "key")).generation != first.generation

    async def test_newest_generation_of_a_chat(self, node: Node) -> None:
        """Each user has chats of their own; the newest generation counts whether it runs or not."""
        chat = msgspec.structs.replace(REQUEST, chat="c d")
        assert await node.backend.generations.newest_of_chat("alice", "c d") is None
        older, newest = (new_generation_id(partition_of(ALICE)) for _ in range(2))
        for each in (older, newest):
            await node.backend.generations.create(Generation(each, "alice", chat), None)
            assert await node.backend.generations.newest_of_chat("alice", "c d") == each
        await GenerationKit(node).create()
        assert await node.backend.generations.newest_of_chat("alice", "c d") == newest
        assert await node.backend.generations.newest_of_chat("bob", "c d") is None
        record = await node.backend.generations.find(newest)
        assert record is not None
        assert record.request.chat == "c d"

    async def test_chat_of_a_discarded_generation(self, node: Node) -> None:
        """The generation that ran in the chat before is the newest one again, if there is one."""
        chat = msgspec.structs.replace(REQUEST, chat="c")
        running, refused, later = (new_generation_id(partition_of(ALICE)) for _ in range(3))
        await node.backend.generations.create(Generation(running, "alice", chat), None)
        await node.backend.generations.create(Generation(refused, "alice", chat), "key")
        await node.backend.generations.discard(Generation(refused, "alice", chat), "key")
        assert await node.backend.generations.newest_of_chat("alice", "c") == running
        await node.backend.generations.create(Generation(refused, "alice", chat), None)
        await node.backend.generations.create(Generation(later, "alice", chat), None)
        await node.backend.generations.discard(Generation(refused, "alice", chat), None)
        assert await node.backend.generations.newest_of_chat("alice", "c") == later
        only = msgspec.structs.replace(REQUEST, chat="d")
        await node.backend.generations.create(Generation(refused, "alice", only), None)
        await node.backend.generations.discard(Generation(refused, "alice", only), None)
        assert await node.backend.generations.newest_of_chat("alice", "d") is None
        assert await node.backend.generations.find(refused) is None

    async def test_names_with_colons_do_not_collide(self, node: Node) -> None:
        """User `a` with key `1:k` is not user `a:1` with key `k`; the same holds for topics."""
        short, long = colliding_names(user_channel)
        rest = long.removeprefix(short + ":")
        partition = partition_of(user_channel(short))
        own_id, other_id = new_generation_id(partition), new_generation_id(partition)
        for user, name, key in ((long, own_id, "k"), (short, other_id, f"{rest}:k")):
            request = msgspec.structs.replace(REQUEST, chat=key)
            created = await node.backend.generations.create(Generation(name, user, request), key)
            assert (created.generation, created.new) == (name, True)
        assert await node.backend.generations.newest_of_chat(long, "k") == own_id
        short, long = colliding_names(topic_channel)
        rest = long.removeprefix(short + ":")
        for topic, key in ((long, "k"), (short, f"{rest}:k")):
            publication = Publication(
                channel=topic_channel(topic), name="n", data=b"1", idempotency_key=key
            )
            (published,) = await node.backend.events.publish([publication])
            assert published.outcome is Outcome.WRITTEN

    async def test_updates_make_the_text(self, node: Node) -> None:
        """Deltas append to the text, a replacement replaces it, and the end keeps its data."""
        kit = GenerationKit(node)
        await kit.create()
        await kit.update(UpdateKind.BEGIN)
        await kit.update(UpdateKind.DELTA, index=0, entries="你".encode())
        await kit.update(UpdateKind.DELTA, index=1, entries="好".encode())
        assert ((await kit.find()).text, (await kit.find()).deltas) == ("你好", 2)
        await kit.update(UpdateKind.REPLACE, index=2, entries=b"new")
        await kit.update(UpdateKind.END, status=Status.DONE)
        record = await kit.find()
        assert (record.status, record.text, record.deltas, record.end) == (
            Status.DONE,
            "new",
            3,
            {"by": "x"},
        )

    async def test_updates_make_the_parts(self, node: Node) -> None:
        """The journal keeps every byte. A part may have no entries, and the end may have some."""
        kit = GenerationKit(node)
        await kit.create()
        await kit.update(UpdateKind.BEGIN)
        hidden = {"type": "data", "name": "n\0\r\n", "value": "é", "visible": False}
        journal = PartsJournal()
        entries = [
            journal.append(("generation.delta", {"reasoning": "h\0m"})),
            b"",
            journal.append(("generation.delta", {"text": "é\r\n"})),
        ]
        for index, each in enumerate(entries):
            await kit.update(UpdateKind.DELTA, index=index, entries=each)
        end = journal.append(("generation.part", hidden))
        await kit.update(UpdateKind.END, index=3, status=Status.DONE, entries=end)
        record = await kit.find()
        assert record.parts == [
            {"type": "reasoning", "text": "h\0m"},
            {"type": "text", "text": "é\r\n"},
        ]
        assert (record.all_parts, record.deltas) == ([*record.parts, hidden], 3)

    async def test_repeated_delta_writes_nothing(self, node: Node) -> None:
        """A delta whose result was lost can be sent again."""
        kit = GenerationKit(node)
        await kit.create()
        await kit.update(UpdateKind.BEGIN)
        assert await kit.update(UpdateKind.DELTA, index=0, entries=b"a") is Outcome.WRITTEN
        assert await kit.update(UpdateKind.DELTA, index=0, entries=b"a") is Outcome.DUPLICATE
        assert (await kit.find()).text == "a"

    async def test_generation_ends_once(self, node: Node) -> None:
        """After the end every update is refused, and no event is written."""
        kit = GenerationKit(node)
        await kit.create()
        await kit.update(UpdateKind.BEGIN)
        await kit.update(UpdateKind.END, status=Status.STOPPED)
        before = await node.read(FROM_START)
        assert await kit.update(UpdateKind.END, status=Status.DONE) is Outcome.ENDED
        assert await kit.update(UpdateKind.DELTA, index=0, entries=b"late") is Outcome.ENDED
        assert await node.read(FROM_START) == before

    async def test_stale_attempt_is_refused(self, node: Node) -> None:
        """After the second attempt has begun, the first one writes nothing."""
        kit = GenerationKit(node)
        await kit.create()
        await kit.update(UpdateKind.BEGIN, 1)
        await kit.update(UpdateKind.DELTA, 1, index=0, entries=b"old")
        await kit.update(UpdateKind.BEGIN, 2)
        assert await kit.update(UpdateKind.DELTA, 1, index=1, entries=b"old") is Outcome.STALE
        assert await kit.update(UpdateKind.END, 1, status=Status.DONE) is Outcome.STALE
        assert await kit.update(UpdateKind.BEGIN, 2) is Outcome.STALE
        assert (await kit.find()).text == ""

    async def test_update_behind_a_hole_is_refused(self, node: Node) -> None:
        """An update whose index exceeds the number of deltas writes nothing, and no event."""
        kit = GenerationKit(node)
        await kit.create()
        await kit.update(UpdateKind.BEGIN)
        await kit.update(UpdateKind.DELTA, index=0, entries=b"a")
        before = await node.read(FROM_START), await kit.find()
        for kind in (UpdateKind.DELTA, UpdateKind.REPLACE, UpdateKind.END):
            outcome = await kit.update(kind, index=2, entries=b"c", status=Status.DONE)
            assert outcome is Outcome.GAP, kind
        assert (await node.read(FROM_START), await kit.find()) == before
        assert await kit.update(UpdateKind.DELTA, index=1, entries=b"b") is Outcome.WRITTEN
        assert await kit.update(UpdateKind.END, index=2, status=Status.DONE) is Outcome.WRITTEN

    async def test_begin_keeps_a_journal(self, node: Node) -> None:
        """An attempt can begin with a journal and a number of deltas."""
        kit = GenerationKit(node)
        await kit.create()
        begin: dict[str, Any] = {"entries": b"\xffv{}\xfftab", "index": 2}
        assert await kit.update(UpdateKind.BEGIN, **begin) is Outcome.WRITTEN
        record = await kit.find()
        assert (record.text, record.deltas, record.journal) == ("ab", 2, begin["entries"])
        for index, outcome in ((1, Outcome.DUPLICATE), (3, Outcome.GAP), (2, Outcome.WRITTEN)):
            assert await kit.update(UpdateKind.DELTA, index=index, entries=b"c") is outcome
        assert (await kit.find()).text == "abc"

    async def test_begin_after_another_journal_is_refused(self, node: Node) -> None:
        """An attempt begins only if the journal is as long as when it was read."""
        kit = GenerationKit(node)
        await kit.create()
        assert await kit.update(UpdateKind.BEGIN, journal_bytes=1) is Outcome.STALE
        assert await kit.update(UpdateKind.BEGIN, journal_bytes=0, entries=b"a") is Outcome.WRITTEN
        for length in (0, 2):
            assert await kit.update(UpdateKind.BEGIN, 2, journal_bytes=length) is Outcome.STALE
        assert (await kit.find()).text == "a"
        assert await kit.update(UpdateKind.BEGIN, 2, journal_bytes=1) is Outcome.WRITTEN
        assert await kit.update(UpdateKind.BEGIN, 3) is Outcome.WRITTEN

    async def test_store_has_no_event(self, node: Node) -> None:
        """A store appends to the journal once, and no reader gets anything."""
        await node.backend.subscriptions.subscribe([ALICE])
        kit = GenerationKit(node)
        await kit.create()
        store: dict[str, Any] = {"entries": b"\xffv{}", "journal_bytes": 0}
        assert await kit.update(UpdateKind.STORE, **store) is Outcome.STALE
        await kit.update(UpdateKind.BEGIN)
        for outcome in (Outcome.WRITTEN, Outcome.DUPLICATE):
            assert await kit.update(UpdateKind.STORE, **store) is outcome
        assert await kit.update(UpdateKind.STORE, journal_bytes=9) is Outcome.GAP
        assert await kit.update(UpdateKind.STORE, index=1, journal_bytes=4) is Outcome.GAP
        assert await kit.update(UpdateKind.STORE, 2, journal_bytes=4) is Outcome.STALE
        assert (await kit.find()).journal == b"\xffv{}"
        await kit.update(UpdateKind.END, status=Status.DONE)
        assert await kit.update(UpdateKind.STORE, journal_bytes=4) is Outcome.ENDED
        assert len(await node.read(FROM_START)) == 2
        assert [(await node.next()).name for _ in range(2)] == ["n", "n"]
        assert node.received.empty()

    async def test_compacting_has_no_event(self, node: Node) -> None:
        """It replaces the journal unless a write is missing; a repeated one changes nothing."""
        kit = GenerationKit(node)
        await kit.create()
        await kit.update(UpdateKind.BEGIN)
        await kit.update(UpdateKind.DELTA, entries=b"abc")
        compact: dict[str, Any] = {"entries": b"\xfftabc", "journal_bytes": 3, "index": 1}
        assert await kit.update(UpdateKind.COMPACT, **{**compact, "journal_bytes": 4}) is (
            Outcome.GAP
        )
        for outcome in (Outcome.WRITTEN, Outcome.DUPLICATE):
            assert await kit.update(UpdateKind.COMPACT, **compact) is outcome
        assert (await kit.find()).journal == compact["entries"]
        await kit.update(UpdateKind.DELTA, index=1, entries=b"d")
        assert await kit.update(UpdateKind.COMPACT, **compact) is Outcome.DUPLICATE
        assert ((await kit.find()).text, (await kit.find()).deltas) == ("abcd", 2)
        assert len(await node.read(FROM_START)) == 3

    async def test_restart_of_an_attempt(self, node: Node) -> None:
        """The parts are void, and their numbers begin at 0; the attempt stays the same."""
        kit = GenerationKit(node)
        await kit.create()
        await kit.update(UpdateKind.BEGIN)
        await kit.update(UpdateKind.DELTA, entries=b"a")
        assert await kit.update(UpdateKind.RESTART, index=2) is Outcome.GAP
        restarted = await kit.update(UpdateKind.RESTART, index=1, entries=b"\xffv{}")
        assert restarted is Outcome.WRITTEN
        record = await kit.find()
        assert (record.journal, record.deltas, record.attempt) == (b"\xffv{}", 0, 1)
        assert await kit.update(UpdateKind.DELTA, entries=b"\xfftb") is Outcome.WRITTEN
        assert (await kit.find()).text == "b"

    async def test_other_writer_of_the_same_attempt_is_refused(self, node: Node) -> None:
        """A fail-over can lose the first of two steps that began attempt 1."""
        kit = GenerationKit(node)
        await kit.create()
        await kit.update(UpdateKind.BEGIN, writer="new")
        await kit.update(UpdateKind.DELTA, index=0, entries=b"a", writer="new")
        for kind, index in (
            (UpdateKind.DELTA, 0),
            (UpdateKind.DELTA, 1),
            (UpdateKind.REPLACE, 1),
            (UpdateKind.END, 1),
        ):
            more: dict[str, Any] = {"index": index, "entries": b"x", "status": Status.DONE}
            assert await kit.update(kind, writer="old", **more) is Outcome.STALE
            assert await kit.update(kind, **more) is Outcome.STALE
        assert await kit.update(UpdateKind.BEGIN, writer="old") is Outcome.STALE
        record = await kit.find()
        assert (record.text, record.status, record.writer) == ("a", Status.RUNNING, "new")
        assert await kit.update(UpdateKind.BEGIN, 2, writer="old") is Outcome.WRITTEN
        assert (await kit.find()).writer == "old"

    async def test_unknown_generation_is_gone(self, node: Node) -> None:
        """An update of a record that does not exist is refused."""
        assert await GenerationKit(node).update(UpdateKind.BEGIN) is Outcome.NO_RECORD

    async def test_stop_request_is_kept_and_returned(self, node: Node) -> None:
        """The first stop request stays in the record and comes with the result of every update."""
        kit = GenerationKit(node)
        await kit.create()
        assert await node.backend.generations.request_stop(kit.id, "alice") is StopResult.STOPPING
        assert await node.backend.generations.request_stop(kit.id, "bob") is StopResult.STOPPING
        assert (await kit.find()).stop_requested_by == "alice"
        update = GenerationUpdate(kit.id, 1, UpdateKind.BEGIN)
        (answer,) = await node.backend.events.publish(
            [Publication(channel=ALICE, name="n", data=b"1", update=update)]
        )
        assert answer.stop_requested_by == "alice"

    async def test_stop_after_the_end(self, node: Node) -> None:
        """A stop request after the end returns ENDED and changes nothing."""
        kit = GenerationKit(node)
        await kit.create()
        await kit.update(UpdateKind.BEGIN)
        await kit.update(UpdateKind.END, status=Status.DONE)
        assert await node.backend.generations.request_stop(kit.id, "alice") is StopResult.ENDED
        assert (await kit.find()).stop_requested_by is None

    async def test_record_says_how_long_a_lease_holds(self, node: Node) -> None:
        """Each renewal sets the time that is left; a lease that has ended or is void has none."""
        kit, store = GenerationKit(node), node.backend.generations
        await kit.create()

        async def lease_left(kind: UpdateKind, lease_seconds: float | None) -> float:
            external = ExternalUpdate(Progress(), Progress(), lease_seconds)
            await kit.update(kind, journal_bytes=0, external=external)
            state = (await kit.find()).external
            assert state is not None
            assert state.is_held is (state.lease_left_seconds > 0)
            return state.lease_left_seconds

        assert 0 < await lease_left(UpdateKind.BEGIN, 100) <= 100
        assert 100 < await lease_left(UpdateKind.STORE, 900) <= 900
        assert 100 < await lease_left(UpdateKind.STORE, None) <= 900
        assert await store.void_lease(await kit.find(), returned=True)
        assert await lease_left(UpdateKind.STORE, None) == 0
        await kit.update(
            UpdateKind.BEGIN, 2, external=ExternalUpdate(Progress(), Progress(), 0.001)
        )
        while (state := (await kit.find()).external) and state.is_held:
            await asyncio.sleep(0)
        assert state is not None
        assert (state.lease_seconds, state.lease_left_seconds) == (0.001, 0)

    async def test_only_a_generation_that_has_ended_is_deleted(self, node: Node) -> None:
        """A record that is deleted is gone with its parts; a repetition changes nothing."""
        kit = GenerationKit(node)
        await kit.create()
        assert not await node.backend.generations.delete(kit.id)
        await kit.update(UpdateKind.BEGIN)
        await kit.update(UpdateKind.DELTA, entries=b"x")
        assert not await node.backend.generations.delete(kit.id)
        assert (await kit.find()).deltas == 1
        await kit.update(UpdateKind.END, status=Status.DONE, index=1)
        for _ in range(2):
            assert await node.backend.generations.delete(kit.id)
            assert await node.backend.generations.find(kit.id) is None
        assert await node.backend.generations.delete("not an id")

    async def test_key_of_a_deleted_generation_starts_another(self, node: Node) -> None:
        """The same key may then be used for any request, and finds the new generation again."""
        kit = GenerationKit(node)
        first = await kit.create("key")
        await kit.update(UpdateKind.BEGIN)
        await kit.update(UpdateKind.END, status=Status.DONE)
        assert await node.backend.generations.delete(kit.id)
        other = msgspec.structs.replace(REQUEST, model="other")
        new = Generation(GenerationKit(node).id, "alice", other)
        created = await node.backend.generations.create(new, "key")
        assert (created.generation, created.new) == (new.id, True)
        assert created.generation != first.generation
        again = Generation(GenerationKit(node).id, "alice", other)
        repeated = await node.backend.generations.create(again, "key")
        assert (repeated.generation, repeated.new) == (new.id, False)

    async def test_stop_of_an_unknown_generation(self, node: Node) -> None:
        """Stopping a generation that does not exist returns None."""
        assert await node.backend.generations.request_stop(GenerationKit(node).id, "alice") is None
        assert await node.backend.generations.request_stop("not an id", "alice") is None
        assert await node.backend.generations.find("not an id") is None

    async def test_trace_comes_with_a_generation_update(self, node: Node) -> None:
        """The update is applied and its event carries the trace."""
        await node.backend.subscriptions.subscribe([ALICE])
        name = new_generation_id(partition_of(ALICE))
        await node.backend.generations.create(
            Generation(id=name, user="alice", request=REQUEST), None
        )
        update = GenerationUpdate(name, 1, UpdateKind.BEGIN, Status.RUNNING)
        outcome, _ = await node.publish(update=update, idempotency_key="k", trace="ab" * 24)
        assert outcome is Outcome.WRITTEN
        assert (await node.next()).trace == "ab" * 24

    async def test_record_keeps_the_trace(self, node: Node) -> None:
        """The trace of the request is in the record."""
        name = new_generation_id(partition_of(ALICE))
        request = msgspec.structs.replace(REQUEST, trace="00-ab-cd-01")
        await node.backend.generations.create(
            Generation(id=name, user="alice", request=request), None
        )
        record = await node.backend.generations.find(name)
        assert record is not None
        assert record.request == request
