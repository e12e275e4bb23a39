"""What the command bus and the small stores must do."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from hub.core.channel import topic_channel
from hub.core.usage import MAX_MODELS_PER_DAY, OTHER_MODELS
from hub.ports.backend import Backend
from hub.ports.tickets import Ticket
from hub.ports.topic_presence import PresenceChange
from hub.ports.usage import UsageTotals
from hub.testing.contracts.node import BackendOptions, OpenBackend

HALL = topic_channel("hall")


class CommandsContract:
    """The suite for ports.commands."""

    async def test_command_reaches_every_node(self, open_backend: OpenBackend) -> None:
        """The node that sends a command receives it too."""
        first, second = [(await open_backend(BackendOptions())).commands for _ in range(2)]
        received: list[tuple[str, bytes]] = []
        first.listen(lambda message: received.append(("first", message)), lambda: None)
        second.listen(lambda message: received.append(("second", message)), lambda: None)
        async with asyncio.timeout(60):
            # A command that is sent before a node is subscribed is lost, so it is repeated.
            while {node for node, _ in received} != {"first", "second"}:
                await first.broadcast(b"x")
                await asyncio.sleep(0.01)
        assert {message for _, message in received} == {b"x"}

    async def test_denylist(self, open_backend: OpenBackend) -> None:
        """A subject is blocked until the later of two times, and every node sees it."""
        first, second = [(await open_backend(BackendOptions())).commands for _ in range(2)]
        await first.block("user a", 100)
        await first.block("user a", 50)
        await first.block("token b c", 60)
        blocked = dict(await second.blocked())
        assert 50 < blocked.pop("user a") <= 100
        assert 0 < blocked.pop("token b c") <= 60
        assert not blocked

    async def test_node_states(self, open_backend: OpenBackend) -> None:
        """The last state of every node can be read until the node ends."""
        first, second = [(await open_backend(BackendOptions())).commands for _ in range(2)]
        await first.put_node_state("n1", b"old")
        await first.put_node_state("n1", b"1")
        await second.put_node_state("n2", b"2")
        states = dict(await second.node_states())
        assert set(states) == {b"1", b"2"}
        assert all(0 <= age < 30 for age in states.values())
        await first.remove_node_state("n1")
        assert set(dict(await second.node_states())) == {b"2"}


class TicketsContract:
    """The suite for ports.tickets."""

    async def test_ticket(self, open_backend: OpenBackend) -> None:
        """A ticket opens once in time, and can then be used again until its token expires."""
        tickets = (await open_backend(BackendOptions())).tickets
        # The clock of the process that issued it does not count.
        ticket = Ticket(user="a", topics=("n", "t*"), expires_at=1.0, token_id=None)
        await tickets.put("x", ticket, 0.2, 60.0)
        first = await tickets.consume("x")
        assert first is not None
        assert first[:2] == (ticket, False)
        assert 0 < first.token_seconds <= 60
        await tickets.put("late", ticket, 0.05, 60.0)
        await asyncio.sleep(0.3)  # the clock of a server cannot be controlled
        again = await tickets.consume("x")
        assert again is not None
        assert again[:2] == (ticket, True)
        assert again.token_seconds < first.token_seconds
        assert await tickets.consume("late") is None
        assert await tickets.consume("unknown") is None


class TopicPresenceContract:
    """The suite for ports.topic_presence."""

    @pytest.fixture
    async def backend(self, open_backend: OpenBackend) -> Backend:
        """An empty backend."""
        return await open_backend(BackendOptions())

    async def test_users_on_several_nodes(self, backend: Backend) -> None:
        """A user joins with the first node and leaves with the last one."""

        async def update(node: str, present: list[str], absent: list[str]) -> PresenceChange:
            return await backend.topic_presence.update(HALL, node, present, absent, seconds=60)

        assert await update("n1", ["a", "b"], []) == (["a", "b"], [], 2)
        assert await update("n2", ["b", "c"], []) == (["c"], [], 3)
        assert await update("n1", ["a", "b"], []) == ([], [], 3)
        assert await update("n1", [], ["a", "b", "never"]) == ([], ["a"], 2)
        assert await update("n2", ["d"], ["b"]) == (["d"], ["b"], 2)
        other = await backend.topic_presence.update(topic_channel("x"), "n1", [], [], seconds=60)
        assert other == ([], [], 0)

    async def test_expired_entries(self, backend: Backend) -> None:
        """Entries that were not renewed leave with the next update of any node."""
        presence = backend.topic_presence
        await presence.update(HALL, "dead", ["a", "b"], [], seconds=0.2)
        await presence.update(HALL, "n1", ["b"], [], seconds=60)
        left: list[str] = []
        async with asyncio.timeout(60):
            while not left:
                change = await presence.update(HALL, "n1", ["b"], [], seconds=60)
                left += change.left
                assert change.joined == []
                await asyncio.sleep(0)  # only an update tells that an entry has expired
        assert left == ["a"]
        assert await presence.update(HALL, "n1", ["b"], [], seconds=60) == ([], [], 1)


class UsageContract:
    """The suite for ports.usage."""

    async def test_totals_add_up(self, open_backend: OpenBackend) -> None:
        """Totals add up by day, user and model, and can be read for one user or for all."""
        usage = (await open_backend(BackendOptions())).usage

        def totals(user: str, model: str, answers: int, tokens: int) -> UsageTotals:
            return UsageTotals(
                day="2026-01-31",
                user=user,
                model=model,
                answers=answers,
                answers_without_usage=answers - 1,
                prompt_tokens=tokens,
                completion_tokens=2 * tokens,
            )

        for each in (totals("a", "m", 1, 10), totals("a", "m", 1, 5), totals("b", "m 2", 1, 7)):
            await usage.add(each)
        expected = UsageTotals(
            day="2026-01-31",
            user="a",
            model="m",
            answers=2,
            prompt_tokens=15,
            completion_tokens=30,
        )
        assert await usage.read("2026-01-31", "a") == [expected]
        assert await usage.read("2026-01-31", None) == [expected, totals("b", "m 2", 1, 7)]
        assert await usage.read("2026-02-01", None) == []

    async def test_models_have_a_limit(self, open_backend: OpenBackend) -> None:
        """A user who makes up models adds no more names on a day, and every answer counts."""
        usage = (await open_backend(BackendOptions())).usage

        async def add(model: str, user: str = "a", day: str = "2026-01-31") -> None:
            await usage.add(UsageTotals(day=day, user=user, model=model, answers=1))

        await add(OTHER_MODELS)  # a model may have this name; it takes no place
        models = [f"model {n}" for n in range(MAX_MODELS_PER_DAY)]
        for model in (*models, "late", "later", models[0]):
            await add(model)
        await add("late", user="b")
        await add("late", day="2026-02-01")
        counts = {each.model: each.answers for each in await usage.read("2026-01-31", "a")}
        assert counts == {**dict.fromkeys(models, 1), models[0]: 2, OTHER_MODELS: 3}
        assert [each.model for each in await usage.read("2026-01-31", "b")] == ["late"]
        assert [each.model for each in await usage.read("2026-02-01", None)] == ["late"]

    async def test_totals_have_a_limit(self, open_backend: OpenBackend) -> None:
        """A total that would not fit into 64 bits stays at the largest number that does."""
        usage = (await open_backend(BackendOptions())).usage
        maximum = UsageTotals(day="2026-01-31", user="a", model="m", prompt_tokens=2**63 - 1)
        for each in (
            maximum,
            maximum,
            msgspec.structs.replace(maximum, answers=1, prompt_tokens=5),
        ):
            await usage.add(each)
        assert await usage.read("2026-01-31", "a") == [msgspec.structs.replace(maximum, answers=1)]
