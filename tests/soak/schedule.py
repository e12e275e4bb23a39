"""The faults of the soak test, and their random order. Each fault is undone before it returns."""

from __future__ import annotations

import asyncio
import inspect
import signal
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from tests.processes import HubMember, Node

if TYPE_CHECKING:
    from tests.soak.run import Soak


class Faults:
    """Inject faults. Every public coroutine except `run` is a fault of that name.

    on_data_loss: called when the broker loses its data; without it, the broker keeps them.
    """

    def __init__(self, soak: Soak, on_data_loss: Callable[[], None] | None = None) -> None:
        self._soak = soak
        self._valkey = soak.valkey
        self._random = soak.random
        self._on_data_loss = on_data_loss
        self.done: Counter[str] = Counter()

    def names(self) -> Sequence[str]:
        """Return the names of all faults."""
        without = {"run"} if self._on_data_loss else {"run", "restart_broker_empty"}
        return [
            name
            for kind in reversed(type(self).__mro__)
            for name, member in vars(kind).items()
            if not name.startswith("_")
            and inspect.iscoroutinefunction(member)
            and name not in without
        ]

    async def run(
        self, names: Sequence[str], pause_seconds: float, log: Callable[[str], None]
    ) -> None:
        """Inject all faults in random order, again and again, until cancelled."""
        while True:
            order = list(names)
            self._random.shuffle(order)
            for name in order:
                await asyncio.sleep(self._random.uniform(0.5, 1.5) * pause_seconds)
                log(name)
                fault: Callable[[], Awaitable[None]] = getattr(self, name)
                await fault()
                self.done[name] += 1

    async def kill_subscriptions(self) -> None:
        """The broker closes all pub/sub connections."""
        for _ in range(5):
            await self._valkey.ask("CLIENT KILL TYPE pubsub")
            await asyncio.sleep(0.2)

    async def kill_connections(self) -> None:
        """The broker closes all command connections."""
        await self._valkey.ask("CLIENT KILL TYPE normal SKIPME yes")

    async def reset_connections(self) -> None:
        """The network resets all connections to the broker, five times."""
        for _ in range(5):
            for member in self._soak.members:
                member.proxy.reset_all()
            await asyncio.sleep(0.1)

    async def lose_packets(self) -> None:
        """The packets between a process and the broker are dropped without an error."""
        member = self._member()
        member.proxy.blackhole()
        await asyncio.sleep(self._random.uniform(1, 17))
        member.proxy.heal()

    async def lose_replies(self) -> None:
        """The commands of a process reach the broker, but the replies are dropped."""
        for _ in range(5):
            self._member().proxy.drop_replies()
            await asyncio.sleep(0.3)

    async def cut_in_a_reply(self) -> None:
        """Connections to the broker break after a random number of bytes."""
        member = self._member()
        for _ in range(10):
            member.proxy.cut_after(self._random.randrange(1, 3000))
            await asyncio.sleep(0.2)
        member.proxy.heal()

    async def slow_network(self) -> None:
        """The network of a process to the broker has 100 ms more latency in each direction."""
        member = self._member()
        member.proxy.latency_seconds = 0.1
        await asyncio.sleep(2)
        member.proxy.heal()

    async def refuse_connections(self) -> None:
        """A process cannot connect to the broker."""
        member = self._member()
        member.proxy.refusing = True
        member.proxy.reset_all()
        await asyncio.sleep(self._random.uniform(1, 4))
        member.proxy.heal()

    async def stall_broker(self) -> None:
        """The process of the broker is paused for some seconds."""
        self._valkey.stall(True)
        await asyncio.sleep(self._random.uniform(0.5, 4))
        self._valkey.stall(False)

    async def restart_broker(self) -> None:
        """The broker is killed and restarts with its data."""
        await self._valkey.kill()
        await asyncio.sleep(self._random.uniform(0, 2))
        await self._valkey.start()

    async def restart_broker_empty(self) -> None:
        """The broker is killed and restarts without its data."""
        await self._valkey.kill()
        self._valkey.forget()
        if self._on_data_loss is not None:
            self._on_data_loss()
        await self._valkey.start()

    async def forget_scripts(self) -> None:
        """The broker removes all loaded scripts."""
        await self._valkey.ask("SCRIPT FLUSH")

    async def kill_node(self) -> None:
        """A node is killed and restarts."""
        await self._restart(self._node(), signal.SIGKILL)

    async def drain_node(self) -> None:
        """A node drains after SIGTERM and restarts."""
        await self._restart(self._node(), signal.SIGTERM)

    async def stall_node(self) -> None:
        """The process of a node is paused for some seconds."""
        node = self._node()
        node.stall(True)
        await asyncio.sleep(self._random.uniform(0.5, 8))
        node.stall(False)

    async def drop_clients(self) -> None:
        """All clients of a node lose their connections at once, three times."""
        for _ in range(3):
            self._soak.drop(self._node())
            await asyncio.sleep(0.5)

    async def _restart(self, member: HubMember, how: signal.Signals) -> None:
        await member.end(how)
        await asyncio.sleep(self._random.uniform(0, 1))
        await member.start(self._soak.session)

    def _node(self) -> Node:
        return self._random.choice(self._soak.nodes)

    def _member(self) -> HubMember:
        return self._random.choice(self._soak.members)
