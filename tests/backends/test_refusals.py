"""A server that answers but refuses writes: it is reported as such, and nothing is half done."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from hub.backends.redis import RedisBackend
from hub.backends.redis.client import Script, open_client
from hub.core.channel import partition_of, topic_channel, user_channel
from hub.core.fair_queue import Admission, Job
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
from hub.errors import BrokerOutOfMemory, BrokerRefusesWrites, BrokerUnavailable
from hub.ports.events import FROM_START, Outcome, Publication
from hub.ports.tickets import Ticket
from hub.ports.usage import UsageTotals
from tests.conftest import missing, temporary_folder
from tests.redis_backend import redis_backend
from tests.topologies import TcpServer, free_ports, valkey_binary

ALICE = user_channel("alice")
REQUEST = GenerationRequest(
    messages=[Message(role="user", content="hi")], upstream="u", model="m", chat="c"
)
TICKET = Ticket(user="alice", topics=(), expires_at=2e9, token_id=None)
MIB = 1024 * 1024


@pytest.fixture(scope="module", params=["valkey", "redis"])
def process(request: pytest.FixtureRequest) -> Iterator[TcpServer]:
    """A server of each kind, whose settings the tests change."""
    binary = valkey_binary()
    if request.param == "redis":
        binary = shutil.which("redis-server") or missing("redis-server")
    with ExitStack() as stack:
        server = TcpServer(binary, temporary_folder("refusals", stack), free_ports(1)[0])
        stack.callback(server.kill)
        yield server


class Server:
    """A server and the backend on it."""

    def __init__(self, process: TcpServer, backend: RedisBackend) -> None:
        self.process = process
        self.backend = backend

    async def publish(self, data: bytes = b"1", **options: Any) -> Any:
        event = Publication(channel=ALICE, name="n", data=data, **options)
        (published,) = await self.backend.events.publish([event])
        return published

    def used_memory(self) -> int:
        info = self.process.ask("INFO", "memory").decode()
        return int(next(line for line in info.splitlines() if line.startswith("used_memory:"))[12:])

    def fill(self) -> None:
        """Limit the memory to less than what is in use."""
        self.process.ask("CONFIG", "SET", "maxmemory", self.used_memory() // 2)


@pytest.fixture
async def server(process: TcpServer) -> AsyncIterator[Server]:
    """An empty server with the default settings."""
    process.ask("CONFIG", "SET", "maxmemory", 0)
    process.ask("CONFIG", "SET", "min-replicas-to-write", 0)
    process.ask("FLUSHALL")
    async with open_client(f"redis://127.0.0.1:{process.port}", timeout_seconds=5.0) as client:
        yield Server(process, redis_backend(client))


async def test_full_memory_stays_bounded(server: Server) -> None:
    """Publishes to new and old channels are refused as soon as the memory is full."""
    limit = server.used_memory() + 2 * MIB
    server.process.ask("CONFIG", "SET", "maxmemory", limit)
    refused = 0
    for n in range(400):
        events = [
            Publication(channel=channel, name="n", data=b'"%b"' % (b"x" * 1000))
            for channel in (ALICE, *(user_channel(f"u{n}-{k}") for k in range(31)))
        ]
        results = await server.backend.events.try_publish(events)
        refused += sum(isinstance(result, BrokerOutOfMemory) for result in results)
        assert {type(result) for result in results if isinstance(result, Exception)} <= {
            BrokerOutOfMemory
        }
    assert refused > 5000
    assert server.used_memory() < limit + MIB  # the event that reaches the limit, and buffers
    assert server.backend.statistics.refusals["out_of_memory"] > 100


async def test_what_works_while_the_memory_is_full(server: Server) -> None:
    """Clients read and resume, and what has begun can be stopped, ended and removed."""
    backend = server.backend
    await server.publish(b"stored")
    generations = []
    for _ in range(3):
        generation = Generation(
            id=new_generation_id(partition_of(ALICE)), user="alice", request=REQUEST
        )
        await backend.generations.create(generation, None)
        generations.append(generation.id)
    running, queued, discarded = generations
    begin = GenerationUpdate(running, 1, UpdateKind.BEGIN, Status.RUNNING)
    assert (await server.publish(update=begin)).outcome is Outcome.WRITTEN
    await backend.tickets.put("t", TICKET, 30.0, 3600.0)
    server.fill()

    pages = await backend.events.read(
        {ALICE: FROM_START, user_channel("new"): None}, max_events=9, max_bytes=MIB
    )
    assert [event.data for event in pages[ALICE].events] == [b"stored", b"1"]
    assert await backend.events.heads([ALICE]) == {ALICE: pages[ALICE].head}
    assert await backend.generations.request_stop(running, "alice") is StopResult.STOPPING
    end = GenerationUpdate(running, 1, UpdateKind.END, Status.STOPPED)
    delta = GenerationUpdate(running, 1, UpdateKind.DELTA, Status.RUNNING, 0, b"x")
    refused, ended = await backend.events.try_publish(
        [Publication(channel=ALICE, name="n", data=b"{}", update=update) for update in (delta, end)]
    )
    assert isinstance(refused, BrokerOutOfMemory)
    assert not isinstance(ended, BrokerUnavailable)
    assert ended.outcome is Outcome.WRITTEN
    record = await backend.generations.find(running)
    assert record is not None
    assert (record.status, record.text) == (Status.STOPPED, "")
    await backend.generations.discard(Generation(discarded, "alice", REQUEST), None)
    assert await backend.generations.find(discarded) is None
    job = Job(queued, "alice", "u")
    assert await backend.queue.enqueue(job) is Admission.ACCEPTED
    await backend.queue.withdraw(job)
    assert await backend.tickets.consume("t") is not None
    await backend.commands.block("user mallory", 60.0)
    assert list(await backend.commands.blocked()) == ["user mallory"]
    await backend.commands.put_node_state("n", b"{}")
    assert [state for state, _ in await backend.commands.node_states()] == [b"{}"]
    await backend.usage.add(UsageTotals(day="2026-01-01", user="alice", model="m", answers=1))


Call = Callable[[RedisBackend], Awaitable[Any]]
NEW: dict[str, Call] = {
    "event": lambda backend: backend.events.publish(
        [Publication(channel=ALICE, name="n", data=b"1")]
    ),
    "ephemeral event": lambda backend: backend.events.publish(
        [Publication(channel=ALICE, name="n", data=b"1", ephemeral=True, idempotency_key="k")]
    ),
    "generation": lambda backend: backend.generations.create(
        Generation(id=new_generation_id(partition_of(ALICE)), user="alice", request=REQUEST), "k"
    ),
    "ticket": lambda backend: backend.tickets.put("t", TICKET, 30.0, 3600.0),
    "presence": lambda backend: backend.topic_presence.update(
        topic_channel("t"), "n", ["alice"], [], seconds=20.0
    ),
    "readiness": lambda backend: backend.health.check_ready(),
    "writability": lambda backend: backend.health.check_writable(),
}


@pytest.mark.parametrize("what", NEW)
async def test_nothing_new_while_the_memory_is_full(server: Server, what: str) -> None:
    """What would store something new is refused with an error of its own, and changes nothing."""
    keys = server.process.ask("DBSIZE")
    server.fill()
    with pytest.raises(BrokerOutOfMemory, match=r"^the memory of the broker is full, so .*: OOM "):
        await NEW[what](server.backend)
    assert server.process.ask("DBSIZE") == keys
    assert server.backend.statistics.refusals == {"out_of_memory": 1}
    server.process.ask("CONFIG", "SET", "maxmemory", 0)
    await server.backend.health.check_writable()
    await server.publish()


@pytest.mark.parametrize("what", NEW)
async def test_too_few_replicas(server: Server, what: str) -> None:
    """A server that lacks replicas refuses every write, with an error of its own."""
    keys = server.process.ask("DBSIZE")
    server.process.ask("CONFIG", "SET", "min-replicas-to-write", 1)
    with pytest.raises(BrokerRefusesWrites, match=r"^the broker refuses writes, .*: NOREPLICAS "):
        await NEW[what](server.backend)
    assert server.process.ask("DBSIZE") == keys
    assert server.backend.statistics.refusals == {"refuses_writes": 1}


def test_every_script_declares_its_flags() -> None:
    """Redis checks the memory before a script only if the script declares its flags."""
    assert len(Script.known) > 10
    for script in Script.known:
        assert script.body.partition("\n")[0] in ("#!lua", "#!lua flags=allow-oom")
