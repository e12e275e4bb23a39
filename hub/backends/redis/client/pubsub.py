"""Subscriptions on one server: one wire that hears the pub/sub channels this process needs.

redis-py's PubSub is not safe while its reader reconnects, so this drives a wire itself.

Rules:
1. `_wanted` is what the process needs, `_sent` what this wire was asked for, and `_differing` holds
   every name in which the two may differ. `_settle` sends, and only for those names: a subscription
   costs the same whether there are ten others or ten thousand.
2. When the wire is lost, refuses something, or has been silent for `silence_seconds`, it is dropped
   and a new one hears the whole wanted set anew.
3. `heard` and `want` see only what the server has acknowledged on the present wire.
4. After a new wire has every acknowledgement, `relinked` is called: something may have been missed.
5. A name that is needed no more is kept for `linger_seconds`, so that a page reload is free.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from typing import Any, Final

import msgspec
import structlog
from redis.exceptions import ResponseError

from hub.backends.redis.client.connection import Connect, RespConnection, pack_command
from hub.backends.redis.client.topology import RedisServer
from hub.errors import BrokerUnavailable

_MAX_NAMES_PER_COMMAND: Final = 512
_log = structlog.get_logger(__name__)


class PubSubTimeouts(msgspec.Struct, frozen=True, kw_only=True):
    """How long an ear waits, in seconds.

    linger: before it gives up a name that is needed no more.
    ping: between questions to the server whether it is there.
    silence: without a byte, before the wire counts as broken.
    most_backoff: between two attempts to connect.
    """

    reply_timeout_seconds: float
    linger_seconds: float = 10.0
    ping_interval_seconds: float = 4.0
    silence_timeout_seconds: float = 9.0
    max_backoff_seconds: float = 1.0


class PubSubConnection:
    """Hears names (pub/sub channels) on one server, kept up by `run`.

    heard: gets name and payload. relinked, gave_up: see the rules 4 and 5. failed: told when the
    server was lost or does not serve a name any more.
    """

    def __init__(
        self,
        server: RedisServer,
        connect: Connect,
        timeouts: PubSubTimeouts,
        *,
        sharded: bool,
        on_messages: Callable[[Sequence[list[bytes]]], None],
        on_resubscribed: Callable[[], None] = lambda: None,
        on_unsubscribed: Callable[[bytes], None] = lambda name: None,
        on_failure: Callable[[], None] = lambda: None,
    ) -> None:
        self.server = server
        self.disconnects = 0
        self._connect = connect
        self._timeouts = timeouts
        self._sharded = sharded
        prefix = "S" if sharded else ""
        self._subscribe_command, self._unsubscribe_command = (
            f"{prefix}SUBSCRIBE",
            f"{prefix}UNSUBSCRIBE",
        )
        self._message_kind = f"{prefix}message".lower().encode()
        self._reply_handlers = {
            f"{prefix}subscribe".lower().encode(): self._on_subscribed,
            f"{prefix}unsubscribe".lower().encode(): self._on_server_unsubscribed,
        }
        self._on_messages = on_messages
        self._on_resubscribed = on_resubscribed
        self._on_unsubscribed = on_unsubscribed
        self._on_failure = on_failure
        self._wanted: set[bytes] = set()
        self._lingering: dict[bytes, float] = {}  # name → when it stops being wanted; soonest first
        self._dirty: set[bytes] = set()
        self._requested: set[bytes] = set()
        self._acknowledged: set[bytes] = set()
        self._waiters: dict[bytes, list[asyncio.Future[None]]] = {}
        self._deadlines: deque[tuple[float, asyncio.Future[None]]] = deque()  # one timer for all
        self._connection: RespConnection | None = None
        self._refusal: asyncio.Future[str] | None = None
        self._sync_scheduled = False
        self._must_report_resubscribed = False
        self._synced = False

    @property
    def is_synced(self) -> bool:
        """Whether everything that is wanted is heard, as far as this process can tell."""
        return self._synced

    def subscribe(self, name: bytes) -> asyncio.Future[None] | None:
        """Hears the name from now on. None when it is heard already; else a future that is done
        when it is, or when it took too long: then it raises BrokerUnavailable.
        """
        self._lingering.pop(name, None)
        self._wanted.add(name)
        if name in self._acknowledged:
            return None
        self._mark_dirty(name)
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = loop.create_future()
        self._waiters.setdefault(name, []).append(waiter)
        if not self._deadlines:
            loop.call_later(self._timeouts.reply_timeout_seconds, self._expire_waiters)
        self._deadlines.append((loop.time() + self._timeouts.reply_timeout_seconds, waiter))
        return waiter

    def unsubscribe(self, name: bytes) -> None:
        """The name is needed no more; it is given up later."""
        if name not in self._wanted:
            return
        loop = asyncio.get_running_loop()
        if not self._lingering:
            loop.call_later(self._timeouts.linger_seconds, self._expire_lingering)
        self._lingering.pop(name, None)  # to the end: the times stay in order
        self._lingering[name] = loop.time() + self._timeouts.linger_seconds

    def migrate_from(self, name: bytes, other: PubSubConnection) -> None:
        """Hears what the other ear was to hear. On the way something may have been missed."""
        waiting = other._waiters.pop(name, [])
        until = other._lingering.pop(name, None)
        other._wanted.discard(name)
        other._mark_dirty(name)
        self.subscribe(name)
        self._waiters.setdefault(name, []).extend(waiting)
        if until is not None:
            self.unsubscribe(name)
        self._must_report_resubscribed = True
        self._synced = False

    async def run(self) -> None:
        """Holds a wire until cancelled."""
        backoff = 0.0
        while True:
            connection: RespConnection | None = None
            try:
                connection = await self._connect(
                    self.server, self._on_replies, self._timeouts.reply_timeout_seconds
                )
                backoff = 0.0
                self._start_session(connection)
                await self._monitor(connection)
            except BrokerUnavailable as error:
                self.disconnects += connection is not None
                tell = _log.warning if connection else _log.debug  # once, not at each new attempt
                tell("ear.link_lost", server=str(self.server), error=str(error))
                self._on_failure()
            finally:
                self._connection, self._synced = None, False
                self._acknowledged.clear()
                if connection is not None:
                    self._must_report_resubscribed = True
                    await connection.close()
            await asyncio.sleep(backoff)
            backoff = min(self._timeouts.max_backoff_seconds, backoff * 2 or 0.05)

    def _start_session(self, connection: RespConnection) -> None:
        self._connection = connection
        self._refusal = asyncio.get_running_loop().create_future()
        self._requested.clear()
        self._dirty = set(self._wanted)
        self._schedule_sync()

    async def _monitor(self, connection: RespConnection) -> None:
        """Raises BrokerUnavailable when the wire is lost, refused or silent."""
        assert self._refusal is not None
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.wait(
                (connection.lost, self._refusal),
                timeout=self._timeouts.ping_interval_seconds,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if self._refusal.done():
                raise BrokerUnavailable(f"the broker refused: {self._refusal.result()}")
            if connection.lost.done():
                raise BrokerUnavailable("the broker closed the connection")
            if loop.time() - connection.last_received_at > self._timeouts.silence_timeout_seconds:
                raise BrokerUnavailable(
                    f"no byte from the broker for {self._timeouts.silence_timeout_seconds:g} s"
                )
            connection.send(pack_command(["PING"]))

    def _on_replies(self, replies: Sequence[Any]) -> None:
        messages = []
        for reply in replies:
            if type(reply) is list and reply[0] == self._message_kind:
                messages.append(reply)
            else:
                self._on_reply(reply)
        if messages:
            self._on_messages(messages)

    def _on_reply(self, reply: Any) -> None:
        if isinstance(reply, list):
            take = self._reply_handlers.get(reply[0])
            if take is not None:
                take(reply)
        elif isinstance(reply, ResponseError) and self._refusal and not self._refusal.done():
            self._refusal.set_result(str(reply))

    def _on_subscribed(self, reply: list[bytes]) -> None:
        name = reply[1]
        if name not in self._requested:
            return  # of a SUBSCRIBE that an UNSUBSCRIBE is already following
        self._acknowledged.add(name)
        for waiter in self._waiters.pop(name, ()):
            if not waiter.done():
                waiter.set_result(None)
        self._check_synced()

    def _on_server_unsubscribed(self, reply: list[bytes]) -> None:
        name = reply[1]
        self._acknowledged.discard(name)
        if name in self._requested:  # nobody asked: its slot has moved to another server
            self._requested.discard(name)
            self._synced = False
            self._on_failure()

    def _check_synced(self) -> None:
        if self._synced or self._connection is None or not self._wanted <= self._acknowledged:
            return
        self._synced = True
        if self._must_report_resubscribed:
            self._must_report_resubscribed = False
            _log.info("ear.relinked", server=str(self.server), names=len(self._wanted))
            self._on_resubscribed()

    def _mark_dirty(self, name: bytes) -> None:
        self._dirty.add(name)
        self._schedule_sync()

    def _schedule_sync(self) -> None:
        if not self._sync_scheduled:
            self._sync_scheduled = True
            asyncio.get_running_loop().call_soon(self._sync)

    def _sync(self) -> None:
        """Asks for what is wanted and gives up what is not, as it is at this moment."""
        self._sync_scheduled = False
        if self._connection is None:
            return
        differing, self._dirty = self._dirty, set()
        coming = [n for n in differing if n in self._wanted and n not in self._requested]
        going = [n for n in differing if n not in self._wanted and n in self._requested]
        self._requested.update(coming)
        self._requested.difference_update(going)
        self._acknowledged.difference_update(going)
        for command, names in (
            (self._subscribe_command, coming),
            (self._unsubscribe_command, going),
        ):
            for batch in self._command_batches(names):
                self._connection.send(pack_command([command, *batch]))
        self._check_synced()

    def _command_batches(self, names: list[bytes]) -> Iterable[Sequence[bytes]]:
        """At most 512 names each; on a Cluster all of one slot."""
        together: Iterable[list[bytes]] = [names]
        if self._sharded:
            together = (list(group) for _, group in groupby(sorted(names), key=_hash_tag_prefix))
        for group in together:
            for start in range(0, len(group), _MAX_NAMES_PER_COMMAND):
                yield group[start : start + _MAX_NAMES_PER_COMMAND]

    def _expire_waiters(self) -> None:
        loop = asyncio.get_running_loop()
        while self._deadlines:
            until, waiter = self._deadlines[0]
            if not waiter.done():
                if until > loop.time():
                    loop.call_later(until - loop.time(), self._expire_waiters)
                    return
                waiter.set_exception(
                    BrokerUnavailable("the broker did not acknowledge a subscription in time")
                )
            self._deadlines.popleft()

    def _expire_lingering(self) -> None:
        loop = asyncio.get_running_loop()
        while self._lingering:
            name, until = next(iter(self._lingering.items()))
            if until > loop.time():
                loop.call_later(until - loop.time(), self._expire_lingering)
                return
            del self._lingering[name]
            self._wanted.discard(name)
            self._mark_dirty(name)
            self._on_unsubscribed(name)


def _hash_tag_prefix(name: bytes) -> bytes:
    return name[: name.index(b"}")]
