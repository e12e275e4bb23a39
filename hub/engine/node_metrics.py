"""What a node counts: plain numbers, written where it happens and read when asked for."""

from __future__ import annotations

import time
from collections import Counter
from typing import Final

from hub.core.histogram import Histogram
from hub.ports.clock import Clock

_DELAYS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_LOOP_TICK_SECONDS: Final = 0.1


class NodeMetrics:
    """opened: by transport. closed: by reason. delivered: events handed to connections that have
    ended, by transport; the others know their own. resets: by reason. published: by outcome.
    answered: requests by listener, route and status. refused: by limit. Histograms in seconds.
    """

    def __init__(self) -> None:
        self.started_at = time.time()
        self.opened: Counter[str] = Counter()
        self.closed: Counter[str] = Counter()
        self.delivered: Counter[str] = Counter()
        self.replayed = 0
        self.resets: Counter[str] = Counter()
        self.published: Counter[str] = Counter()
        self.responses: Counter[tuple[str, ...]] = Counter()
        self.refused: Counter[str] = Counter()
        self.round_trip = Histogram(_DELAYS)
        self.delivery_delay = Histogram(_DELAYS)
        self.heartbeat_lateness = Histogram(_DELAYS)
        self.loop_lag = Histogram(_DELAYS)

    async def watch_loop(self, clock: Clock) -> None:
        """How much later than asked for the loop comes back, until cancelled."""
        while True:
            due = clock.now() + _LOOP_TICK_SECONDS
            await clock.sleep(_LOOP_TICK_SECONDS)
            self.loop_lag.observe(max(0.0, clock.now() - due))
