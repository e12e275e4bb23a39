"""RedisClient: one command pipeline for each server, with redirections and retries.

Rules:
1. A call goes to the server that owns its partition, according to the last look at the topology.
2. A reply that says that the command was not executed (the slot has moved, the script is unknown,
   the login is lost, the server is loading or has become a replica) is handled, and the call is
   repeated within `timeout_seconds`. A call whose connection was lost is repeated once if a second
   execution changes nothing more than the first. Any other error, and a lost connection, is
   BrokerUnavailable.
3. Servers come and go: a new one gets a pipeline, one that owns no partition any more loses its
   pipeline, and the callbacks of `on_topology_change` are called.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final, NamedTuple

import structlog
from redis.exceptions import RedisError, ResponseError

from hub.backends.redis.client.connection import (
    Argument,
    Connect,
    OnReplies,
    RespConnection,
    is_login_required,
    open_resp_connection,
)
from hub.backends.redis.client.credentials import PasswordSource
from hub.backends.redis.client.pipeline import CommandPipeline, ConnectionLost
from hub.backends.redis.client.script import Script
from hub.backends.redis.client.topology import RedisServer, Topology, parse_topology
from hub.engine.tasks import Supervisor, SystemClock
from hub.errors import BrokerOutOfMemory, BrokerRefusesWrites, BrokerUnavailable

_MIN_REFRESH_INTERVAL_SECONDS: Final = 0.1
_RETRYABLE_ERRORS: Final = (
    "MOVED",
    "TRYAGAIN",
    "CLUSTERDOWN",
    "LOADING",
    "READONLY",
    "MASTERDOWN",
    "BUSY",
)
_REFUSALS: Final[Mapping[str, type[BrokerUnavailable]]] = {
    "OOM": BrokerOutOfMemory,
    "MISCONF": BrokerRefusesWrites,
    "NOREPLICAS": BrokerRefusesWrites,
}
# A script without commands that declares, by its first line, that it writes: the server refuses it
# in every state in which it would refuse a write.
WRITE_PROBE: Final = "#!lua\nreturn 1"
_REPEATABLE_COMMANDS: Final = frozenset(
    {"GET", "HGET", "HGETALL", "INFO", "TIME", "XLEN", "XRANGE", "ZCARD", "ZRANGE"}
)
_log = structlog.get_logger(__name__)


class ScriptCall(NamedTuple):
    """One call of a script. All its keys belong to the partition."""

    script: Script
    partition: int
    keys: Sequence[str]
    arguments: Sequence[Argument]


class RedisClient:
    """The servers of one topology. Its tasks keep the connections open; see open_client."""

    def __init__(
        self,
        topology: Topology,
        tasks: Supervisor,
        *,
        timeout_seconds: float,
        prefix: str = "",
        connect: Connect = open_resp_connection,
    ) -> None:
        self.sharded = topology.sharded
        self.timeout_seconds = timeout_seconds
        self._open_connection = connect
        self._prefix = prefix
        self._topology = topology
        self._tasks = tasks
        self._pipelines: dict[RedisServer, CommandPipeline] = {}
        self._by_partition: list[CommandPipeline] = []  # the pipeline of each partition
        self.calls = 0  # number of commands and script calls
        self.refusals: Counter[str] = Counter()  # number of commands refused for a lasting reason
        self._stale = asyncio.Event()  # set: look at the topology again
        self._refreshed = asyncio.Event()  # set, and replaced, after each look
        self._topology_listeners: list[Callable[[], None]] = []

    async def refresh_topology(self) -> None:
        """Find out which server owns which partition. Raise BrokerUnavailable."""
        servers = await self._topology.find_servers(self.timeout_seconds)
        if [pipeline.server for pipeline in self._by_partition] == servers:
            return
        if self._pipelines:
            _log.info("redis.topology_changed", servers=sorted(set(map(str, servers))))
        for server in set(servers) - self._pipelines.keys():
            self._open_pipeline(server)
        self._by_partition = [self._pipelines[server] for server in servers]
        for server in self._pipelines.keys() - set(servers):
            del self._pipelines[server]
            await self._tasks.end(f"commands to {server}")
        for callback in self._topology_listeners:
            callback()

    def _open_pipeline(self, server: RedisServer) -> CommandPipeline:
        pipeline = CommandPipeline(
            server,
            self.connect,
            timeout_seconds=self.timeout_seconds,
            on_failure=self.mark_topology_stale,
        )
        self._pipelines[server] = pipeline
        self._tasks.start(f"commands to {server}", pipeline.run)
        return pipeline

    async def keep_topology_fresh(self) -> None:
        """Refresh the topology when it seems stale, and at intervals, until cancelled."""
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
                _log.warning("redis.topology_unknown", error=str(error))
                self._stale.set()
            self._refreshed.set()
            self._refreshed = asyncio.Event()
            await asyncio.sleep(_MIN_REFRESH_INTERVAL_SECONDS)

    async def connect(
        self, server: RedisServer, on_replies: OnReplies, timeout_seconds: float
    ) -> RespConnection:
        """Open a connection to a server, unless it may not be used any more (Topology.check).

        Raise BrokerUnavailable.
        """
        connection = await self._open_connection(server, on_replies, timeout_seconds)
        try:
            await self._topology.check(server, timeout_seconds)
        except BaseException:
            await connection.close()
            raise
        return connection

    def name(self, name: str) -> str:
        """Return a key or a pub/sub channel (keys.py) as the servers know it."""
        return self._prefix + name

    @property
    def disconnects(self) -> int:
        """Number of lost connections for commands."""
        return sum(pipeline.disconnects for pipeline in self._pipelines.values())

    def mark_topology_stale(self) -> None:
        """Have the topology refreshed soon, because something suggests that it has changed."""
        self._stale.set()

    def on_topology_change(self, callback: Callable[[], None]) -> None:
        """Call `callback` after partitions have moved to other servers."""
        self._topology_listeners.append(callback)

    def servers(self) -> list[RedisServer]:
        """Return the servers, each once."""
        return list(self._pipelines)

    def server_of(self, partition: int) -> RedisServer:
        """Return the server that owns a partition."""
        return self._by_partition[partition].server

    async def run_on_partition_owner(
        self,
        partition: int,
        open_session: Callable[[RedisServer], AbstractAsyncContextManager[None]],
    ) -> None:
        """Keep a session with the server that owns a partition until cancelled.

        When the partition moves, the session ends and another one is opened at the new owner.
        """
        moved = asyncio.Event()
        callback = moved.set
        self._topology_listeners.append(callback)
        try:
            while True:
                server = self.server_of(partition)
                async with open_session(server):
                    while self.server_of(partition) == server:
                        await moved.wait()
                        moved.clear()
        finally:
            self._topology_listeners.remove(callback)

    async def run(self, calls: Sequence[ScriptCall]) -> list[Any]:
        """Call scripts and return their replies. Those of one partition run in order.

        Raise BrokerUnavailable; then any of them may have run.
        """
        replies = await self.try_run(calls)
        for reply in replies:
            if isinstance(reply, BrokerUnavailable):
                raise reply
        return replies

    async def try_run(self, calls: Sequence[ScriptCall]) -> list[Any]:
        """Call scripts; the reply of a call that failed is its BrokerUnavailable error."""
        self.calls += len(calls)
        pending: list[asyncio.Future[Any] | BrokerUnavailable] = []
        for call in calls:
            pipeline = self._by_partition[call.partition]
            try:
                if not pipeline.is_ready:
                    await pipeline.wait_ready()
            except BrokerUnavailable as error:
                pending.append(error)
            else:
                pending.append(pipeline.send(self._script_arguments(call)(pipeline)))
        replies = [each if isinstance(each, BrokerUnavailable) else await each for each in pending]
        lost = [
            n
            for n, reply in enumerate(replies)
            if isinstance(reply, ConnectionLost) and calls[n].script.is_repeatable
        ]
        if lost:
            repeats = [
                self._repeat(calls[n].partition, self._script_arguments(calls[n])) for n in lost
            ]
            for n, reply in zip(lost, await asyncio.gather(*repeats), strict=True):
                replies[n] = reply
        for n, reply in enumerate(replies):
            if isinstance(reply, ResponseError):
                replies[n] = await self._retry_script(calls[n], reply)
        return replies

    async def try_run_and_wait(
        self, calls: Sequence[ScriptCall], replicas: int
    ) -> list[tuple[Any, int]]:
        """Call scripts, and wait until so many replicas have what they wrote, but at most for half
        of `timeout_seconds`. Return each reply, as `try_run` does, and how many replicas are known
        to have the writes of the call.

        WAIT counts only the writes of its own connection, and the connection answers nothing
        meanwhile, so nothing else should use this client.
        """
        self.calls += len(calls)
        results: list[tuple[Any, int]] = [(None, 0)] * len(calls)
        by_pipeline: dict[CommandPipeline, list[int]] = {}
        for n, call in enumerate(calls):
            by_pipeline.setdefault(self._by_partition[call.partition], []).append(n)
        wait: tuple[Argument, ...] = ("WAIT", replicas, round(self.timeout_seconds * 500))

        async def run_at(pipeline: CommandPipeline, numbers: Sequence[int]) -> None:
            try:
                await pipeline.wait_ready()
            except BrokerUnavailable as error:
                for n in numbers:
                    results[n] = error, 0
                return
            # No await in between: a new connection would not wait for the writes of this one.
            sent = [pipeline.send(self._script_arguments(calls[n])(pipeline)) for n in numbers]
            counted = pipeline.send(wait)
            replies = [await reply for reply in sent]
            count = await counted
            for n, reply in zip(numbers, replies, strict=True):
                results[n] = reply, count if isinstance(count, int) else 0

        await asyncio.gather(*(run_at(*each) for each in by_pipeline.items()))
        for n, (reply, _) in enumerate(results):
            if isinstance(reply, ResponseError):
                results[n] = await self._retry_script(calls[n], reply), 0
        return results

    async def _retry_script(self, call: ScriptCall, reply: Any) -> Any:
        """Repeat a call as _retry_redirected does; return an error instead of raising it."""
        try:
            arguments = self._script_arguments(call)
            return await self._retry_redirected(arguments, call.partition, reply, call.script)
        except BrokerUnavailable as error:
            return error

    def _script_arguments(
        self, call: ScriptCall
    ) -> Callable[[CommandPipeline], Sequence[Argument]]:
        keys = [self.name(key) for key in call.keys] if self._prefix else call.keys
        head: tuple[Argument, ...] = ("EVALSHA", call.script.sha, len(keys), *keys)
        return lambda pipeline: (*head, pipeline.script_argument(), *call.arguments)

    async def call_key(self, partition: int, command: str, key: str, *arguments: Argument) -> Any:
        """Call one command on a key or a pub/sub channel (keys.py); see `call`."""
        return await self.call(partition, command, self.name(key), *arguments)

    async def call(self, partition: int, *arguments: Argument) -> Any:
        """Call one command at the owner of a partition and return the reply.

        Names of keys go to the server as they are: see `name` and `call_key`.

        Raise BrokerUnavailable.
        """
        self.calls += 1
        try:
            reply = await self._by_partition[partition].call(*arguments)
        except ConnectionLost:
            if arguments[0] not in _REPEATABLE_COMMANDS:
                raise
            reply = await self._repeat(partition, lambda pipeline: arguments)
            if isinstance(reply, BrokerUnavailable):
                raise reply from None
        if isinstance(reply, Exception):
            return await self._retry_redirected(lambda pipeline: arguments, partition, reply)
        return reply

    async def _repeat(
        self, partition: int, arguments: Callable[[CommandPipeline], Sequence[Argument]]
    ) -> Any:
        """Send a call again on a new connection; return an error instead of raising it."""
        pipeline = self._by_partition[partition]
        try:
            await pipeline.wait_ready()
        except BrokerUnavailable as error:
            return error
        return await pipeline.send(arguments(pipeline))

    async def ping(self) -> None:
        """Return when every server answers. Raise BrokerUnavailable."""
        for pipeline in list(self._pipelines.values()):
            await pipeline.call("PING")

    async def call_each(self, *arguments: Argument) -> list[Any]:
        """Call one command at every server, and return the replies; None for a server at which this
        login may not run it.

        Raise BrokerUnavailable.
        """
        replies = []
        for pipeline in list(self._pipelines.values()):
            self.calls += 1
            reply = await pipeline.call(*arguments)
            if isinstance(reply, Exception) and not str(reply).upper().startswith("NOPERM"):
                raise self._refusal(reply)
            replies.append(None if isinstance(reply, Exception) else reply)
        return replies

    async def check_writable(self) -> None:
        """Return when every server accepts writes.

        Raise BrokerUnavailable; BrokerOutOfMemory and BrokerRefusesWrites if a server answers.
        """
        for pipeline in list(self._pipelines.values()):
            reply = await pipeline.call("EVAL", WRITE_PROBE, 0)
            if isinstance(reply, Exception):
                raise self._refusal(reply)

    async def _retry_redirected(
        self,
        arguments: Callable[[CommandPipeline], Sequence[Argument]],
        partition: int,
        reply: Any,
        script: Script | None = None,
    ) -> Any:
        """Repeat a call until it is executed. Raise BrokerUnavailable.

        MOVED and ASK name the server that has the slot, so the call goes there at once: the other
        servers may learn of a move later, and until then their view of the topology is the old one.
        """
        pipeline = self._by_partition[partition]
        is_importing = was_moved = False
        try:
            async with asyncio.timeout(self.timeout_seconds):
                while isinstance(reply, ResponseError):
                    code = str(reply).partition(" ")[0]
                    if code == "NOSCRIPT" and script is not None:
                        await pipeline.call("SCRIPT", "LOAD", script.body)
                    elif code == "ASK":
                        pipeline, is_importing = self._pipeline_at(pipeline, str(reply)), True
                    elif code == "MOVED" and not was_moved:  # otherwise two servers disagree
                        pipeline, is_importing = self._pipeline_at(pipeline, str(reply)), False
                        was_moved = True
                        self._stale.set()
                    elif is_login_required(reply):
                        pass  # the pipeline logs in again
                    elif code in _RETRYABLE_ERRORS:
                        refreshed = self._refreshed
                        self._stale.set()
                        await refreshed.wait()
                        pipeline = self._by_partition[partition]
                        is_importing = was_moved = False
                    else:
                        break
                    await pipeline.wait_ready()
                    if is_importing:
                        pipeline.send(("ASKING",))
                    reply = await pipeline.send(arguments(pipeline))
        except TimeoutError:
            raise BrokerUnavailable(f"the broker still refuses the command: {reply}") from None
        if isinstance(reply, BrokerUnavailable):
            raise reply
        if isinstance(reply, Exception):
            raise self._refusal(reply) from reply
        return reply

    def _refusal(self, reply: Exception) -> BrokerUnavailable:
        """Count a refusal and return its error."""
        refusal = _REFUSALS.get(str(reply).partition(" ")[0])
        if refusal is None:
            return BrokerUnavailable(f"the broker refused the command: {reply}")
        self.refusals[refusal.code.removeprefix("broker_")] += 1
        return refusal(f"{refusal.public_detail.partition(';')[0]}: {reply}")

    def _pipeline_at(self, source: CommandPipeline, redirection: str) -> CommandPipeline:
        """Return the pipeline to which a reply of `source` like `ASK 3999 127.0.0.1:6381` points.

        A server that owns no slot yet gets one, until the topology changes.
        """
        host, _, port = redirection.rpartition(" ")[2].rpartition(":")
        if host in ("", "?"):  # the host of the server that replied
            host = source.server.address.rpartition(":")[0]
        server = source.server.with_address(host, int(port))
        return self._pipelines.get(server) or self._open_pipeline(server)


@asynccontextmanager
async def open_client(
    url: str,
    *,
    timeout_seconds: float,
    prefix: str = "",
    password: PasswordSource | None = None,
    connect: Connect = open_resp_connection,
) -> AsyncIterator[RedisClient]:
    """Open a client for the servers that a URL names (see topology.py).

    timeout_seconds: how long one call waits for its server. A server need not answer now.
    prefix: the beginning of every key and pub/sub channel. password: its source, if it is not in
    the URL.
    Raise BrokerUnavailable when the topology cannot be found out, ValueError for a wrong URL.
    """
    async with Supervisor(SystemClock()) as tasks:
        client = RedisClient(
            parse_topology(url, password),
            tasks,
            timeout_seconds=timeout_seconds,
            prefix=prefix,
            connect=connect,
        )
        if password is not None:
            await _read_password(password)
        await client.refresh_topology()
        tasks.start("topology", client.keep_topology_fresh)
        yield client


async def _read_password(password: PasswordSource) -> None:
    """Read the password once before the first connection, whose time a slow program would use up.

    Raise BrokerUnavailable.
    """
    try:
        await password.read()
    except RedisError as error:
        raise BrokerUnavailable(str(error)) from error
