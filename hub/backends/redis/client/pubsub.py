"""Subscriptions on one server: one connection that receives pub/sub messages.

The PubSub of redis-py is not safe while its reader reconnects, so this module uses a connection of
its own (connection.py).

Rules:
1. `_wanted` holds the names that the process needs and `_requested` those that were requested on
   this connection. `_dirty` holds every name in which the two may differ. Only `_sync` sends, and
   only for dirty names: a subscription costs the same with ten or ten thousand others.
2. When the connection is lost, gets an error reply, has lost its subscriptions, or receives nothing
   for `silence_timeout_seconds`, it is closed, and a new one subscribes to all wanted names again.
3. A name counts as subscribed only when the server has acknowledged it on the current connection,
   after every UNSUBSCRIBE of it. Replies come in the order of the commands.
4. When a new connection has every acknowledgement, `on_resubscribed` is called, because messages
   may have been missed.
5. A name that is not needed any more stays subscribed for `linger_seconds`, so that a page reload
   costs nothing.
6. A message that comes alone is read at once. Once several have come together, the next ones are
   read after `read_interval_seconds`, together: waking up for each costs more than handling it.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from typing import Any, Final

import msgspec
import structlog
from redis.exceptions import ResponseError

from hub.backends.redis.client.connection import (
    Connect,
    RespConnection,
    is_login_required,
    pack_command,
)
from hub.backends.redis.client.topology import RedisServer
from hub.errors import BrokerUnavailable

Waiter = asyncio.Future[BrokerUnavailable | None]

_MAX_NAMES_PER_COMMAND: Final = 512
_MIN_MESSAGES_BEFORE_A_PAUSE: Final = 3  # a pause costs about as much as two reads
_log = structlog.get_logger(__name__)


class PubSubTimeouts(msgspec.Struct, frozen=True, kw_only=True):
    """The times of a PubSubConnection.

    reply_timeout_seconds: for connecting, and for the acknowledgement of a subscription.
    linger_seconds: how long a name stays subscribed that is not needed any more.
    ping_interval_seconds: between two PING commands.
    silence_timeout_seconds: after which a connection without received bytes is closed.
    max_backoff_seconds: between two attempts to connect.
    read_interval_seconds: between two reads while many messages arrive.
    """

    reply_timeout_seconds: float
    linger_seconds: float = 10.0
    ping_interval_seconds: float = 4.0
    silence_timeout_seconds: float = 9.0
    max_backoff_seconds: float = 1.0
    read_interval_seconds: float = 0.002


class PubSubConnection:
    """Receives the messages of names (pub/sub channels) on one server while `run` runs.

    on_messages: gets all messages of one read, each as [kind, name, payload].
    on_resubscribed: see rule 4.
    on_unsubscribed: gets a name that has stopped lingering, see rule 5.
    on_failure: called when the connection broke, or the server does not own a name any more.
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
        self.disconnects = 0  # number of lost connections
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
        self._wanted: set[bytes] = set()  # see rule 1
        self._lingering: dict[bytes, float] = {}  # name -> when it is not wanted; soonest first
        self._dirty: set[bytes] = set()
        self._requested: set[bytes] = set()
        self._acknowledged: set[bytes] = set()  # see rule 3
        self._unsubscribing: Counter[bytes] = Counter()  # UNSUBSCRIBE commands without a reply
        self._waiters: dict[bytes, list[Waiter]] = {}  # by name
        self._deadlines: deque[tuple[float, bytes, Waiter]] = deque()  # soonest first
        self._connection: RespConnection | None = None  # None while disconnected
        self._fault: asyncio.Future[str] | None = None  # done with the reason to reconnect
        self._sync_scheduled = False
        self._must_report_resubscribed = False  # see rule 4
        self._synced = False  # whether every wanted name is acknowledged

    @property
    def is_synced(self) -> bool:
        """Whether every wanted name is acknowledged, as far as this process can tell."""
        return self._synced

    def subscribe(self, name: bytes) -> Waiter | None:
        """Subscribe to a name.

        Return None if it is acknowledged already, otherwise a future that is done when it is, or
        when the acknowledgement takes too long. The result is then an error, which is not raised:
        a caller that waits for many names at once would leave most of the errors unread.
        """
        self._lingering.pop(name, None)
        self._wanted.add(name)
        if name in self._acknowledged:
            return None
        self._mark_dirty(name)
        loop = asyncio.get_running_loop()
        waiter: Waiter = loop.create_future()
        self._waiters.setdefault(name, []).append(waiter)
        if not self._deadlines:
            loop.call_later(self._timeouts.reply_timeout_seconds, self._expire_waiters)
        deadline = loop.time() + self._timeouts.reply_timeout_seconds
        self._deadlines.append((deadline, name, waiter))
        return waiter

    def unsubscribe(self, name: bytes) -> None:
        """Unsubscribe from a name after `linger_seconds`."""
        if name not in self._wanted:
            return
        loop = asyncio.get_running_loop()
        if not self._lingering:
            loop.call_later(self._timeouts.linger_seconds, self._expire_lingering)
        self._lingering.pop(name, None)  # a new entry goes to the end, so the times stay ordered
        self._lingering[name] = loop.time() + self._timeouts.linger_seconds

    def reconnect(self, reason: str) -> None:
        """Replace the connection, and subscribe to all wanted names again."""
        if self._fault is not None and not self._fault.done():
            self._fault.set_result(reason)

    def migrate_from(self, name: bytes, other: PubSubConnection) -> None:
        """Take a name over from another connection. Messages may have been missed meanwhile."""
        waiters = other._waiters.pop(name, [])
        lingers_until = other._lingering.pop(name, None)
        other._wanted.discard(name)
        other._mark_dirty(name)
        self.subscribe(name)
        self._waiters.setdefault(name, []).extend(waiters)
        if lingers_until is not None:
            self.unsubscribe(name)
        self._must_report_resubscribed = True
        self._synced = False

    async def run(self) -> None:
        """Keep a connection open until cancelled."""
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
                log = (
                    _log.warning if connection else _log.debug
                )  # warn once, not at each new attempt
                log("redis.pubsub_disconnected", server=str(self.server), error=str(error))
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
        self._fault = asyncio.get_running_loop().create_future()
        self._requested.clear()
        self._unsubscribing.clear()
        self._dirty = set(self._wanted)
        self._schedule_sync()

    async def _monitor(self, connection: RespConnection) -> None:
        """Raise BrokerUnavailable when the connection is lost, faulty or silent."""
        assert self._fault is not None
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.wait(
                (connection.lost, self._fault),
                timeout=self._timeouts.ping_interval_seconds,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if self._fault.done():
                raise BrokerUnavailable(self._fault.result())
            if connection.lost.done():
                raise BrokerUnavailable("the broker closed the connection")
            if loop.time() - connection.last_received_at > self._timeouts.silence_timeout_seconds:
                raise BrokerUnavailable(
                    f"the broker sent nothing for {self._timeouts.silence_timeout_seconds:g} s"
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
            if len(messages) >= _MIN_MESSAGES_BEFORE_A_PAUSE and self._connection is not None:
                self._connection.pause_reading(self._timeouts.read_interval_seconds)
            self._on_messages(messages)

    def _on_reply(self, reply: Any) -> None:
        if isinstance(reply, list):
            on_reply = self._reply_handlers.get(reply[0])
            if on_reply is not None:
                on_reply(reply)
        elif isinstance(reply, ResponseError):
            if is_login_required(reply):
                self.server.on_login_refused()
            self.reconnect(f"the broker refused a subscription: {reply}")
        elif self._acknowledged:  # a subscribed connection replies to PING with a list
            self.reconnect("the broker has lost the subscriptions")

    def _on_subscribed(self, reply: list[bytes]) -> None:
        name = reply[1]
        if name not in self._requested or name in self._unsubscribing:
            return  # an UNSUBSCRIBE has been sent after this SUBSCRIBE
        self._acknowledged.add(name)
        for waiter in self._waiters.pop(name, ()):
            if not waiter.done():
                waiter.set_result(None)
        self._check_synced()

    def _on_server_unsubscribed(self, reply: list[bytes]) -> None:
        name = reply[1]
        if name in self._unsubscribing:
            self._unsubscribing[name] -= 1
            if not self._unsubscribing[name]:
                del self._unsubscribing[name]
            return
        self._acknowledged.discard(name)
        if name in self._requested:  # not requested: its slot has moved to another server
            self._requested.discard(name)
            self._synced = False
            self._on_failure()

    def _check_synced(self) -> None:
        if self._synced or self._connection is None or not self._wanted <= self._acknowledged:
            return
        self._synced = True
        if self._must_report_resubscribed:
            self._must_report_resubscribed = False
            _log.info("redis.resubscribed", server=str(self.server), names=len(self._wanted))
            self._on_resubscribed()

    def _mark_dirty(self, name: bytes) -> None:
        self._dirty.add(name)
        self._schedule_sync()

    def _schedule_sync(self) -> None:
        if not self._sync_scheduled:
            self._sync_scheduled = True
            asyncio.get_running_loop().call_soon(self._sync)

    def _sync(self) -> None:
        """Subscribe to the dirty names that are wanted, and unsubscribe from those that are not."""
        self._sync_scheduled = False
        if self._connection is None:
            return
        dirty, self._dirty = self._dirty, set()
        added = [n for n in dirty if n in self._wanted and n not in self._requested]
        removed = [n for n in dirty if n not in self._wanted and n in self._requested]
        self._requested.update(added)
        self._requested.difference_update(removed)
        self._acknowledged.difference_update(removed)
        self._unsubscribing.update(removed)
        for command, names in (
            (self._subscribe_command, added),
            (self._unsubscribe_command, removed),
        ):
            for batch in self._command_batches(names):
                self._connection.send(pack_command([command, *batch]))
        self._check_synced()

    def _command_batches(self, names: list[bytes]) -> Iterable[Sequence[bytes]]:
        """Split the names: at most 512 for one command, in a Cluster all of one partition."""
        groups: Iterable[list[bytes]] = [names]
        if self._sharded:
            groups = (list(group) for _, group in groupby(sorted(names), key=_hash_tag_prefix))
        for group in groups:
            for start in range(0, len(group), _MAX_NAMES_PER_COMMAND):
                yield group[start : start + _MAX_NAMES_PER_COMMAND]

    def _expire_waiters(self) -> None:
        loop = asyncio.get_running_loop()
        while self._deadlines:
            deadline, name, waiter = self._deadlines[0]
            if not waiter.done():
                if deadline > loop.time():
                    loop.call_later(deadline - loop.time(), self._expire_waiters)
                    return
                waiter.set_result(
                    BrokerUnavailable("the broker did not acknowledge a subscription in time")
                )
            self._deadlines.popleft()
            self._forget_waiter(name, waiter)

    def _forget_waiter(self, name: bytes, waiter: Waiter) -> None:
        waiters = self._waiters.get(name, [])
        if waiter in waiters:
            waiters.remove(waiter)
            if not waiters:
                del self._waiters[name]

    def _expire_lingering(self) -> None:
        loop = asyncio.get_running_loop()
        while self._lingering:
            name, lingers_until = next(iter(self._lingering.items()))
            if lingers_until > loop.time():
                loop.call_later(lingers_until - loop.time(), self._expire_lingering)
                return
            del self._lingering[name]
            self._wanted.discard(name)
            self._mark_dirty(name)
            self._on_unsubscribed(name)


def _hash_tag_prefix(name: bytes) -> bytes:
    return name[: name.index(b"}")]
