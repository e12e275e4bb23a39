"""How the hub talks to Redis or Valkey: names of keys, the client, scripts, errors.

The broker and the queue stand on this. Every key of a channel and of its user's generations
carries the hash tag of the channel's partition, `{hub:pNN}` (NN: two hexadecimal digits), so that
one script can touch them all, on Cluster too. `docs/redis.md` lists every name.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import Any, Final, NamedTuple

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError

from hub.core.channel import Channel, partition_of, user_channel
from hub.core.generation import partition_of_generation
from hub.errors import BrokerUnavailable

JOBS: Final = "hub:jobs"
JOBS_GROUP: Final = "workers"
STOPS: Final = "hub:stops"


class ChannelKeys(NamedTuple):
    """The names of one channel: head (hash), log (stream), live (pub/sub channel)."""

    head: str
    log: str
    live: str


class GenerationKeys(NamedTuple):
    """The names of one generation: record (hash), text so far (string)."""

    record: str
    text: str


def _tag(partition: int) -> str:
    return f"{{hub:p{partition:02x}}}"


def channel_keys(channel: Channel) -> ChannelKeys:
    """The names that belong to a channel."""
    tag = _tag(partition_of(channel))
    return ChannelKeys(f"{tag}:head:{channel}", f"{tag}:log:{channel}", f"{tag}:live:{channel}")


def publish_once_key(channel: Channel, idempotency_key: str) -> str:
    """Remembers the position that a publish with this key was given (string)."""
    return f"{_tag(partition_of(channel))}:once:{channel}:{idempotency_key}"


def ask_once_key(user: str, idempotency_key: str) -> str:
    """Remembers the generation that a question with this key started (string)."""
    channel = user_channel(user)
    return f"{_tag(partition_of(channel))}:asked:{channel}:{idempotency_key}"


def generation_keys(generation: str) -> GenerationKeys | None:
    """The names that belong to a generation; None when this is not an id of one."""
    partition = partition_of_generation(generation)
    if partition is None:
        return None
    record = f"{_tag(partition)}:generation:{generation}"
    return GenerationKeys(record, record + ":text")


class RedisLink:
    """A client, and how a call on it ends when the server is away.

    The time-out is asyncio's own and redis-py's is off: in Python 3.11 redis-py's goes through
    asyncio.wait_for, which costs a task for each command and can swallow a cancellation.
    """

    def __init__(self, client: redis.asyncio.Redis, *, timeout_seconds: float) -> None:
        self.client = client
        self.timeout_seconds = timeout_seconds

    @asynccontextmanager
    async def call(self, *, more_seconds: float = 0.0) -> AsyncIterator[redis.asyncio.Redis]:
        """The client for one exchange. Raises BrokerUnavailable when it fails or takes too long;
        `more_seconds` is what the command itself may wait.
        """
        try:
            async with asyncio.timeout(self.timeout_seconds + more_seconds):
                yield self.client
        except TimeoutError as error:
            seconds = self.timeout_seconds + more_seconds
            raise BrokerUnavailable(f"the broker has not answered in {seconds:g} s") from error
        except (RedisError, OSError) as error:
            raise BrokerUnavailable(f"the broker does not answer: {_first_line(error)}") from error
        except RuntimeError as error:
            if not is_closed_transport(error):
                raise
            raise BrokerUnavailable("the broker closed the connection") from error


@asynccontextmanager
async def open_link(url: str, *, timeout_seconds: float) -> AsyncIterator[RedisLink]:
    """A link with what the hub relies on: RESP2, bytes, and no silent second try.

    redis-py repeats a command whose answer was lost, ten times by default, and would so append an
    event twice. RESP2, because redis-py 8.1 formats a debug string for each RESP3 push.
    """
    over_tcp = {} if url.startswith("unix:") else {"socket_keepalive": True}
    client = redis.asyncio.Redis.from_url(
        url,
        protocol=2,
        decode_responses=False,
        retry=Retry(NoBackoff(), 0),
        socket_connect_timeout=timeout_seconds,
        socket_timeout=None,
        health_check_interval=0,
        **over_tcp,
    )
    try:
        yield RedisLink(client, timeout_seconds=timeout_seconds)
    finally:
        await client.aclose()


def is_closed_transport(error: RuntimeError) -> bool:
    """Whether this is uvloop's word for writing to a transport that has closed: asyncio's loop
    drops such bytes, uvloop raises RuntimeError, and redis-py passes it on.
    """
    return "handler is closed" in str(error)


def _first_line(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0]


class Script:
    """A Lua script of this package, run by its digest; a server that forgot it is told again."""

    def __init__(self, package: str, *names: str) -> None:
        folder = files(package)
        self._body = "\n".join(folder.joinpath(f"lua/{name}.lua").read_text() for name in names)
        # The digest is the protocol's name for a script, not a matter of security.
        self._sha = hashlib.sha1(self._body.encode(), usedforsecurity=False).hexdigest()

    async def run(
        self, client: redis.asyncio.Redis, keys: Sequence[str], args: Sequence[Any]
    ) -> Any:
        """The script's reply to one call."""
        (reply,) = await self.run_each(client, [(keys, args)])
        return reply

    async def run_each(
        self, client: redis.asyncio.Redis, calls: Sequence[tuple[Sequence[str], Sequence[Any]]]
    ) -> list[Any]:
        """The replies to several calls, sent in one go and run in their order."""
        replies = await self._pipelined(client, calls)
        forgotten = [n for n, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
        if forgotten:
            await client.script_load(self._body)
            again = await self._pipelined(client, [calls[n] for n in forgotten])
            for n, reply in zip(forgotten, again, strict=True):
                replies[n] = reply
        for reply in replies:
            if isinstance(reply, Exception):
                raise reply
        return replies

    async def _pipelined(
        self, client: redis.asyncio.Redis, calls: Sequence[tuple[Sequence[str], Sequence[Any]]]
    ) -> list[Any]:
        async with client.pipeline(transaction=False) as pipe:
            for keys, args in calls:
                pipe.evalsha(self._sha, len(keys), *keys, *args)
            return await pipe.execute(raise_on_error=False)
