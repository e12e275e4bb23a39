"""The order of a recipient: with concurrent transactions, long ones, and several consumers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import asyncpg
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hub.ports.events import Publication
from hub.testing.backend import MemoryBackend
from tests.outbox.kit import Outbox, insert, until
from tests.properties import limit_examples

TRANSACTIONS = 4
STEPS = st.lists(
    st.tuples(
        st.integers(0, TRANSACTIONS - 1),
        st.sampled_from(["insert", "insert", "commit", "rollback", "look"]),
        st.sampled_from(["alice", "bob"]),
    ),
    max_size=30,
)


@given(steps=STEPS, batch_size=st.integers(1, 5), starts_late=st.booleans())
@settings(
    max_examples=limit_examples(25),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    deadline=None,
)
async def test_order_of_concurrent_transactions(
    steps: list[tuple[int, str, str]], batch_size: int, starts_late: bool, outbox: Outbox
) -> None:
    """Whatever the interleaving: committed rows are published once and others never. A row that was
    inserted after the transaction of another had committed comes behind it, also if its own
    transaction had begun before; and a row that was published before another was committed is of
    course before it (`look` waits for what is visible).
    """
    outbox.backend = MemoryBackend(max_events=1000)
    number = outbox.started
    if not starts_late:
        outbox.start(batch_size=batch_size)
    history = History(outbox)
    for n, (transaction, step, recipient) in enumerate(steps):
        if step == "insert":
            await history.insert(transaction, recipient, n)
        elif step != "look":
            await history.end(transaction, commits=step == "commit")
        elif not starts_late:
            await outbox.drained()
    await history.close()
    if starts_late:
        outbox.start(batch_size=batch_size)
    await outbox.drained()
    await outbox.end(number)
    for recipient in ("alice", "bob"):
        published = await outbox.published(f"user:{recipient}")
        assert sorted(published) == sorted(n for name, n in history.committed if name == recipient)
        for index, n in enumerate(published):
            assert history.before[n].isdisjoint(published[index + 1 :]), published


class History:
    """Transactions, each on a connection of its own.

    committed: recipient and number of the rows, in the order of commits. before: the rows that were
    committed before a row was inserted, by the number of that row.
    """

    def __init__(self, outbox: Outbox) -> None:
        self.committed: list[tuple[str, int]] = []
        self.before: dict[int, set[int]] = {}
        self._url = outbox.url
        self._open: dict[int, tuple[Any, list[tuple[str, int]]]] = {}

    async def insert(self, transaction: int, recipient: str, n: int) -> None:
        """Insert a row; begin the transaction if it is not open."""
        if transaction not in self._open:
            connection = await asyncpg.connect(self._url)
            await connection.execute("BEGIN")
            self._open[transaction] = connection, []
        connection, rows = self._open[transaction]
        self.before[n] = {each for _, each in self.committed}
        rows.append((recipient, n))
        await insert(connection, f"user:{recipient}", n)

    async def end(self, transaction: int, *, commits: bool) -> None:
        """End a transaction, if it is open."""
        if transaction in self._open:
            connection, rows = self._open.pop(transaction)
            await connection.execute("COMMIT" if commits else "ROLLBACK")
            connection.terminate()
            self.committed += rows if commits else []

    async def close(self) -> None:
        """Roll back what is open."""
        for transaction in [*self._open]:
            await self.end(transaction, commits=False)


async def test_rows_that_were_visible_first_are_published_first(outbox: Outbox) -> None:
    """A transaction that commits while a backlog is published comes behind all of it, although its
    row was inserted first.
    """
    late = await asyncpg.connect(outbox.url)
    async with late.transaction():
        await insert(late, "user:alice", "long transaction")
        for n in range(5):
            await outbox.insert("user:alice", n)
        held = HeldBackend(outbox.backend)
        outbox.start(backend=held, batch_size=2)
        await held.published.wait()  # the first page was read
    held.open.set()
    await outbox.drained()
    assert await outbox.published("user:alice") == [0, 1, 2, 3, 4, "long transaction"]
    late.terminate()


async def test_long_transaction_blocks_nobody(outbox: Outbox) -> None:
    """Rows with higher numbers are published while a transaction is open; its rows follow."""
    outbox.start()
    late = await asyncpg.connect(outbox.url)
    async with late.transaction():
        await insert(late, "user:alice", "late")
        await outbox.insert("user:alice", "early")
        await outbox.drained()
        assert await outbox.published("user:alice") == ["early"]
    await outbox.drained()
    assert await outbox.published("user:alice") == ["early", "late"]
    late.terminate()


async def test_rows_of_a_restored_table_are_published(outbox: Outbox) -> None:
    """A row whose transaction is from the future of this server does not wait for it."""
    for n in range(4):
        await outbox.insert("user:alice", n)
    await outbox.connection.execute("UPDATE hub_outbox SET transaction_id = '4611686018427387904'")
    outbox.start(batch_size=1)
    await outbox.drained()
    assert await outbox.published("user:alice") == [0, 1, 2, 3]


async def test_calls_that_fail_in_between_keep_the_order(outbox: Outbox) -> None:
    """When the broker refuses one call of a page, the calls behind it are not sent."""
    for n in range(300):
        await outbox.insert("user:alice", n)
    flaky = FlakyBackend(outbox.backend, failing={1, 2, 4})
    outbox.start(backend=flaky, batch_size=300)
    await outbox.drained()
    assert await outbox.published("user:alice") == list(range(300))


async def test_consumers_share_the_partitions(outbox: Outbox) -> None:
    """Two consumers have half of the partitions each, in whatever order they start; when one ends,
    the other takes over, and no partition ever has two.
    """
    first = outbox.start(poll_seconds=0.1)
    await until(lambda: first.partitions == [0, 1, 2, 3])
    second = outbox.start(poll_seconds=0.1)
    await until(lambda: len(first.partitions) == len(second.partitions) == 2)
    assert {*first.partitions, *second.partitions} == {0, 1, 2, 3}
    for n in range(100):
        await outbox.insert(f"user:u{n % 10}", n)
    await outbox.drained()
    for user in range(10):
        assert await outbox.published(f"user:u{user}") == list(range(user, 100, 10))
    counts = [each.metrics.rows["published"] for each in (first, second)]
    assert sum(counts) == 100
    assert min(counts) > 0
    assert await outbox.inspection.consumers() == ["consumer 0", "consumer 1"]
    await outbox.end(0)
    await until(lambda: second.partitions == [0, 1, 2, 3])


async def test_consumers_with_other_partitions_share_no_row(outbox: Outbox) -> None:
    """During a change of the setting, no bucket is read by two consumers."""
    first = outbox.start(partitions=2, poll_seconds=0.1)
    await until(lambda: first.partitions == [0, 1])
    second = outbox.start(partitions=3, poll_seconds=0.1)
    await until(lambda: len(first.partitions) == 1 and len(second.partitions) == 1)
    for n in range(60):
        await outbox.insert(f"user:u{n}", n)
    await outbox.end(0)
    await until(lambda: second.partitions == [0, 1, 2])
    await outbox.drained()
    counts = [each.metrics.rows for each in (first, second)]
    assert sum(each["published"] for each in counts) == 60
    assert sum(each["duplicate"] for each in counts) == 0


class HeldBackend:
    """A backend whose publishes wait until the gate is open."""

    def __init__(self, backend: MemoryBackend) -> None:
        self.events = self
        self.published = asyncio.Event()
        self.open = asyncio.Event()
        self._backend = backend

    async def try_publish(self, publications: Sequence[Publication]) -> Any:
        self.published.set()
        await self.open.wait()
        return await self._backend.events.try_publish(publications)


class FlakyBackend:
    """A backend that is away during some calls. failing: their numbers, from 0."""

    def __init__(self, backend: MemoryBackend, failing: set[int]) -> None:
        self.events = self
        self._backend = backend
        self._failing = failing
        self._calls = 0

    async def try_publish(self, publications: Sequence[Publication]) -> Any:
        self._backend.is_unavailable = self._calls in self._failing
        self._calls += 1
        return await self._backend.events.try_publish(publications)
