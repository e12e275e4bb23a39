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

from hub.backends.redis.client.connection import Argument, Connect, open_resp_connection
from hub.backends.redis.client.pipeline import CommandPipeline
from hub.backends.redis.client.script import Script
from hub.backends.redis.client.topology import RedisServer, Topology, parse_topology
from hub.engine.tasks import Supervisor, SystemClock
from hub.errors import BrokerUnavailable

_MIN_REFRESH_INTERVAL_SECONDS: Final = 0.1
_RETRYABLE_ERRORS: Final = (
    "MOVED",
    "ASK",
    "TRYAGAIN",
    "CLUSTERDOWN",
    "LOADING",
    "READONLY",
    "BUSY",
)
_log = structlog.get_logger(__name__)


class ScriptCall(NamedTuple):
    """One run of a script: all its keys belong to the partition."""

    script: Script
    partition: int
    keys: Sequence[str]
    args: Sequence[Argument]


class RedisClient:
    """The servers of one topology, kept up by its own tasks; see `open_link`."""

    def __init__(
        self,
        topology: Topology,
        tasks: Supervisor,
        *,
        timeout_seconds: float,
        connect: Connect = open_resp_connection,
    ) -> None:
        self.sharded = topology.sharded
        self.timeout_seconds = timeout_seconds
        self.connect = connect
        self._topology = topology
        self._tasks = tasks
        self._pipelines: dict[RedisServer, CommandPipeline] = {}
        self._by_partition: list[CommandPipeline] = []
        self.calls = 0
        self._stale = asyncio.Event()
        self._refreshed = asyncio.Event()
        self._topology_listeners: list[Callable[[], None]] = []

    async def refresh_topology(self) -> None:
        """Learns where the partitions are. Raises BrokerUnavailable."""
        places = await self._topology.find_servers(self.timeout_seconds)
        if [pipe.server for pipe in self._by_partition] == places:
            return
        if self._pipelines:
            _log.info("link.moved", servers=sorted(set(map(str, places))))
        for place in set(places) - self._pipelines.keys():
            pipe = CommandPipeline(
                place,
                self.connect,
                timeout_seconds=self.timeout_seconds,
                on_failure=self.mark_topology_stale,
            )
            self._pipelines[place] = pipe
            self._tasks.start(f"pipe to {place}", pipe.run)
        self._by_partition = [self._pipelines[place] for place in places]
        for place in self._pipelines.keys() - set(places):
            del self._pipelines[place]
            await self._tasks.end(f"pipe to {place}")
        for told in self._topology_listeners:
            told()

    async def keep_topology_fresh(self) -> None:
        """Looks again when something seems wrong, and now and then, until cancelled."""
        while True:
            try:
                async with asyncio.timeout(self._topology.poll_seconds):
                    await self._stale.wait()
            except TimeoutError:
                pass
            self._stale.clear()
            try:
                await self.refresh_topology()
            except BrokerUnavailable as error:
                _log.warning("link.not_located", error=str(error))
                self._stale.set()
            self._refreshed.set()
            self._refreshed = asyncio.Event()
            await asyncio.sleep(_MIN_REFRESH_INTERVAL_SECONDS)

    @property
    def disconnects(self) -> int:
        """How often a link for commands broke."""
        return sum(pipe.disconnects for pipe in self._pipelines.values())

    def mark_topology_stale(self) -> None:
        """Something speaks for another topology."""
        self._stale.set()

    def on_topology_change(self, callback: Callable[[], None]) -> None:
        """`told` is called after partitions have moved."""
        self._topology_listeners.append(callback)

    def servers(self) -> list[RedisServer]:
        """The servers, each once."""
        return list(self._pipelines)

    def server_of(self, partition: int) -> RedisServer:
        """The server of a partition."""
        return self._by_partition[partition].server

    async def run_on_partition_owner(
        self,
        partition: int,
        open_session: Callable[[RedisServer], AbstractAsyncContextManager[None]],
    ) -> None:
        """Holds what is needed at the partition's server until cancelled, wherever it moves."""
        moved = asyncio.Event()
        told = moved.set
        self._topology_listeners.append(told)
        try:
            while True:
                place = self.server_of(partition)
                async with open_session(place):
                    while self.server_of(partition) == place:
                        await moved.wait()
                        moved.clear()
        finally:
            self._topology_listeners.remove(told)

    async def run(self, calls: Sequence[ScriptCall]) -> list[Any]:
        """The replies to scripts, sent in one go; those of one partition run in their order.

        Raises BrokerUnavailable; then any of them may have run.
        """
        replies = await self.try_run(calls)
        for reply in replies:
            if isinstance(reply, BrokerUnavailable):
                raise reply
        return replies

    async def try_run(self, calls: Sequence[ScriptCall]) -> list[Any]:
        """The same; a call that failed has BrokerUnavailable as its reply and harms no other."""
        self.calls += len(calls)
        under_way: list[asyncio.Future[Any] | BrokerUnavailable] = []
        for call in calls:
            pipe = self._by_partition[call.partition]
            try:
                if not pipe.is_ready:
                    await pipe.wait_ready()
            except BrokerUnavailable as error:
                under_way.append(error)
            else:
                under_way.append(pipe.send(_script_arguments(call)(pipe)))
        replies = [
            each if isinstance(each, BrokerUnavailable) else await each for each in under_way
        ]
        for n, reply in enumerate(replies):
            if isinstance(reply, ResponseError):
                call = calls[n]
                try:
                    words = _script_arguments(call)
                    replies[n] = await self._retry_redirected(
                        words, call.partition, reply, call.script
                    )
                except BrokerUnavailable as error:
                    replies[n] = error
        return replies

    async def call(self, partition: int, *words: Argument) -> Any:
        """The reply to one command at the server of a partition. Raises BrokerUnavailable."""
        self.calls += 1
        reply = await self._by_partition[partition].call(*words)
        if isinstance(reply, Exception):
            return await self._retry_redirected(lambda pipe: words, partition, reply)
        return reply

    async def ping(self) -> None:
        """Returns when every server answers. Raises BrokerUnavailable."""
        for pipe in list(self._pipelines.values()):
            await pipe.call("PING")

    async def _retry_redirected(
        self,
        arguments: Callable[[CommandPipeline], Sequence[Argument]],
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
                    elif word == "ASK" and (pipe := self._pipeline_at(str(reply))) is not None:
                        await pipe.wait_ready()
                        pipe.send(("ASKING",))
                        reply = await pipe.send(arguments(pipe))
                        continue
                    elif word in _RETRYABLE_ERRORS:
                        looked = self._refreshed
                        self._stale.set()
                        await looked.wait()
                    else:
                        break
                    pipe = self._by_partition[partition]
                    await pipe.wait_ready()
                    reply = await pipe.send(arguments(pipe))
        except TimeoutError:
            raise BrokerUnavailable(f"the broker refuses for now: {reply}") from None
        if isinstance(reply, BrokerUnavailable):
            raise reply
        if isinstance(reply, Exception):
            raise BrokerUnavailable(f"the broker refuses: {reply}") from reply
        return reply

    def _pipeline_at(self, redirection: str) -> CommandPipeline | None:
        """Where `ASK 3999 127.0.0.1:6381` points to."""
        address = redirection.rpartition(" ")[2]
        return next(
            (pipe for place, pipe in self._pipelines.items() if place.address == address), None
        )


def _script_arguments(call: ScriptCall) -> Callable[[CommandPipeline], Sequence[Argument]]:
    head: tuple[Argument, ...] = ("EVALSHA", call.script.sha, len(call.keys), *call.keys)
    return lambda pipe: (*head, pipe.run_name, *call.args)


@asynccontextmanager
async def open_client(
    url: str, *, timeout_seconds: float, connect: Connect = open_resp_connection
) -> AsyncIterator[RedisClient]:
    """A link to the servers that the URL names (see topology.py), whether they answer or not: one
    that is away holds up the calls to it, for `timeout_seconds` each. Raises BrokerUnavailable when
    the topology cannot be learned, ValueError for a URL that names none.
    """
    async with Supervisor(SystemClock()) as tasks:
        link = RedisClient(
            parse_topology(url), tasks, timeout_seconds=timeout_seconds, connect=connect
        )
        await link.refresh_topology()
        tasks.start("locate", link.keep_topology_fresh)
        yield link
