"""What users send to the functions that run on one worker: messages, and the values of inputs."""

from __future__ import annotations

import msgspec

from hub.engine.functions.pending_inputs import PendingInputs
from hub.engine.functions.steering_feed import SteeringFeed
from hub.ports.clock import Clock
from hub.ports.events import EventWriter
from hub.ports.generations import GenerationStore


class UserFeeds(msgspec.Struct, frozen=True):
    """steering: the messages. inputs: the values for which somebody waits."""

    steering: SteeringFeed
    inputs: PendingInputs

    @classmethod
    def build(
        cls,
        events: EventWriter,
        store: GenerationStore,
        clock: Clock,
        *,
        interval_seconds: float,
    ) -> UserFeeds:
        """Return the feeds. interval_seconds: how often they read a record without a notice."""
        return cls(
            SteeringFeed(store, clock, interval_seconds=interval_seconds),
            PendingInputs(events, store, check_seconds=interval_seconds),
        )

    def on_notice(self, generation: str) -> None:
        """Read the record of a generation, because it has something new."""
        self.steering.on_notice(generation)
        self.inputs.notify(generation)
