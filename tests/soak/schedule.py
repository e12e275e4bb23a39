"""The faults of a soak, each undone before it returns, and the order in which they come."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence

from tests.processes import Node, Valkey
from tests.soak.traffic import Traffic


class Faults:
    """What can go wrong; every public coroutine is a fault, named as it is."""

    def __init__(self, valkey: Valkey, traffic: Traffic) -> None:
        self._valkey = valkey
        self._traffic = traffic
        self._random = traffic.random
        self.done: Counter[str] = Counter()

    def names(self) -> Sequence[str]:
        """All faults."""
        return [
            name
            for name, member in vars(Faults).items()
            if not name.startswith("_") and asyncio.iscoroutinefunction(member) and name != "run"
        ]

    async def run(
        self, names: Sequence[str], pause_seconds: float, said: Callable[[str], None]
    ) -> None:
        """One after the other, every one once before any comes again, until cancelled."""
        while True:
            order = list(names)
            self._random.shuffle(order)
            for name in order:
                await asyncio.sleep(self._random.uniform(0.5, 1.5) * pause_seconds)
                said(name)
                fault: Callable[[], Awaitable[None]] = getattr(self, name)
                await fault()
                self.done[name] += 1

    async def kill_subscriptions(self) -> None:
        """The broker drops every connection that listens."""
        for _ in range(5):
            await self._valkey.ask("CLIENT KILL TYPE pubsub")
            await asyncio.sleep(0.2)

    async def kill_links(self) -> None:
        """The broker drops every other connection."""
        await self._valkey.ask("CLIENT KILL TYPE normal SKIPME yes")

    async def reset_links(self) -> None:
        """The network resets every connection to the broker, five times."""
        for _ in range(5):
            for node in self._traffic.nodes:
                node.proxy.reset_all()
            await asyncio.sleep(0.1)

    async def lose_packets(self) -> None:
        """A node's packets to and from the broker vanish, without an error."""
        node = self._node()
        node.proxy.blackhole()
        await asyncio.sleep(self._random.uniform(1, 17))
        node.proxy.heal()

    async def lose_replies(self) -> None:
        """What a node asks reaches the broker, the answers do not come back."""
        for _ in range(5):
            self._node().proxy.drop_replies()
            await asyncio.sleep(0.3)

    async def cut_in_the_middle(self) -> None:
        """Connections to the broker break after some bytes, anywhere in a reply."""
        node = self._node()
        for _ in range(10):
            node.proxy.cut_after(self._random.randrange(1, 3000))
            await asyncio.sleep(0.2)
        node.proxy.heal()

    async def slow_network(self) -> None:
        """A node's way to the broker takes 100 ms more, each way."""
        node = self._node()
        node.proxy.latency_seconds = 0.1
        await asyncio.sleep(2)
        node.proxy.heal()

    async def refuse_links(self) -> None:
        """A node cannot reach the broker."""
        node = self._node()
        node.proxy.refusing = True
        node.proxy.reset_all()
        await asyncio.sleep(self._random.uniform(1, 4))
        node.proxy.heal()

    async def stall_broker(self) -> None:
        """The broker's process does nothing for some seconds."""
        self._valkey.stall(True)
        await asyncio.sleep(self._random.uniform(0.5, 4))
        self._valkey.stall(False)

    async def restart_broker(self) -> None:
        """The broker is killed, and comes back with its data."""
        await self._valkey.kill()
        await asyncio.sleep(self._random.uniform(0, 2))
        await self._valkey.start()

    async def restart_broker_empty(self) -> None:
        """The broker is killed, and comes back without its data."""
        await self._valkey.kill()
        self._valkey.forget()
        self._traffic.ledger.data_losses += 1
        await self._valkey.start()

    async def forget_scripts(self) -> None:
        """The broker forgets the scripts."""
        await self._valkey.ask("SCRIPT FLUSH")

    async def kill_node(self) -> None:
        """A node is killed and comes back."""
        await self._restart(signal.SIGKILL)

    async def drain_node(self) -> None:
        """A node is told to end, and comes back."""
        await self._restart(signal.SIGTERM)

    async def stall_node(self) -> None:
        """A node's process does nothing for some seconds."""
        node = self._node()
        node.stall(True)
        await asyncio.sleep(self._random.uniform(0.5, 8))
        node.stall(False)

    async def drop_clients(self) -> None:
        """All clients of a node lose their connection at once, three times."""
        for _ in range(3):
            self._traffic.drop(self._node())
            await asyncio.sleep(0.5)

    async def _restart(self, how: signal.Signals) -> None:
        node = self._node()
        await node.end(how)
        await asyncio.sleep(self._random.uniform(0, 1))
        await node.start(self._traffic.session)

    def _node(self) -> Node:
        return self._random.choice(self._traffic.nodes)
