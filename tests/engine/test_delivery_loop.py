"""Deliveries are sent at least once, in order in their lane, within bounds of time and number."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import AsyncIterator
from typing import Any

import pytest

from hub.core.channel import Channel, user_channel
from hub.core.deliveries import (
    Dead,
    Delivery,
    Done,
    Failed,
    Postponed,
    RetryPolicy,
    SendResult,
    new_delivery_id,
)
from hub.engine.delivery_loop import COUNT_SECONDS, DeliveryLoop
from hub.engine.metrics.delivery_metrics import DeliveryMetrics
from hub.engine.tasks import Supervisor
from hub.errors import BrokerUnavailable
from hub.ports.deliveries import TakenDelivery
from hub.testing.deliveries import MemoryDeliveryStore
from tests.doubles import FakeClock, Gate, settled, until

ALICE = user_channel("alice")
POLICY = RetryPolicy(min_seconds=2.0, max_seconds=60.0, max_age_seconds=1000.0)


class Sender:
    """A sender with a script of results by body; without one, a delivery is done."""

    def __init__(self) -> None:
        self.attempts: list[tuple[str, bytes]] = []
        self.results: dict[bytes, deque[SendResult | Exception]] = {}
        self.gates: dict[bytes, Gate] = {}
        self.running = self.max_running = 0

    async def __call__(self, taken: TakenDelivery) -> SendResult:
        self.attempts.append((taken.channel, taken.body))
        self.running += 1
        self.max_running = max(self.max_running, self.running)
        try:
            if taken.body in self.gates:
                await self.gates[taken.body].passed()
        finally:
            self.running -= 1
        results = self.results.get(taken.body)
        result = results.popleft() if results else Done()
        if isinstance(result, Exception):
            raise result
        return result

    @property
    def bodies(self) -> list[bytes]:
        return [body for _, body in self.attempts]


class Kit:
    """Loops over one store, with one clock for both."""

    def __init__(self, tasks: Supervisor, clock: FakeClock) -> None:
        self.clock = clock
        self.store = MemoryDeliveryStore(now=clock.now)
        self.sender = Sender()
        self.metrics = DeliveryMetrics()
        self.tasks = tasks

    def start(self, name: str = "loop", **options: Any) -> DeliveryLoop:
        values = {"concurrency": 10, "lease_seconds": 30.0, "poll_seconds": 1.0, **options}
        loop = DeliveryLoop(
            self.store,
            "webhook",
            self.sender,
            self.clock,
            policy=POLICY,
            metrics=self.metrics,
            jitter=lambda: 1.0,
            **values,
        )
        self.tasks.start(name, loop.run)
        return loop

    async def add(self, *bodies: bytes, channel: Channel = ALICE) -> None:
        for body in bodies:
            identifier = new_delivery_id(channel)
            await self.store.add(
                [Delivery(queue="webhook", channel=channel, lane="l", id=identifier, body=body)]
            )

    async def run_for(self, seconds: float, *, step: float = 0.5) -> None:
        """Let time pass in small steps."""
        for _ in range(math.ceil(seconds / step)):
            await settled()
            await self.clock.advance(step)
        await settled()


@pytest.fixture
async def kit() -> AsyncIterator[Kit]:
    clock = FakeClock()
    async with Supervisor(clock) as tasks:
        yield Kit(tasks, clock)


async def test_order_in_a_lane(kit: Kit) -> None:
    """The deliveries of a lane follow each other without a pause, also after failures."""
    await kit.add(b"1", b"2", b"3")
    kit.sender.results = {b"2": deque([Failed("x"), RuntimeError("mistake"), Failed("y")])}
    kit.start()
    await kit.run_for(2)
    assert kit.sender.bodies == [b"1", b"2"]
    await kit.run_for(30)
    assert kit.sender.bodies == [b"1", *[b"2"] * 4, b"3"]
    assert kit.metrics.attempts == {("webhook", "done"): 3, ("webhook", "retry"): 3}


async def test_lanes_are_independent(kit: Kit) -> None:
    """A lane whose receiver fails or hangs holds up nobody else."""
    others = [user_channel(f"u{n}") for n in range(20)]
    gate = kit.sender.gates[b"hangs"] = Gate()
    gate.close()
    await kit.add(b"hangs", b"after")
    for channel in others:
        await kit.add(b"other", channel=channel)
    kit.start(concurrency=3)
    await kit.run_for(3)
    assert kit.sender.bodies.count(b"other") == 20
    assert b"after" not in kit.sender.bodies
    gate.open()
    await kit.run_for(1)
    assert kit.sender.bodies[-1] == b"after"


async def test_concurrency(kit: Kit) -> None:
    """No more than `concurrency` are sent at once, and the others as soon as one has ended."""
    gate = kit.sender.gates[b"x"] = Gate()
    gate.close()
    for n in range(8):
        await kit.add(b"x", channel=user_channel(f"u{n}"))
    loop = kit.start(concurrency=3)
    await kit.run_for(2)
    assert (len(loop), len(kit.sender.attempts)) == (3, 3)
    gate.open()
    await kit.run_for(0.5)
    assert (len(loop), len(kit.sender.attempts), kit.sender.max_running) == (0, 8, 3)


async def test_sender_has_a_deadline(kit: Kit) -> None:
    """An attempt that never ends has failed before its lease ends, and is tried again."""
    kit.sender.gates[b"hangs"] = Gate()
    kit.sender.gates[b"hangs"].close()
    await kit.add(b"hangs", b"next")
    kit.start(lease_seconds=30.0)
    await kit.run_for(19)
    assert (kit.sender.running, len(kit.sender.attempts)) == (1, 1)
    await kit.run_for(5)
    assert (kit.sender.running, len(kit.sender.attempts)) == (1, 2)
    assert kit.sender.max_running == 1


async def test_dead_letter_releases_the_lane(kit: Kit) -> None:
    """A delivery that is given up, by the sender or for its age, is kept and the next one sent."""
    await kit.add(b"refused", b"old", b"postponed", b"last")
    kit.sender.results = {
        b"refused": deque([Dead("no such receiver")]),
        b"old": deque([Failed("down")] * 1000),
        b"postponed": deque([Postponed(5.0)] * 1000),
    }
    kit.start()
    await kit.run_for(2)
    assert kit.sender.bodies == [b"refused", b"old"]
    await kit.run_for(1100, step=20.0)
    assert [each.body for each in await kit.store.list_dead("webhook", 10)] == [
        b"postponed", b"old", b"refused"
    ]  # fmt: skip
    assert kit.sender.bodies[-1] == b"last"
    assert kit.sender.bodies.count(b"old") < 30


async def test_lost_process(kit: Kit) -> None:
    """What a process had taken when it was lost is sent by another one, and in order."""
    gate = kit.sender.gates[b"1"] = Gate()
    gate.close()
    await kit.add(b"1", b"2")
    taken = await kit.store.take("webhook", 10, lease_seconds=30.0)  # and the process is lost
    kit.start()
    await kit.run_for(29)
    assert kit.sender.bodies == []
    gate.open()
    await kit.run_for(3)
    assert kit.sender.bodies == [b"1", b"2"]
    assert not (await kit.store.complete(taken[0], Done())).is_recorded


@pytest.mark.parametrize("is_forced", [False, True])
async def test_shutdown(kit: Kit, is_forced: bool) -> None:
    """At the end, attempts may finish for a while; the others are due again at once."""
    for body in (b"1", b"2"):
        kit.sender.gates[body] = Gate()
        kit.sender.gates[body].close()
    await kit.add(b"1", b"3")
    await kit.add(b"2", channel=user_channel("bob"))
    loop = kit.start()
    await kit.run_for(2)
    assert len(loop) == 2
    await kit.tasks.end("loop")
    kit.sender.gates[b"1"].open()
    await settled()
    force = asyncio.Event()
    if is_forced:
        force.set()
    await loop.shut_down(0.01 if not is_forced else 60.0, force)
    due = await kit.store.take("webhook", 10, lease_seconds=30.0)
    assert sorted(each.body for each in due) == [b"2", b"3"]
    assert [each.failures for each in due] == [0, 0]


async def test_shutdown_while_deliveries_are_taken(kit: Kit) -> None:
    """What the broker gives to a loop that has been cancelled is due again at once."""
    gate, take = Gate(), kit.store.take

    async def taken_late(*arguments: Any, **options: Any) -> Any:
        taken = await take(*arguments, **options)
        await gate.passed()
        return taken

    kit.store.take = taken_late  # type: ignore[method-assign]
    kit.sender.gates[b"1"] = Gate()
    kit.sender.gates[b"1"].close()
    gate.close()
    await kit.add(b"1")
    loop = kit.start()
    await until(lambda: gate.waiting == 1)
    await kit.tasks.end("loop")
    force = asyncio.Event()
    force.set()
    shutdown = asyncio.create_task(loop.shut_down(60.0, force))
    await settled()
    gate.open()
    await shutdown
    due = await take("webhook", 10, lease_seconds=30.0)
    assert [each.body for each in due] == [b"1"]


async def test_broker_away(kit: Kit) -> None:
    """While the broker is away nothing is lost; a result that cannot be recorded is sent again."""
    is_away = False

    def check() -> None:
        if is_away:
            raise BrokerUnavailable("away")

    kit.store._check_available = check
    gate = kit.sender.gates[b"1"] = Gate()
    gate.close()
    await kit.add(b"1")
    kit.start()
    await kit.run_for(2)
    is_away = True
    gate.open()
    await kit.run_for(10)
    assert kit.sender.bodies == [b"1"]
    assert kit.metrics.attempts["webhook", "not_recorded"] == 1
    is_away = False
    await kit.run_for(40)
    assert kit.sender.bodies == [b"1", b"1"]
    assert (await kit.store.counts("webhook")).waiting == 0


async def test_idle_cost(kit: Kit) -> None:
    """A loop with nothing to do asks the store once for each poll interval."""
    takes = 0
    take = kit.store.take

    async def counted(*arguments: Any, **more: Any) -> Any:
        nonlocal takes
        takes += 1
        return await take(*arguments, **more)

    kit.store.take = counted  # type: ignore[method-assign]
    loop = kit.start()
    await kit.run_for(60)
    assert takes < 60
    await kit.add(b"1")
    loop.wake()
    await kit.run_for(0.25)
    assert kit.sender.bodies == [b"1"]


async def test_counts(kit: Kit) -> None:
    """The metrics tell what is stored."""
    loop = kit.start()
    kit.sender.results = {b"1": deque([Dead("x")]), b"2": deque([Failed("x")] * 100)}
    await kit.add(b"1", b"2", b"33")
    await kit.run_for(2)
    kit.tasks.start("counts", loop.run_counts)
    await kit.run_for(COUNT_SECONDS)
    values = {each.name: each.samples for each in kit.metrics.families()}
    assert values["hub_deliveries_waiting"] == [(["webhook"], 2)]
    assert values["hub_deliveries_dead_letters"] == [(["webhook"], 1)]
    assert values["hub_deliveries_stored_bytes"] == [(["webhook"], 4)]
