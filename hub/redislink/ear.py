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

from hub.errors import BrokerUnavailable
from hub.redislink.topology import Place
from hub.redislink.wire import Connect, Wire, pack

_BATCH: Final = 512
_log = structlog.get_logger(__name__)


class Patience(msgspec.Struct, frozen=True, kw_only=True):
    """How long an ear waits, in seconds.

    linger: before it gives up a name that is needed no more.
    ping: between questions to the server whether it is there.
    silence: without a byte, before the wire counts as broken.
    most_backoff: between two attempts to connect.
    """

    timeout: float
    linger: float = 10.0
    ping: float = 4.0
    silence: float = 9.0
    most_backoff: float = 1.0


class Ear:
    """Hears names (pub/sub channels) on one server, kept up by `run`.

    heard: gets name and payload. relinked, gave_up: see the rules 4 and 5. failed: told when the
    server was lost or does not serve a name any more.
    """

    def __init__(
        self,
        place: Place,
        connect: Connect,
        patience: Patience,
        *,
        sharded: bool,
        heard: Callable[[Sequence[list[bytes]]], None],
        relinked: Callable[[], None] = lambda: None,
        gave_up: Callable[[bytes], None] = lambda name: None,
        failed: Callable[[], None] = lambda: None,
    ) -> None:
        self.place = place
        self.breaks = 0
        self._connect = connect
        self._patience = patience
        self._sharded = sharded
        prefix = "S" if sharded else ""
        self._subscribe, self._unsubscribe = f"{prefix}SUBSCRIBE", f"{prefix}UNSUBSCRIBE"
        self._message = f"{prefix}message".lower().encode()
        self._kinds = {
            f"{prefix}subscribe".lower().encode(): self._acknowledged_now,
            f"{prefix}unsubscribe".lower().encode(): self._unsubscribed,
        }
        self._heard = heard
        self._relinked = relinked
        self._gave_up = gave_up
        self._failed = failed
        self._wanted: set[bytes] = set()
        self._leaving: dict[bytes, float] = {}  # name → when it stops being wanted; soonest first
        self._differing: set[bytes] = set()
        self._sent: set[bytes] = set()
        self._acknowledged: set[bytes] = set()
        self._waiting: dict[bytes, list[asyncio.Future[None]]] = {}
        self._deadlines: deque[tuple[float, asyncio.Future[None]]] = deque()  # one timer for all
        self._wire: Wire | None = None
        self._trouble: asyncio.Future[str] | None = None
        self._settling = False
        self._owes_relink = False
        self._complete = False

    @property
    def linked(self) -> bool:
        """Whether everything that is wanted is heard, as far as this process can tell."""
        return self._complete

    def want(self, name: bytes) -> asyncio.Future[None] | None:
        """Hears the name from now on. None when it is heard already; else a future that is done
        when it is, or when it took too long: then it raises BrokerUnavailable.
        """
        self._leaving.pop(name, None)
        self._wanted.add(name)
        if name in self._acknowledged:
            return None
        self._differ(name)
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = loop.create_future()
        self._waiting.setdefault(name, []).append(waiter)
        if not self._deadlines:
            loop.call_later(self._patience.timeout, self._time_out)
        self._deadlines.append((loop.time() + self._patience.timeout, waiter))
        return waiter

    def leave(self, name: bytes) -> None:
        """The name is needed no more; it is given up later."""
        if name not in self._wanted:
            return
        loop = asyncio.get_running_loop()
        if not self._leaving:
            loop.call_later(self._patience.linger, self._sweep)
        self._leaving.pop(name, None)  # to the end: the times stay in order
        self._leaving[name] = loop.time() + self._patience.linger

    def take_over(self, name: bytes, other: Ear) -> None:
        """Hears what the other ear was to hear. On the way something may have been missed."""
        waiting = other._waiting.pop(name, [])
        until = other._leaving.pop(name, None)
        other._wanted.discard(name)
        other._differ(name)
        self.want(name)
        self._waiting.setdefault(name, []).extend(waiting)
        if until is not None:
            self.leave(name)
        self._owes_relink = True
        self._complete = False

    async def run(self) -> None:
        """Holds a wire until cancelled."""
        backoff = 0.0
        while True:
            wire: Wire | None = None
            try:
                wire = await self._connect(self.place, self._replied, self._patience.timeout)
                backoff = 0.0
                self._begin(wire)
                await self._watch(wire)
            except BrokerUnavailable as error:
                self.breaks += wire is not None
                tell = _log.warning if wire else _log.debug  # once, not at each new attempt
                tell("ear.link_lost", server=str(self.place), error=str(error))
                self._failed()
            finally:
                self._wire, self._complete = None, False
                self._acknowledged.clear()
                if wire is not None:
                    self._owes_relink = True
                    await wire.close()
            await asyncio.sleep(backoff)
            backoff = min(self._patience.most_backoff, backoff * 2 or 0.05)

    def _begin(self, wire: Wire) -> None:
        self._wire = wire
        self._trouble = asyncio.get_running_loop().create_future()
        self._sent.clear()
        self._differing = set(self._wanted)
        self._settle_soon()

    async def _watch(self, wire: Wire) -> None:
        """Raises BrokerUnavailable when the wire is lost, refused or silent."""
        assert self._trouble is not None
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.wait(
                (wire.lost, self._trouble),
                timeout=self._patience.ping,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if self._trouble.done():
                raise BrokerUnavailable(f"the broker refused: {self._trouble.result()}")
            if wire.lost.done():
                raise BrokerUnavailable("the broker closed the connection")
            if loop.time() - wire.last_heard > self._patience.silence:
                raise BrokerUnavailable(f"no byte from the broker for {self._patience.silence:g} s")
            wire.send(pack(["PING"]))

    def _replied(self, replies: Sequence[Any]) -> None:
        messages = []
        for reply in replies:
            if type(reply) is list and reply[0] == self._message:
                messages.append(reply)
            else:
                self._answered(reply)
        if messages:
            self._heard(messages)

    def _answered(self, reply: Any) -> None:
        if isinstance(reply, list):
            take = self._kinds.get(reply[0])
            if take is not None:
                take(reply)
        elif isinstance(reply, ResponseError) and self._trouble and not self._trouble.done():
            self._trouble.set_result(str(reply))

    def _acknowledged_now(self, reply: list[bytes]) -> None:
        name = reply[1]
        if name not in self._sent:
            return  # of a SUBSCRIBE that an UNSUBSCRIBE is already following
        self._acknowledged.add(name)
        for waiter in self._waiting.pop(name, ()):
            if not waiter.done():
                waiter.set_result(None)
        self._note_complete()

    def _unsubscribed(self, reply: list[bytes]) -> None:
        name = reply[1]
        self._acknowledged.discard(name)
        if name in self._sent:  # nobody asked: its slot has moved to another server
            self._sent.discard(name)
            self._complete = False
            self._failed()

    def _note_complete(self) -> None:
        if self._complete or self._wire is None or not self._wanted <= self._acknowledged:
            return
        self._complete = True
        if self._owes_relink:
            self._owes_relink = False
            _log.info("ear.relinked", server=str(self.place), names=len(self._wanted))
            self._relinked()

    def _differ(self, name: bytes) -> None:
        self._differing.add(name)
        self._settle_soon()

    def _settle_soon(self) -> None:
        if not self._settling:
            self._settling = True
            asyncio.get_running_loop().call_soon(self._settle)

    def _settle(self) -> None:
        """Asks for what is wanted and gives up what is not, as it is at this moment."""
        self._settling = False
        if self._wire is None:
            return
        differing, self._differing = self._differing, set()
        coming = [n for n in differing if n in self._wanted and n not in self._sent]
        going = [n for n in differing if n not in self._wanted and n in self._sent]
        self._sent.update(coming)
        self._sent.difference_update(going)
        self._acknowledged.difference_update(going)
        for command, names in ((self._subscribe, coming), (self._unsubscribe, going)):
            for batch in self._batches(names):
                self._wire.send(pack([command, *batch]))
        self._note_complete()

    def _batches(self, names: list[bytes]) -> Iterable[Sequence[bytes]]:
        """At most 512 names each; on a Cluster all of one slot."""
        together: Iterable[list[bytes]] = [names]
        if self._sharded:
            together = (list(group) for _, group in groupby(sorted(names), key=_tag))
        for group in together:
            for start in range(0, len(group), _BATCH):
                yield group[start : start + _BATCH]

    def _time_out(self) -> None:
        loop = asyncio.get_running_loop()
        while self._deadlines:
            until, waiter = self._deadlines[0]
            if not waiter.done():
                if until > loop.time():
                    loop.call_later(until - loop.time(), self._time_out)
                    return
                waiter.set_exception(
                    BrokerUnavailable("the broker did not acknowledge a subscription in time")
                )
            self._deadlines.popleft()

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        while self._leaving:
            name, until = next(iter(self._leaving.items()))
            if until > loop.time():
                loop.call_later(until - loop.time(), self._sweep)
                return
            del self._leaving[name]
            self._wanted.discard(name)
            self._differ(name)
            self._gave_up(name)


def _tag(name: bytes) -> bytes:
    return name[: name.index(b"}")]
