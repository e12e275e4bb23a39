"""The bell: one raw connection that hears the pub/sub channels this process needs.

redis-py's PubSub is not safe while its reader reconnects, so this drives a Connection itself.

Rules:
1. `_wanted` is what the process needs, `_sent` what this link was asked for, and `_differing` holds
   every name in which the two may differ. Only the writer task sends, and only for those names: a
   subscription costs the same whether there are ten others or ten thousand.
2. One task reads and one writes on a link. When either fails, or the server has been silent for
   `silence_seconds`, the link is dropped and a new one hears the whole wanted set anew.
3. `heard` and `subscribe` see only what the server has acknowledged on the present link.
4. After a new link has every acknowledgement, `relinked` is called: events may have been missed.
5. A channel that is needed no more is kept for `linger_seconds`, so that a page reload is free.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Collection, Sequence
from typing import Any, Final

import redis.asyncio
import structlog
from redis.exceptions import RedisError

from hub.brokers.redis.log import parse_announcement
from hub.core.channel import Channel
from hub.core.event import Event
from hub.engine.supervise import together
from hub.errors import BrokerUnavailable
from hub.redislink import channel_keys, is_closed_transport

_BATCH: Final = 512
_log = structlog.get_logger(__name__)


class RedisBus:
    """Subscriptions of one process to one Redis."""

    def __init__(
        self,
        pool: redis.asyncio.ConnectionPool,
        *,
        timeout_seconds: float,
        linger_seconds: float = 10.0,
        ping_seconds: float = 5.0,
        silence_seconds: float = 15.0,
        most_backoff_seconds: float = 1.0,
    ) -> None:
        self._pool = pool
        self._timeout_seconds = timeout_seconds
        self._linger_seconds = linger_seconds
        self._ping_seconds = ping_seconds
        self._silence_seconds = silence_seconds
        self._most_backoff_seconds = most_backoff_seconds
        self._wanted: dict[bytes, Channel] = {}
        self._leaving: dict[bytes, float] = {}  # name → when it stops being wanted; soonest first
        self._differing: set[bytes] = set()
        self._sent: set[bytes] = set()
        self._acknowledged: set[bytes] = set()
        self._waiting: dict[bytes, asyncio.Future[None]] = {}
        self._changed = asyncio.Event()
        self._last_heard = 0.0
        self._links = 0
        self._link_complete = False
        self._heard: Callable[[Event], None] = lambda event: None
        self._relinked: Callable[[], None] = lambda: None

    @property
    def linked(self) -> bool:
        """Whether everything that is wanted is heard, as far as this process can tell."""
        return self._link_complete

    def listen(self, heard: Callable[[Event], None], relinked: Callable[[], None]) -> None:
        """See ports.Broker.listen."""
        self._heard, self._relinked = heard, relinked

    async def subscribe(self, channels: Collection[Channel]) -> None:
        """See ports.Broker.subscribe."""
        pending = []
        for channel in channels:
            name = channel_keys(channel).live.encode()
            self._leaving.pop(name, None)
            self._wanted[name] = channel
            if name in self._acknowledged:
                continue
            self._differing.add(name)
            waiter = self._waiting.get(name)
            if waiter is None:
                waiter = self._waiting[name] = asyncio.get_running_loop().create_future()
            pending.append(waiter)
        if not pending:
            return
        self._changed.set()
        # wait() leaves the futures alone when this caller is cancelled: others share them.
        _, late = await asyncio.wait(pending, timeout=self._timeout_seconds)
        if late:
            raise BrokerUnavailable("the broker did not acknowledge a subscription in time")

    def unsubscribe(self, channels: Collection[Channel]) -> None:
        """See ports.Broker.unsubscribe."""
        until = asyncio.get_running_loop().time() + self._linger_seconds
        for channel in channels:
            name = channel_keys(channel).live.encode()
            if name in self._wanted:
                self._leaving.pop(name, None)  # to the end: the times stay in order
                self._leaving[name] = until
        self._changed.set()

    async def run(self) -> None:
        """Holds a link until cancelled."""
        backoff = 0.0
        while True:
            connection = self._pool.make_connection()  # type: ignore[no-untyped-call]
            try:
                async with asyncio.timeout(self._timeout_seconds):
                    await connection.connect()
                backoff = 0.0
                await self._hold(connection)
            except (RedisError, OSError, TimeoutError) as error:
                _log.warning("bus.link_lost", error=str(error) or type(error).__name__)
            finally:
                self._link_complete = False
                self._acknowledged.clear()
                await connection.disconnect(nowait=True)
            await asyncio.sleep(backoff)
            backoff = min(self._most_backoff_seconds, backoff * 2 or 0.05)

    async def _hold(self, connection: Any) -> None:
        self._sent.clear()
        self._acknowledged.clear()
        self._differing = set(self._wanted)
        self._links += 1
        self._last_heard = asyncio.get_running_loop().time()
        self._changed.set()
        await together(self._read(connection), self._write(connection), self._watch(connection))

    async def _read(self, connection: Any) -> None:
        loop = asyncio.get_running_loop()
        while True:
            message = await connection.read_response(
                timeout=math.inf, disconnect_on_error=False, push_request=True
            )
            self._last_heard = loop.time()
            kind = message[0] if isinstance(message, list) else message
            if kind == b"message":
                channel = self._wanted.get(message[1])
                if channel is not None:
                    self._heard(parse_announcement(channel, message[2]))
            elif kind == b"subscribe":
                self._acknowledge(message[1])
            elif kind == b"unsubscribe":
                self._acknowledged.discard(message[1])

    def _acknowledge(self, name: bytes) -> None:
        if name not in self._sent:
            return  # of a SUBSCRIBE that an UNSUBSCRIBE is already following
        self._acknowledged.add(name)
        waiter = self._waiting.pop(name, None)
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
        self._note_complete()

    def _note_complete(self) -> None:
        if self._link_complete or len(self._acknowledged) < len(self._wanted):
            return
        self._link_complete = True
        if self._links > 1:
            _log.info("bus.relinked", channels=len(self._wanted))
            self._relinked()

    async def _write(self, connection: Any) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self._changed.clear()
            self._forget_the_left(loop.time())
            differing, self._differing = tuple(self._differing), set()
            for start in range(0, len(differing), _BATCH):
                await self._settle(connection, differing[start : start + _BATCH])
            self._note_complete()
            until = next(iter(self._leaving.values()), math.inf)
            timeout = None if until == math.inf else max(0.0, until - loop.time())
            try:
                async with asyncio.timeout(timeout):
                    await self._changed.wait()
            except TimeoutError:
                continue

    async def _settle(self, connection: Any, names: Sequence[bytes]) -> None:
        """Asks for what is wanted, then gives up what is not, each as it is at that moment."""
        coming = [name for name in names if name in self._wanted and name not in self._sent]
        if coming:
            self._sent.update(coming)
            await send(connection, "SUBSCRIBE", *coming)
        going = [name for name in names if name not in self._wanted and name in self._sent]
        if going:
            self._sent.difference_update(going)
            self._acknowledged.difference_update(going)
            await send(connection, "UNSUBSCRIBE", *going)

    def _forget_the_left(self, now: float) -> None:
        while self._leaving:
            name, until = next(iter(self._leaving.items()))
            if until > now:
                return
            del self._leaving[name]
            del self._wanted[name]
            self._differing.add(name)

    async def _watch(self, connection: Any) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self._ping_seconds)
            if loop.time() - self._last_heard > self._silence_seconds:
                raise TimeoutError(f"no byte from the broker for {self._silence_seconds:g} s")
            await send(connection, "PING")


async def send(connection: Any, *words: bytes | str) -> None:
    """One command on this link. Raises ConnectionError when it has closed meanwhile."""
    try:
        await connection.send_command(*words)
    except RuntimeError as error:
        if not is_closed_transport(error):
            raise
        raise ConnectionResetError("the broker closed the connection") from error
