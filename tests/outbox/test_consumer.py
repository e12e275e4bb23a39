"""The consumer with a real PostgreSQL: what is published, in which order, and what is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import asyncpg
import pytest
import structlog

from hub.core.channel import Channel
from hub.core.json_depth import MAX_DEPTH
from hub.engine.publisher import Publisher
from hub.outbox.session import PageLimits, open_session
from hub.ports.events import Publication
from hub.testing.backend import MemoryBackend
from tests.outbox.kit import DAY, Outbox, until

RANDOM_TEXT = "(SELECT string_agg(md5(n::text), '') FROM generate_series(1, 3000) AS n)"


async def test_committed_rows_are_published_and_deleted(outbox: Outbox) -> None:
    """Rows that were there before and rows that come later are published, each to its channel."""
    await outbox.insert("user:alice", 1)
    await outbox.insert("topic:news", 2)
    outbox.start()
    await outbox.drained()
    await outbox.insert("all", {"n": 3})
    await outbox.insert("user:alice", 4)
    await outbox.drained()
    assert await outbox.published("user:alice") == [1, 4]
    assert await outbox.published("topic:news") == [2]
    assert await outbox.published("all") == [{"n": 3}]


async def test_rolled_back_rows_are_not_published(outbox: Outbox) -> None:
    """Nothing of a transaction or a savepoint that was rolled back is published."""
    outbox.start()
    connection = outbox.connection
    rolled_back = connection.transaction()
    await rolled_back.start()
    await outbox.insert("user:alice", "rolled back")
    await rolled_back.rollback()
    async with connection.transaction():
        await outbox.insert("user:alice", 1)
        savepoint = connection.transaction()
        await savepoint.start()
        await outbox.insert("user:alice", "savepoint")
        await savepoint.rollback()
        async with connection.transaction():
            await outbox.insert("user:alice", 2)
    await outbox.drained()
    assert await outbox.published("user:alice") == [1, 2]


async def test_options_and_data_are_those_of_a_publish(outbox: Outbox) -> None:
    """`options` has the optional fields of POST /publish, also as null; without data it is null."""
    seen: list[Any] = []
    outbox.backend.subscriptions.listen(seen.extend, lambda: None)
    await outbox.backend.subscriptions.subscribe([Channel("user:alice")])
    text = '{"b": 1.50, "a": "\\u2028"}'
    await insert_text(
        outbox, "user:alice", data=text, event="order.paid", options='{"ttl_seconds":60}'
    )
    await insert_text(outbox, "user:alice", data=None, options='{"ephemeral":true}')
    await insert_text(outbox, "user:alice", data="null", options='{"ttl_seconds":null}')
    await insert_text(outbox, "user:alice", data="[]", options="null")
    outbox.start()
    await outbox.drained()
    assert [(each.name, each.data) for each in seen] == [
        ("order.paid", b'{"b":1.50,"a":"\\u2028"}'),
        *[("notification", data) for data in (b"null", b"null", b"[]")],
    ]
    assert [each.position is None for each in seen] == [False, True, False, False]


async def test_options_for_users_who_are_away(outbox: Outbox) -> None:
    """`inbox` and `push` work as in POST /publish, as does every later field."""
    seen: list[Publication] = []
    gate: Any = Gate(outbox.backend, seen)
    gate.open.set()
    publisher = Publisher(gate, max_data_bytes=1000, push_after_seconds=10.0)
    options = {"inbox": {"category": "orders", "key": "o1"}, "push": {"title": "Shipped"}}
    await outbox.insert("user:alice", 1, options=options)
    outbox.start(outbox.consumer(publisher=publisher))
    await outbox.drained()
    assert await outbox.refused() == []
    (publication,) = seen
    assert publication.inbox is not None
    assert len(publication.deliveries) == 1
    assert publication.idempotency_seconds == DAY


BAD_ROWS = [
    ("alice", {}, "invalid_field", "recipient must be user:<id>, topic:<name> or all"),
    ("users:alice", {}, "invalid_field", "recipient must be user:<id>, topic:<name> or all"),
    ("all:", {}, "invalid_field", "recipient must be user:<id>, topic:<name> or all"),
    ("user:", {}, "invalid_user_id", "a user id has 1 to 256 printable characters"),
    ("user:a b", {}, "invalid_user_id", "a user id has 1 to 256 printable characters"),
    ("topic:a*", {}, "invalid_topic", "a topic name has"),
    ("user:bad", {"event": "a\nb"}, "invalid_event_name", "must not contain CR, LF or NUL"),
    ("user:bad", {"event": "hub.open"}, "invalid_event_name", "hub."),
    ("user:bad", {"options": '{"ttl_seconds":-1}'}, "invalid_field", "ttl_seconds must be"),
    ("user:bad", {"options": '{"ttl_seconds":"1"}'}, "invalid_field", "ttl_seconds: expected"),
    ("user:bad", {"options": '{"until":1}'}, "unknown_field", "there is no field 'until'"),
    ("user:bad", {"options": '{"id":"x"}'}, "invalid_field", "options.id: this has a column"),
    ("user:bad", {"options": '{"to":{}}'}, "invalid_field", "options.to: this has a column"),
    ("user:bad", {"options": "[1]"}, "invalid_field", "options: expected `object`"),
    ("user:bad", {"data": '"\\ud800"'}, "invalid_json", "half of a surrogate pair"),
    (
        "user:bad",
        {"data": "[" * MAX_DEPTH + "]" * MAX_DEPTH},
        "invalid_json",
        "nested arrays and objects",
    ),
    ("user:bad", {"data": f'"{"x" * 1500}"'}, "data_too_large", "data has 1502 bytes"),
    ("user:bad", {"data": f'"{"x" * 3000}"'}, "body_too_large", "the row has at least 30"),
    ("user:" + "x" * 3000, {}, "body_too_large", "the limit is 2000 (publish.max_body_bytes)"),
]


async def test_refused_rows_are_set_aside(outbox: Outbox) -> None:
    """A row that cannot be published is kept with code and reason, and blocks no row behind it."""
    for recipient, columns, _, _ in BAD_ROWS:
        await insert_text(outbox, recipient, **{"data": "1", **columns})
        await outbox.insert("user:alice", recipient[:20])
    consumer = outbox.start(batch_size=7)
    await outbox.drained()
    assert await outbox.published("user:alice") == [row[0][:20] for row in BAD_ROWS]
    assert await outbox.published("user:bad") == []
    refused = await outbox.refused()
    for (recipient, _, code, reason), row in zip(BAD_ROWS, refused, strict=True):
        assert row[:2] == (recipient, code)
        assert reason in row[2]
    await until(lambda: consumer.metrics.rows["refused"] == len(BAD_ROWS))  # after the commit
    assert consumer.metrics.rows["published"] == len(BAD_ROWS)


async def test_id_of_another_event_is_refused(outbox: Outbox) -> None:
    """A row whose id was used for another event in its channel is a conflict; a retry gives it a
    new id. The same event again counts as published.
    """
    same = await outbox.insert("user:alice", 1)
    consumer = outbox.start()
    await outbox.drained()
    await outbox.insert("user:alice", 2, id=same)
    await outbox.drained()
    await outbox.insert("user:alice", 1, id=same)
    await outbox.drained()
    (row,) = await outbox.inspection.refused(10)
    assert (row.id, row.code) == (same, "idempotency_key_reused")
    assert await outbox.published("user:alice") == [1]
    assert await outbox.inspection.retry([same]) == 1
    await outbox.drained()
    assert await outbox.published("user:alice") == [1, 2]
    assert await outbox.refused() == []
    assert consumer.metrics.rows["duplicate"] == 1


async def test_broker_that_is_away_blocks_and_loses_nothing(outbox: Outbox) -> None:
    """While the broker is away nothing is deleted; afterwards all rows are published in order."""
    outbox.backend.is_unavailable = True
    for n in range(150):
        await outbox.insert(f"user:u{n % 2}", n)
    consumer = outbox.start(batch_size=100)
    await until(lambda: consumer.metrics.retries["broker"] >= 2)
    assert await outbox.connection.fetchval("SELECT count(*) FROM hub_outbox") == 150
    outbox.backend.is_unavailable = False
    await outbox.drained()
    assert await outbox.published("user:u0") == list(range(0, 150, 2))
    assert await outbox.published("user:u1") == list(range(1, 150, 2))


async def test_lost_acknowledgement_publishes_nothing_twice(outbox: Outbox) -> None:
    """A consumer that is killed between publish and delete leaves its rows to the next one."""
    for n in range(10):
        await outbox.insert("user:alice", n)
    gate = Gate(outbox.backend)
    outbox.start(backend=gate)
    await gate.published.wait()
    await outbox.end()
    assert await outbox.published("user:alice") == list(range(10))
    assert await outbox.connection.fetchval("SELECT count(*) FROM hub_outbox") == 10
    consumer = outbox.start()
    await outbox.drained()
    assert await outbox.published("user:alice") == list(range(10))
    await until(lambda: consumer.metrics.rows == {"duplicate": 10, "refused": 0})


async def test_lost_session_stops_publishing(outbox: Outbox) -> None:
    """A consumer whose session ends while a call is in flight publishes nothing more with it; it
    connects again and goes on.
    """
    for n in range(200):  # several calls
        await outbox.insert("user:alice", n)
    gate = Gate(outbox.backend)
    consumer = outbox.start(backend=gate, batch_size=1000)
    await gate.published.wait()
    assert consumer.partitions == [0, 1, 2, 3]
    await outbox.kill_sessions()
    await until(lambda: not consumer.is_connected)
    assert gate.calls == 1
    gate.open.set()
    await outbox.drained()
    assert await outbox.published("user:alice") == list(range(200))
    assert consumer.metrics.rows["duplicate"] == 64
    assert consumer.metrics.retries["database"] == 1


async def test_stop_finishes_the_batch(outbox: Outbox) -> None:
    """A consumer that is stopped deletes what it has published, and gives its partitions back."""
    for n in range(10):
        await outbox.insert("user:alice", n)
    gate = Gate(outbox.backend)
    consumer = outbox.start(backend=gate)
    await gate.published.wait()
    other = outbox.start()  # it waits for its share
    async with asyncio.TaskGroup() as group:
        stopping = group.create_task(consumer.stop(30.0))
        gate.open.set()
        await stopping
    await until(lambda: other.partitions == [0, 1, 2, 3])
    assert await outbox.connection.fetchval("SELECT count(*) FROM hub_outbox") == 0
    await outbox.insert("user:alice", 10)
    await outbox.drained()
    assert await outbox.published("user:alice") == list(range(11))


async def test_notification_that_is_lost_is_made_up_by_the_poll(outbox: Outbox) -> None:
    """Rows are published without the trigger as well."""
    await outbox.connection.execute("ALTER TABLE hub_outbox DISABLE TRIGGER ALL")
    consumer = outbox.start(poll_seconds=0.05)
    await until(lambda: consumer.is_connected)
    await outbox.insert("user:alice", 1)
    await outbox.drained()
    assert await outbox.published("user:alice") == [1]


async def test_pages_are_bounded_in_bytes(outbox: Outbox) -> None:
    """A page ends with the row that reaches the bound. The text of a row that is too large is not
    read, so it does not count, and many of them are refused together.
    """
    for size in (600, 600, 5000, 6000, 7000, 600, 600):
        await outbox.insert("user:alice", "x" * size)
    async with open_session(outbox.address(), outbox.names, partitions=1) as session:
        await session.claim()
        limits = PageLimits(max_rows=10, max_bytes=1000, max_row_bytes=2000)
        sizes = []
        while (page := await session.read(None, limits)).rows:
            sizes.append([len(row.data or "") for row in page.rows])
            await session.complete([row.number for row in page.rows], [])
    assert sizes == [[602, 602], [0, 0, 0, 602, 602]]


async def test_pages_are_bounded_in_compressed_bytes(outbox: Outbox) -> None:
    """The text of a row may be far larger than what is stored. Few texts are made for one page, so
    that reading it takes no longer than a statement may; the rest of the snapshot follows.
    """
    await outbox.connection.execute(
        "INSERT INTO hub_outbox (recipient, data)"
        " SELECT 'user:alice', to_json(repeat('x', 100000)) FROM generate_series(1, 7)"
    )
    stored = await outbox.connection.fetchval("SELECT max(pg_column_size(data)) FROM hub_outbox")
    async with open_session(outbox.address(), outbox.names, partitions=1) as session:
        await session.claim()
        limits = PageLimits(max_rows=9, max_bytes=2 * stored, max_row_bytes=2 * stored)
        pages = []
        while (page := await session.read(None, limits)).rows:
            pages.append((len(page.rows), page.is_full))
            assert {row.size_bytes for row in page.rows} == {100_024}
            await session.complete([row.number for row in page.rows], [])
    assert pages == [(2, True), (2, True), (2, True), (1, False)]


@pytest.mark.parametrize("made_by", ["repeat('x', 100000)", RANDOM_TEXT], ids=["plain", "random"])
async def test_size_of_a_row_that_is_too_large(outbox: Outbox, made_by: str) -> None:
    """A row is refused by the size of its text, or of the compressed text if this is enough."""
    for column in ("data", "options"):
        await outbox.connection.execute(
            f"INSERT INTO hub_outbox (recipient, {column}) SELECT 'user:a', to_json({made_by})"
        )
    await outbox.insert("user:a", 1)
    outbox.start()
    await outbox.drained()
    refused = await outbox.refused()
    assert [code for _, code, _ in refused] == ["body_too_large"] * 2
    assert await outbox.published("user:a") == [1]


async def test_row_that_somebody_locks_blocks_nobody(outbox: Outbox) -> None:
    """Rows of the outbox and refused rows that a transaction has locked stay; all others are
    published and removed, and each event is published once.
    """
    bad = await outbox.insert("nobody", 0)
    outbox.start()
    await outbox.drained()
    await outbox.end(0)
    other = await asyncpg.connect(outbox.url)
    try:
        async with other.transaction():
            await other.execute("UPDATE hub_outbox_refused SET event = 'mine'")
            await outbox.insert("nobody", 0, id=bad)
            locked = await outbox.insert("user:alice", 1)
            await other.execute("SELECT FROM hub_outbox WHERE id = $1 FOR UPDATE", locked)
            for number in range(2, 150):
                await outbox.insert("user:alice", number)
            outbox.start()
            async with asyncio.timeout(60):
                while await outbox.connection.fetchval("SELECT count(*) FROM hub_outbox") > 2:
                    await asyncio.sleep(0.01)
            assert await outbox.published("user:alice") == [*range(1, 150)]
    finally:
        await other.close()
    await outbox.end(1)
    outbox.start()  # another consumer does not know which rows were locked
    await outbox.drained()
    assert await outbox.published("user:alice") == [*range(1, 150)]
    assert len(await outbox.refused()) == 1


async def test_many_locked_rows_delay_no_other(outbox: Outbox) -> None:
    """A transaction has locked a page of rows and as many refused rows; those that come later are
    published and removed before it ends. Only a row that was set aside counts as refused.
    """
    ids = [await outbox.insert("nobody", n) for n in range(100)]
    consumer = outbox.start()
    await outbox.drained()
    await until(lambda: consumer.metrics.rows["refused"] == 100)
    other = await asyncpg.connect(outbox.url)
    try:
        async with other.transaction():
            await other.execute("UPDATE hub_outbox_refused SET event = 'mine'")
            async with outbox.connection.transaction():
                for n, id_ in enumerate(ids):
                    await outbox.insert("nobody", n, id=id_)
                    await outbox.insert("user:alice", n)
            await other.execute("SELECT FROM hub_outbox WHERE recipient = 'user:alice' FOR UPDATE")
            for n in range(100):
                await outbox.insert("user:bob", n)
                await outbox.insert("nobody", n)
            async with asyncio.timeout(60):
                while await outbox.connection.fetchval(
                    "SELECT count(*) FROM hub_outbox WHERE recipient = 'user:bob'"
                ):
                    await asyncio.sleep(0.01)
            assert await outbox.published("user:bob") == [*range(100)]
    finally:
        await other.close()
    await outbox.end(0)
    consumer = outbox.start()
    await outbox.drained()
    assert await outbox.published("user:alice") == [*range(100)]
    assert len(await outbox.refused()) == 200


async def test_row_that_somebody_deletes_is_no_error(outbox: Outbox) -> None:
    """The application may delete rows while they are published."""
    await outbox.insert("user:alice", 1)
    other = await asyncpg.connect(outbox.url)
    try:
        async with open_session(outbox.address(), outbox.names, partitions=1) as session:
            await session.claim()
            limits = PageLimits(max_rows=9, max_bytes=9999, max_row_bytes=9999)
            (row,) = (await session.read(None, limits)).rows
            async with other.transaction():
                await other.execute("DELETE FROM hub_outbox")
                completion = asyncio.create_task(session.complete([row.number], []))
                await asyncio.wait([completion], timeout=0.5)
            await completion
            assert await session.complete([row.number], []) == []
    finally:
        await other.close()


async def test_rows_that_cannot_be_deleted_are_an_error(outbox: Outbox) -> None:
    """Without the privilege nothing is published; with a policy that hides the rows from DELETE the
    consumer says so, and pauses longer and longer.
    """
    await outbox.connection.execute(
        "DROP ROLE IF EXISTS reader; CREATE ROLE reader LOGIN;"
        " GRANT SELECT, INSERT ON hub_outbox TO reader;"
        " GRANT SELECT, INSERT, UPDATE, DELETE ON hub_outbox_refused TO reader"
    )
    url, outbox.url = outbox.url, outbox.url.replace("postgres@", "reader@")
    try:
        await outbox.insert("user:alice", 1)
        with structlog.testing.capture_logs() as logs:
            first = outbox.start()
            await until(lambda: first.metrics.retries["database"] >= 2)
            await outbox.end(0)
            assert await outbox.published("user:alice") == []
            for statement in (  # one transaction could be in a deadlock with autovacuum
                "GRANT DELETE ON hub_outbox TO reader",
                "ALTER TABLE hub_outbox ENABLE ROW LEVEL SECURITY",
                "CREATE POLICY see ON hub_outbox FOR SELECT USING (true)",
            ):
                await outbox.connection.execute(statement)
            second = outbox.start()
            await until(lambda: second.metrics.retries["database"] >= 2)
            await outbox.end(1)
        assert await outbox.published("user:alice") == [1]
        errors = {each["error"] for each in logs if each["event"] == "outbox.disconnected"}
        assert len(errors) == 2
        assert any("lacks DELETE on" in error for error in errors)
        assert any("could not be deleted" in error for error in errors)
    finally:
        outbox.url = url
        await outbox.connection.execute(
            "ALTER TABLE hub_outbox DISABLE ROW LEVEL SECURITY;"
            " DROP POLICY IF EXISTS see ON hub_outbox;"
            " DROP OWNED BY reader; DROP ROLE reader"
        )


async def insert_text(outbox: Outbox, recipient: str, **columns: str | None) -> None:
    """Insert a row whose JSON columns are given as text."""
    names = ["recipient", *columns]
    markers = ", ".join(f"${n + 1}" for n in range(len(names)))
    await outbox.connection.execute(
        f"INSERT INTO hub_outbox ({', '.join(names)}) VALUES ({markers})",
        *(recipient, *columns.values()),
    )


class Gate:
    """A backend whose publishes happen, but are acknowledged only when the gate is open."""

    def __init__(self, backend: MemoryBackend, seen: list[Publication] | None = None) -> None:
        self.events = self
        self.seen = [] if seen is None else seen
        self.published = asyncio.Event()
        self.open = asyncio.Event()
        self.calls = 0
        self._backend = backend

    async def try_publish(self, publications: Sequence[Publication]) -> Any:
        self.calls += 1
        self.seen += publications
        results = await self._backend.events.try_publish(publications)
        self.published.set()
        await self.open.wait()
        return results


@pytest.mark.parametrize("created_at", ["infinity", "-infinity", "294276-12-31", "4713-01-01 BC"])
async def test_odd_times_block_nobody(outbox: Outbox, created_at: str) -> None:
    """A row is published whatever time the application has written into it."""
    await outbox.connection.execute(
        f"INSERT INTO {outbox.names.rows} (recipient, created_at) VALUES ('user:a', '{created_at}')"
    )
    await outbox.insert("user:b", 1)
    await outbox.inspection.backlog()
    outbox.start()
    await outbox.drained()
    assert (await outbox.inspection.backlog()).refused == 0
