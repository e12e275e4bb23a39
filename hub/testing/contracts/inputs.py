"""What every store of generations must do with inputs (core/inputs.py)."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import msgspec
import pytest

from hub.core.generation import Generation, GenerationUpdate, Status, UpdateKind
from hub.core.inputs import (
    INPUT_EXPIRED,
    INPUT_RECEIVED,
    INPUT_REQUESTED,
    AnsweredInput,
    InputAnswer,
    InputRequest,
    RequestedInput,
)
from hub.core.parts_journal import PartsJournal
from hub.ports.events import FROM_START, Outcome, Publication
from hub.testing.contracts.generations import GenerationKit
from hub.testing.contracts.node import ALICE, BackendOptions, Node, OpenBackend


def request_of(key: str = "refund", seconds: float = 3600.0, **more: Any) -> InputRequest:
    return InputRequest(input=key, prompt="?", expires_at=time.time() + seconds, **more)


class InputKit(GenerationKit):
    """One generation of alice that asks for inputs."""

    def __init__(self, node: Node) -> None:
        super().__init__(node)
        self.journal = PartsJournal()
        self.deltas = 0

    async def begin(self, attempt: int = 1) -> None:
        self.journal, self.deltas = PartsJournal(), 0
        assert await self.update(UpdateKind.BEGIN, attempt) is Outcome.WRITTEN

    async def start(self) -> None:
        await self.create()
        await self.begin()

    async def ask(
        self,
        request: InputRequest,
        attempt: int = 1,
        *,
        suspends: bool = False,
        max_suspended: int | None = None,
    ) -> Outcome:
        fields = request.fields
        data = msgspec.json.encode({"generation": self.id, "i": self.deltas, **fields})
        update = GenerationUpdate(
            self.id,
            attempt,
            UpdateKind.DELTA,
            index=self.deltas,
            entries=self.journal.append((INPUT_REQUESTED, fields)),
            input=RequestedInput(request, suspends, max_suspended),
        )
        self.deltas += 1
        return await self._publish(INPUT_REQUESTED, data, update)

    async def answer(self, key: str = "refund", value: str = "yes", by: str = "alice") -> Outcome:
        fields = {"generation": self.id, "input": key, "value": value, "by": by}
        data = msgspec.json.encode(fields)
        return await self._answer(key, InputAnswer(event=INPUT_RECEIVED, data=data, digest="d1"))

    async def expire(self, key: str = "refund") -> Outcome:
        data = msgspec.json.encode({"generation": self.id, "input": key})
        return await self._answer(key, InputAnswer(event=INPUT_EXPIRED, data=data))

    async def _answer(self, key: str, answer: InputAnswer) -> Outcome:
        update = GenerationUpdate(self.id, 0, UpdateKind.INPUT, input=AnsweredInput(key, answer))
        return await self._publish(answer.event, answer.data, update)

    async def _publish(self, name: str, data: bytes, update: GenerationUpdate) -> Outcome:
        (published,) = await self.node.backend.events.publish(
            [Publication(channel=ALICE, name=name, data=data, update=update)]
        )
        return published.outcome

    async def status(self) -> Status:
        return (await self.find()).status

    async def states(self) -> list[tuple[str, str]]:
        """Return the keys and the states of the inputs among the parts."""
        return [(part["input"], part["state"]) for part in (await self.find()).parts]


class InputsContract:
    """The suite for the inputs of ports.generations and of the updates of ports.events."""

    @pytest.fixture
    async def kit(self, open_backend: OpenBackend) -> InputKit:
        """A generation that runs, on an empty backend."""
        kit = InputKit(Node(await open_backend(BackendOptions())))
        await kit.start()
        return kit

    async def events(self, kit: InputKit) -> list[str]:
        page = await kit.node.page(FROM_START)
        return [event.name for event in page.events]

    async def test_request_and_value(self, kit: InputKit) -> None:
        """The status is `waiting` until the value is there; the record keeps who gave it and the
        digest of what was shown.
        """
        request = request_of(options=["yes"], schema={"type": "string"}, approvers=["bob"])
        assert await kit.ask(request) is Outcome.WRITTEN
        assert (await kit.status(), await kit.states()) == (Status.WAITING, [("refund", "waiting")])
        assert await kit.answer(by="bob") is Outcome.WRITTEN
        record = await kit.find()
        assert record.status is Status.RUNNING
        (part,) = record.parts
        assert (part["state"], part["value"], part["by"]) == ("received", "yes", "bob")
        assert "approvers" not in part
        stored = record.inputs["refund"]
        assert (stored.request, stored.attempt) == (request, 1)
        assert stored.answer is not None
        assert (stored.answer.digest, stored.answer.is_expired) == ("d1", False)
        assert abs(stored.answer.at - time.time()) < 3600
        assert await self.events(kit) == ["n", INPUT_REQUESTED, INPUT_RECEIVED]

    async def test_input_is_found_without_the_parts(self, kit: InputKit) -> None:
        """An unknown key has no input, an unknown generation nothing at all."""
        store = kit.node.backend.generations
        await kit.ask(request_of(key="a \u00e9/%"))
        kept = await store.find_input(kit.id, "a \u00e9/%")
        assert kept is not None
        assert kept.stored is not None
        assert (kept.user, kept.status) == ("alice", Status.WAITING)
        assert (kept.stored.request.input, kept.stored.answer) == ("a \u00e9/%", None)
        await kit.answer("a \u00e9/%")
        kept = await store.find_input(kit.id, "a \u00e9/%")
        assert kept is not None
        assert kept.stored == (await kit.find()).inputs["a \u00e9/%"]
        missing = await store.find_input(kit.id, "b")
        assert missing is not None
        assert missing.stored is None
        assert await store.find_input(InputKit(kit.node).id, "a") is None
        assert await store.find_input("no id", "a") is None

    async def test_first_value_counts(self, kit: InputKit) -> None:
        """Of racing values one is published; none counts without a request, or after the end."""
        assert await kit.answer() is Outcome.STALE
        await kit.ask(request_of())
        values = [f"v{n}" for n in range(8)]
        outcomes = await asyncio.gather(*(kit.answer(value=each) for each in values))
        assert sorted(each.value for each in outcomes) == ["duplicate"] * 7 + ["written"]
        (part,) = (await kit.find()).parts
        assert part["value"] == values[outcomes.index(Outcome.WRITTEN)]
        assert await kit.expire() is Outcome.DUPLICATE
        assert (await self.events(kit)).count(INPUT_RECEIVED) == 1
        await kit.ask(request_of("late"))
        await kit.update(UpdateKind.END, status=Status.DONE, index=2)
        assert await kit.answer("late") is Outcome.ENDED
        assert await kit.states() == [("refund", "received"), ("late", "cancelled")]

    async def test_expiry(self, kit: InputKit) -> None:
        """Nothing counts after the time, also before the expiry is published."""
        await kit.ask(request_of(seconds=-1.0))
        assert await kit.answer() is Outcome.EXPIRED
        assert await kit.status() is Status.WAITING
        assert await kit.expire() is Outcome.WRITTEN
        assert (await kit.status(), await kit.states()) == (Status.RUNNING, [("refund", "expired")])
        assert await kit.answer() is Outcome.DUPLICATE
        assert (await self.events(kit))[-1] == INPUT_EXPIRED

    async def test_several_inputs_at_once(self, kit: InputKit) -> None:
        """The answer waits until the last one has its value."""
        for key in "abc":
            await kit.ask(request_of(key))
        await kit.answer("a")
        await kit.expire("b")
        assert await kit.status() is Status.WAITING
        await kit.answer("c")
        assert await kit.status() is Status.RUNNING
        assert await kit.states() == [("a", "received"), ("b", "expired"), ("c", "received")]

    async def test_repeated_request_changes_nothing(self, kit: InputKit) -> None:
        """It is a delta: the second one is a duplicate."""
        request = request_of()
        await kit.ask(request)
        await kit.answer()
        kit.journal, kit.deltas = PartsJournal(), 0
        assert await kit.ask(request) is Outcome.DUPLICATE
        assert await kit.status() is Status.RUNNING
        assert await self.events(kit) == ["n", INPUT_REQUESTED, INPUT_RECEIVED]

    @pytest.mark.parametrize("is_answered", [True, False])
    async def test_later_attempt(self, kit: InputKit, is_answered: bool) -> None:
        """It gets the first request and the value; readers get both again."""
        first = request_of()
        await kit.ask(first)
        if is_answered:
            await kit.answer()
        await kit.begin(2)
        assert (await kit.status(), await kit.states()) == (Status.RUNNING, [])
        await kit.ask(request_of(), 2)
        record = await kit.find()
        assert (record.inputs["refund"].request, record.inputs["refund"].attempt) == (first, 2)
        state, status = ("received", Status.RUNNING) if is_answered else ("waiting", Status.WAITING)
        assert (record.status, await kit.states()) == (status, [("refund", state)])
        if not is_answered:
            await kit.answer()
            assert await kit.status() is Status.RUNNING
        assert (await self.events(kit))[-2:] == [INPUT_REQUESTED, INPUT_RECEIVED]

    async def test_value_between_two_attempts(self, kit: InputKit) -> None:
        """It counts, although nobody waits for it at the moment."""
        await kit.ask(request_of())
        await kit.begin(2)
        assert await kit.answer() is Outcome.WRITTEN
        assert await kit.status() is Status.RUNNING
        await kit.ask(request_of(), 2)
        assert (await kit.status(), await kit.states()) == (
            Status.RUNNING,
            [("refund", "received")],
        )

    async def test_request_without_an_event(self, kit: InputKit) -> None:
        """Readers see the input already; the attempt waits for it nevertheless."""
        await kit.ask(request_of())
        journal = (await kit.find()).journal
        begin = {"entries": journal, "index": 1}
        assert await kit.update(UpdateKind.BEGIN, 2, **begin) is Outcome.WRITTEN
        ask = {"journal_bytes": len(journal), "index": 1, "input": RequestedInput(request_of())}
        for _ in range(2):
            assert await kit.update(UpdateKind.STORE, 2, **ask) is Outcome.WRITTEN
            assert await kit.status() is Status.WAITING
        await kit.answer()
        assert await kit.status() is Status.RUNNING

    async def test_stop_request_while_waiting(self, kit: InputKit) -> None:
        """The answer is stopping whatever is asked and answered."""
        await kit.ask(request_of())
        await kit.node.backend.generations.request_stop(kit.id, "alice")
        await kit.ask(request_of("b"))
        assert await kit.answer() is Outcome.WRITTEN
        assert await kit.status() is Status.STOPPING
        await kit.ask(request_of("c"), suspends=True)
        assert await kit.status() is Status.STOPPING

    async def test_open_generations_tell_who_waits(self, kit: InputKit) -> None:
        """The reconciler learns which attempts wait for a value."""

        async def is_waiting() -> bool:
            opened = await kit.node.backend.generations.take_open(1e-9)
            return {each.id: each.is_waiting for each in opened}[kit.id]

        assert not await is_waiting()
        await kit.ask(request_of())
        assert await is_waiting()
        await kit.answer()
        assert not await is_waiting()

    async def test_suspension(self, kit: InputKit) -> None:
        """The value lets the next attempt begin; it is queued until then."""
        await kit.ask(request_of(), suspends=True)
        record = await kit.find()
        assert (record.status, record.suspended, record.suspensions) == (
            Status.SUSPENDED,
            "refund",
            1,
        )
        store = kit.node.backend.generations
        assert kit.id in await store.list_leased_or_suspended(1000)
        assert await kit.answer("other") is Outcome.STALE
        assert await kit.answer() is Outcome.WRITTEN
        assert kit.id not in await store.list_leased_or_suspended(1000)
        record = await kit.find()
        assert (record.status, record.suspended, record.losses) == (Status.QUEUED, "refund", 0)
        journal, deltas = PartsJournal(), kit.deltas
        kit.journal, kit.deltas = journal, 0
        repeated = await kit.ask(request_of(), suspends=True)
        assert (repeated, deltas) == (Outcome.DUPLICATE, 1)
        await kit.begin(2)
        record = await kit.find()
        assert (record.status, record.suspended, record.suspensions) == (Status.RUNNING, None, 1)

    async def test_suspension_that_expires(self, kit: InputKit) -> None:
        """It stays suspended until somebody ends it."""
        await kit.ask(request_of(seconds=-1.0), suspends=True)
        assert await kit.expire() is Outcome.WRITTEN
        assert await kit.status() is Status.SUSPENDED
        assert await kit.update(UpdateKind.END, status=Status.FAILED, index=1) is Outcome.WRITTEN

    async def test_suspension_for_a_value_that_is_there(self, kit: InputKit) -> None:
        """The next attempt may begin at once."""
        await kit.ask(request_of())
        await kit.answer()
        kit.journal = PartsJournal()
        await kit.ask(request_of(), suspends=True)
        assert await kit.status() is Status.QUEUED

    async def test_suspended_answer_is_not_discarded(self, kit: InputKit) -> None:
        """A repeated start of a queued generation that has had an attempt loses nothing."""
        await kit.ask(request_of(), suspends=True)
        await kit.answer()
        record: Generation = await kit.find()
        await kit.node.backend.generations.discard(record, None)
        assert await kit.find() == record

    async def test_open_generations(self, kit: InputKit) -> None:
        """Those that are suspended are marked, and those whose time is over."""
        store = kit.node.backend.generations
        late = InputKit(kit.node)
        await late.start()
        await kit.ask(request_of(), suspends=True)
        await late.ask(request_of(seconds=-1.0), suspends=True)
        taken = {each.id: each for each in await store.take_open(1e-9)}
        assert (taken[kit.id].is_suspended, taken[kit.id].is_overdue) == (True, False)
        assert (taken[late.id].is_suspended, taken[late.id].is_overdue) == (True, True)
        await kit.answer()
        await store.request_stop(late.id, "alice")
        taken = {each.id: each for each in await store.take_open(1e-9)}
        assert {each.is_suspended for each in taken.values()} == {False}
        assert (taken[kit.id].is_overdue, taken[late.id].is_overdue) == (False, True)

    async def test_limit_of_suspended_answers(self, kit: InputKit) -> None:
        """One more is not suspended, but asks for its input. Values and ends make room."""
        others = [InputKit(kit.node) for _ in range(3)]
        for each in others:
            await each.start()
            await each.ask(request_of(), suspends=True, max_suspended=2)
        assert [await each.status() for each in others] == [
            Status.SUSPENDED,
            Status.SUSPENDED,
            Status.WAITING,
        ]
        assert (await others[2].find()).suspended is None
        await others[0].answer()
        await kit.ask(request_of(), suspends=True, max_suspended=2)
        assert await kit.status() is Status.SUSPENDED
        await kit.update(UpdateKind.END, status=Status.STOPPED, index=1)
        last = InputKit(kit.node)
        await last.start()
        await last.ask(request_of(), suspends=True, max_suspended=2)
        assert await last.status() is Status.SUSPENDED
