"""The messages for the functions that run on this worker.

The record of an answer has its messages (core/steering.py). A notice says that there are new ones;
it may get lost, so the records are read at intervals as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

from hub.core.steering import SteeringMessage, common_length
from hub.engine.tasks import BackgroundTasks
from hub.errors import BrokerUnavailable
from hub.ports.clock import Clock
from hub.ports.generations import GenerationStore

Deliver = Callable[[Sequence[SteeringMessage]], None]


class SteeringFollower:
    """The messages of one answer. messages: all so far, as the record had them."""

    def __init__(self) -> None:
        self.messages: Sequence[SteeringMessage] = ()
        self._deliver: Deliver | None = None
        self._delivered = 0

    def deliver(self, deliver: Deliver, *, after: Sequence[SteeringMessage]) -> None:
        """Pass on the messages after these: those that are known by now, and each later one."""
        self._deliver, self._delivered = deliver, common_length(self.messages, after)
        self._pass_on()

    def update(self, messages: Sequence[SteeringMessage]) -> None:
        """Take what the record has. One that was read before the newest update changes nothing."""
        common = common_length(self.messages, messages)
        if len(messages) == common:
            return
        self.messages, self._delivered = messages, min(self._delivered, common)
        self._pass_on()

    def _pass_on(self) -> None:
        new = self.messages[self._delivered :]
        if self._deliver is not None and new:
            self._delivered = len(self.messages)
            self._deliver(new)


class SteeringFeed:
    """Reads the messages of the answers that are followed. interval_seconds: see `run`."""

    def __init__(self, store: GenerationStore, clock: Clock, *, interval_seconds: float) -> None:
        self._store = store
        self._clock = clock
        self._interval_seconds = interval_seconds
        self._followers: dict[str, SteeringFollower] = {}  # by generation
        self._background = BackgroundTasks()

    @contextmanager
    def follow(self, generation: str) -> Iterator[SteeringFollower]:
        """Follow the messages of an answer of this worker. A later call replaces an earlier one."""
        follower = self._followers[generation] = SteeringFollower()
        try:
            yield follower
        finally:
            if self._followers.get(generation) is follower:
                del self._followers[generation]

    def on_notice(self, generation: str) -> None:
        """Read the messages of an answer, if it is followed."""
        if generation in self._followers:
            self._background.run("messages of an answer", self.read(generation))

    async def read(self, generation: str) -> None:
        """Read the messages of an answer. Without the broker they come later."""
        with suppress(BrokerUnavailable):
            messages = await self._store.steering_of(generation)
            if (follower := self._followers.get(generation)) is not None:
                follower.update(messages)

    async def run(self) -> None:
        """Read the messages of all answers at intervals, until cancelled."""
        while True:
            await self._clock.sleep(self._interval_seconds)
            for generation in tuple(self._followers):
                await self.read(generation)
