"""The link to Redis: a pipe to each server, and what is done about a reply that is an error.

Rules:
1. A call goes to the server of its partition, as last located.
2. A reply that says that the command was not executed (the slot has moved, the script is not known,
   the server is loading or a replica now) is mended and the call made again, within
   `timeout_seconds`; any other error, and a broken wire, is BrokerUnavailable.
3. Servers come and go: a new one gets a pipe, one that has no partition any more loses it, and
   those who asked (`on_change`) are told.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final, NamedTuple

import structlog
from redis.exceptions import ResponseError

from hub.engine.supervise import Supervisor, SystemClock
from hub.errors import BrokerUnavailable
from hub.redislink.pipe import Pipe
from hub.redislink.script import Script
from hub.redislink.topology import Place, Topology, topology_of
from hub.redislink.wire import Connect, Word, connect_wire

_LEAST_BETWEEN_LOOKS_SECONDS: Final = 0.1
_NOT_EXECUTED: Final = ("MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN", "LOADING", "READONLY", "BUSY")
_log = structlog.get_logger(__name__)


class ScriptCall(NamedTuple):
    """One run of a script: all its keys belong to the partition."""

    script: Script
    partition: int
    keys: Sequence[str]
    args: Sequence[Word]


class RedisLink:
    """The servers of one topology, kept up by its own tasks; see `open_link`."""

    def __init__(
        self,
        topology: Topology,
        tasks: Supervisor,
        *,
        timeout_seconds: float,
        connect: Connect = connect_wire,
    ) -> None:
        self.sharded = topology.sharded
        self.timeout_seconds = timeout_seconds
        self.connect = connect
        self._topology = topology
        self._tasks = tasks
        self._pipes: dict[Place, Pipe] = {}
        self._by_partition: list[Pipe] = []
        self.calls = 0
        self._stale = asyncio.Event()
        self._looked = asyncio.Event()
        self._on_change: list[Callable[[], None]] = []

    async def locate(self) -> None:
        """Learns where the partitions are. Raises BrokerUnavailable."""
        places = await self._topology.locate(self.timeout_seconds)
        if [pipe.place for pipe in self._by_partition] == places:
            return
        if self._pipes:
            _log.info("link.moved", servers=sorted(set(map(str, places))))
        for place in set(places) - self._pipes.keys():
            pipe = Pipe(
                place, self.connect, timeout_seconds=self.timeout_seconds, failed=self.note_stale
            )
            self._pipes[place] = pipe
            self._tasks.start(f"pipe to {place}", pipe.run)
        self._by_partition = [self._pipes[place] for place in places]
        for place in self._pipes.keys() - set(places):
            del self._pipes[place]
            await self._tasks.end(f"pipe to {place}")
        for told in self._on_change:
            told()

    async def keep_located(self) -> None:
        """Looks again when something seems wrong, and now and then, until cancelled."""
        while True:
            try:
                async with asyncio.timeout(self._topology.poll_seconds):
                    await self._stale.wait()
            except TimeoutError:
                pass
            self._stale.clear()
            try:
                await self.locate()
            except BrokerUnavailable as error:
                _log.warning("link.not_located", error=str(error))
                self._stale.set()
            self._looked.set()
            self._looked = asyncio.Event()
            await asyncio.sleep(_LEAST_BETWEEN_LOOKS_SECONDS)

    @property
    def breaks(self) -> int:
        """How often a link for commands broke."""
        return sum(pipe.breaks for pipe in self._pipes.values())

    def note_stale(self) -> None:
        """Something speaks for another topology."""
        self._stale.set()

    def on_change(self, told: Callable[[], None]) -> None:
        """`told` is called after partitions have moved."""
        self._on_change.append(told)

    def places(self) -> list[Place]:
        """The servers, each once."""
        return list(self._pipes)

    def place_of(self, partition: int) -> Place:
        """The server of a partition."""
        return self._by_partition[partition].place

    async def stay_at(
        self, partition: int, held: Callable[[Place], AbstractAsyncContextManager[None]]
    ) -> None:
        """Holds what is needed at the partition's server until cancelled, wherever it moves."""
        moved = asyncio.Event()
        told = moved.set
        self._on_change.append(told)
        try:
            while True:
                place = self.place_of(partition)
                async with held(place):
                    while self.place_of(partition) == place:
                        await moved.wait()
                        moved.clear()
        finally:
            self._on_change.remove(told)

    async def run(self, calls: Sequence[ScriptCall]) -> list[Any]:
        """The replies to scripts, sent in one go; those of one partition run in their order.

        Raises BrokerUnavailable; then any of them may have run.
        """
        replies = await self.try_all(calls)
        for reply in replies:
            if isinstance(reply, BrokerUnavailable):
                raise reply
        return replies

    async def try_all(self, calls: Sequence[ScriptCall]) -> list[Any]:
        """The same; a call that failed has BrokerUnavailable as its reply and harms no other."""
        self.calls += len(calls)
        under_way: list[asyncio.Future[Any] | BrokerUnavailable] = []
        for call in calls:
            pipe = self._by_partition[call.partition]
            try:
                if not pipe.free:
                    await pipe.ready()
            except BrokerUnavailable as error:
                under_way.append(error)
            else:
                under_way.append(pipe.begin(_script_words(call)(pipe)))
        replies = [
            each if isinstance(each, BrokerUnavailable) else await each for each in under_way
        ]
        for n, reply in enumerate(replies):
            if isinstance(reply, ResponseError):
                call = calls[n]
                try:
                    words = _script_words(call)
                    replies[n] = await self._mend(words, call.partition, reply, call.script)
                except BrokerUnavailable as error:
                    replies[n] = error
        return replies

    async def call(self, partition: int, *words: Word) -> Any:
        """The reply to one command at the server of a partition. Raises BrokerUnavailable."""
        self.calls += 1
        reply = await self._by_partition[partition].call(*words)
        if isinstance(reply, Exception):
            return await self._mend(lambda pipe: words, partition, reply)
        return reply

    async def ping(self) -> None:
        """Returns when every server answers. Raises BrokerUnavailable."""
        for pipe in list(self._pipes.values()):
            await pipe.call("PING")

    async def _mend(
        self,
        words: Callable[[Pipe], Sequence[Word]],
        partition: int,
        reply: Any,
        script: Script | None = None,
    ) -> Any:
        """Makes the call again until it was executed."""
        try:
            async with asyncio.timeout(self.timeout_seconds):
                while isinstance(reply, ResponseError):
                    word = str(reply).partition(" ")[0]
                    if word == "NOSCRIPT" and script is not None:
                        await self._by_partition[partition].call("SCRIPT", "LOAD", script.body)
                    elif word == "ASK" and (pipe := self._pipe_at(str(reply))) is not None:
                        await pipe.ready()
                        pipe.begin(("ASKING",))
                        reply = await pipe.begin(words(pipe))
                        continue
                    elif word in _NOT_EXECUTED:
                        looked = self._looked
                        self._stale.set()
                        await looked.wait()
                    else:
                        break
                    pipe = self._by_partition[partition]
                    await pipe.ready()
                    reply = await pipe.begin(words(pipe))
        except TimeoutError:
            raise BrokerUnavailable(f"the broker refuses for now: {reply}") from None
        if isinstance(reply, BrokerUnavailable):
            raise reply
        if isinstance(reply, Exception):
            raise BrokerUnavailable(f"the broker refuses: {reply}") from reply
        return reply

    def _pipe_at(self, redirection: str) -> Pipe | None:
        """Where `ASK 3999 127.0.0.1:6381` points to."""
        address = redirection.rpartition(" ")[2]
        return next((pipe for place, pipe in self._pipes.items() if place.address == address), None)


def _script_words(call: ScriptCall) -> Callable[[Pipe], Sequence[Word]]:
    head: tuple[Word, ...] = ("EVALSHA", call.script.sha, len(call.keys), *call.keys)
    return lambda pipe: (*head, pipe.run_name, *call.args)


@asynccontextmanager
async def open_link(
    url: str, *, timeout_seconds: float, connect: Connect = connect_wire
) -> AsyncIterator[RedisLink]:
    """A link to the servers that the URL names (see topology.py), whether they answer or not: one
    that is away holds up the calls to it, for `timeout_seconds` each. Raises BrokerUnavailable when
    the topology cannot be learned, ValueError for a URL that names none.
    """
    async with Supervisor(SystemClock()) as tasks:
        link = RedisLink(topology_of(url), tasks, timeout_seconds=timeout_seconds, connect=connect)
        await link.locate()
        tasks.start("locate", link.keep_located)
        yield link
