"""Record the acknowledged events and the events that each client receives.

One publisher per channel numbers its events 1, 2, 3 …, and every client connects before the first
event. Each client must therefore receive exactly 1, 2, 3 … in each of its channels. The only
exception is a gap that `hub.reset` announces, and only after the broker has lost its data.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import msgspec

_MAX_CASES = 10


class _Subscription:
    """The events that one client has received in one channel."""

    def __init__(self) -> None:
        self.seen = 0  # the highest number received
        self.missing: set[int] = set()
        self.after_reset = False
        self.resets = 0


class Verdict(msgspec.Struct, kw_only=True):
    """The totals. cases: descriptions of the first violations."""

    published: int
    delivered: int
    lost: int
    duplicates: int
    out_of_order: int
    resets: int
    unexplained_resets: int
    cases: list[str]

    @property
    def clean(self) -> bool:
        """Return whether all events were delivered once and in order."""
        return not (self.lost or self.duplicates or self.out_of_order or self.unexplained_resets)


class Ledger:
    """Publishers and clients write to it during the run; `close` returns the totals."""

    def __init__(self) -> None:
        self.acknowledged: Counter[str] = Counter()  # channel: last acknowledged number
        self.data_losses = 0  # how often the broker restarted without data
        self.slowest_seconds = 0.0  # of a delivery
        self._subscriptions: dict[tuple[str, str], _Subscription] = {}
        self._totals: Counter[str] = Counter()
        self._cases: list[str] = []

    def record_data_loss(self) -> None:
        """Record that the broker restarts without data."""
        self.data_losses += 1

    def add_client(self, client: str, channels: Iterable[str]) -> None:
        """Expect the client to receive all events of these channels from now on."""
        for channel in channels:
            self._subscriptions[client, channel] = _Subscription()

    def record_event(self, client: str, channel: str, n: int) -> None:
        """Record that a client received event n of a channel."""
        subscription = self._subscriptions[client, channel]
        self._totals["delivered"] += 1
        if subscription.after_reset:
            # Events around the loss may be missing or published again.
            subscription.after_reset = False
            subscription.seen = max(subscription.seen, n)
        elif n == subscription.seen + 1:
            subscription.seen = n
        elif n > subscription.seen:
            subscription.missing.update(range(subscription.seen + 1, n))
            self._add_case("gap", client, channel, f"{subscription.seen} was followed by {n}")
            subscription.seen = n
        elif n in subscription.missing:
            subscription.missing.discard(n)
            self._add_violation("out_of_order", client, channel, f"{n} after {subscription.seen}")
        else:
            self._add_violation(
                "duplicate", client, channel, f"{n} again after {subscription.seen}"
            )

    def record_reset(self, client: str, channel: str) -> None:
        """Record that a client received `hub.reset` for a channel."""
        subscription = self._subscriptions[client, channel]
        subscription.resets += 1
        subscription.after_reset = True
        self._totals["resets"] += 1
        if subscription.resets > self.data_losses:
            self._add_violation(
                "unexplained", client, channel, f"reset number {subscription.resets}"
            )

    def count_behind(self) -> int:
        """Return the number of subscriptions that have not received all acknowledged events."""
        return sum(
            subscription.seen < self.acknowledged[channel] and not subscription.after_reset
            for (_, channel), subscription in self._subscriptions.items()
        )

    def close(self) -> Verdict:
        """Return the totals; acknowledged events that a client never received are lost."""
        lost = 0
        for (client, channel), subscription in self._subscriptions.items():
            unseen = (
                0 if subscription.after_reset else self.acknowledged[channel] - subscription.seen
            )
            if unseen > 0:
                self._add_case("lost", client, channel, f"nothing after {subscription.seen}")
            lost += len(subscription.missing) + max(0, unseen)
        return Verdict(
            published=sum(self.acknowledged.values()),
            delivered=self._totals["delivered"],
            lost=lost,
            duplicates=self._totals["duplicate"],
            out_of_order=self._totals["out_of_order"],
            resets=self._totals["resets"],
            unexplained_resets=self._totals["unexplained"],
            cases=self._cases,
        )

    def _add_violation(self, kind: str, client: str, channel: str, what: str) -> None:
        self._totals[kind] += 1
        self._add_case(kind, client, channel, what)

    def _add_case(self, kind: str, client: str, channel: str, what: str) -> None:
        if len(self._cases) < _MAX_CASES:
            self._cases.append(f"{kind}: {client} in {channel}: {what}")
