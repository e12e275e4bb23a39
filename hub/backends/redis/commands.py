"""The command bus in Redis: a pub/sub channel, the denylist and the states of the nodes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from hub.backends.redis.client import RedisClient, Script, ScriptCall
from hub.backends.redis.client.connection import Argument
from hub.backends.redis.client.pubsub import PubSubConnection, PubSubTimeouts
from hub.backends.redis.client.topology import RedisServer
from hub.backends.redis.keys import COMMANDS_CHANNEL, DENYLIST, JOBS_PARTITION, NODE_STATES
from hub.engine.tasks import Supervisor, SystemClock

_PACKAGE: Final = "hub.backends.redis"
_BLOCK: Final = Script(_PACKAGE, "block_subject", needs_memory=False, is_repeatable=True)
_READ_DENYLIST: Final = Script(_PACKAGE, "read_denylist", needs_memory=False, is_repeatable=True)
_PUT_STATE: Final = Script(_PACKAGE, "put_node_state", needs_memory=False, is_repeatable=True)
_READ_STATES: Final = Script(_PACKAGE, "read_node_states", needs_memory=False, is_repeatable=True)
_NODE_STATE_TTL_SECONDS: Final = 30


class RedisCommandBus:
    """Implements ports.commands.CommandBus."""

    def __init__(self, client: RedisClient) -> None:
        self._client = client
        self._listeners: list[tuple[Callable[[bytes], None], Callable[[], None]]] = []

    def listen(
        self, on_message: Callable[[bytes], None], on_resubscribed: Callable[[], None]
    ) -> None:
        self._listeners.append((on_message, on_resubscribed))

    async def broadcast(self, message: bytes) -> None:
        command = "SPUBLISH" if self._client.sharded else "PUBLISH"
        await self._client.call_key(JOBS_PARTITION, command, COMMANDS_CHANNEL, message)

    async def block(self, subject: str, seconds: float) -> None:
        await self._script(_BLOCK, DENYLIST, subject, repr(seconds))

    async def blocked(self) -> Mapping[str, float]:
        entries = await self._script(_READ_DENYLIST, DENYLIST)
        return {
            subject.decode(): float(seconds)
            for subject, seconds in zip(entries[::2], entries[1::2], strict=True)
        }

    async def put_node_state(self, node: str, state: bytes) -> None:
        await self._script(_PUT_STATE, NODE_STATES, node, state, _NODE_STATE_TTL_SECONDS)

    async def node_states(self) -> Sequence[tuple[bytes, float]]:
        entries = await self._script(_READ_STATES, NODE_STATES)
        return [(state, float(age)) for state, age in zip(entries[::2], entries[1::2], strict=True)]

    async def _script(self, script: Script, key: str, *arguments: Argument) -> Any:
        (reply,) = await self._client.run([ScriptCall(script, JOBS_PARTITION, (key,), arguments)])
        return reply

    async def remove_node_state(self, node: str) -> None:
        await self._client.call_key(JOBS_PARTITION, "HDEL", NODE_STATES, node)

    async def run(self) -> None:
        await self._client.run_on_partition_owner(JOBS_PARTITION, self._receive_from)

    @asynccontextmanager
    async def _receive_from(self, server: RedisServer) -> AsyncIterator[None]:
        connection = PubSubConnection(
            server,
            self._client.connect,
            PubSubTimeouts(reply_timeout_seconds=self._client.timeout_seconds),
            sharded=self._client.sharded,
            on_messages=self._on_messages,
            on_resubscribed=self._on_resubscribed,
            on_failure=self._client.mark_topology_stale,
        )
        connection.subscribe(self._client.name(COMMANDS_CHANNEL).encode())
        async with Supervisor(SystemClock()) as tasks:
            tasks.start(f"commands from {server}", connection.run)
            yield

    def _on_messages(self, messages: Sequence[list[bytes]]) -> None:
        for *_, payload in messages:
            for on_message, _ in self._listeners:
                on_message(payload)

    def _on_resubscribed(self) -> None:
        for _, on_resubscribed in self._listeners:
            on_resubscribed()
