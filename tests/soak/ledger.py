"""The books: what was published and acknowledged, and what each client saw of it.

Each channel's events are numbered 1, 2, 3 … by its one publisher; every client is connected before
the first. So a client must see exactly 1, 2, 3 … in each of its channels, unless it is told by
`hub.reset` that there is a gap; and that only when the broker has lost its data.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import msgspec

_MOST_CASES = 10


class _Account:
    """One client's view of one channel."""

    def __init__(self) -> None:
        self.seen = 0  # the highest number seen, or excused by a reset
        self.missing: set[int] = set()
        self.after_reset = False
        self.resets = 0


class Verdict(msgspec.Struct, kw_only=True):
    """The sums. `cases`: the first few offences in words."""

    published: int
    delivered: int
    lost: int
    twice: int
    out_of_order: int
    resets: int
    unexplained_resets: int
    cases: list[str]

    @property
    def clean(self) -> bool:
        """Whether the promise was kept."""
        return not (self.lost or self.twice or self.out_of_order or self.unexplained_resets)


class Ledger:
    """Kept by publishers and clients, closed at the end."""

    def __init__(self) -> None:
        self.acknowledged: Counter[str] = Counter()  # channel → its last acknowledged number
        self.data_losses = 0  # how often the broker came back empty
        self._accounts: dict[tuple[str, str], _Account] = {}
        self._sums: Counter[str] = Counter()
        self._cases: list[str] = []

    def follows(self, client: str, channels: Iterable[str]) -> None:
        """The client must see all that is published in these channels from now on."""
        for channel in channels:
            self._accounts[client, channel] = _Account()

    def saw(self, client: str, channel: str, n: int) -> None:
        """An event arrived."""
        account = self._accounts[client, channel]
        self._sums["delivered"] += 1
        if account.after_reset:
            # What was published around the loss may be missing, or have been published again.
            account.after_reset = False
            account.seen = max(account.seen, n)
        elif n == account.seen + 1:
            account.seen = n
        elif n > account.seen:
            account.missing.update(range(account.seen + 1, n))
            self._case("gap", client, channel, f"{account.seen} was followed by {n}")
            account.seen = n
        elif n in account.missing:
            account.missing.discard(n)
            self._offend("out_of_order", client, channel, f"{n} came after {account.seen}")
        else:
            self._offend("twice", client, channel, f"{n} came again after {account.seen}")

    def told_reset(self, client: str, channel: str) -> None:
        """`hub.reset` arrived."""
        account = self._accounts[client, channel]
        account.resets += 1
        account.after_reset = True
        self._sums["resets"] += 1
        if account.resets > self.data_losses:
            self._offend("unexplained", client, channel, f"reset number {account.resets}")

    def behind(self) -> int:
        """How many accounts have not seen all that was acknowledged."""
        return sum(
            account.seen < self.acknowledged[channel] and not account.after_reset
            for (_, channel), account in self._accounts.items()
        )

    def close(self) -> Verdict:
        """The sums; what was acknowledged and never seen is lost."""
        lost = 0
        for (client, channel), account in self._accounts.items():
            unseen = 0 if account.after_reset else self.acknowledged[channel] - account.seen
            if unseen > 0:
                self._case("lost", client, channel, f"nothing after {account.seen}")
            lost += len(account.missing) + max(0, unseen)
        return Verdict(
            published=sum(self.acknowledged.values()),
            delivered=self._sums["delivered"],
            lost=lost,
            twice=self._sums["twice"],
            out_of_order=self._sums["out_of_order"],
            resets=self._sums["resets"],
            unexplained_resets=self._sums["unexplained"],
            cases=self._cases,
        )

    def _offend(self, kind: str, client: str, channel: str, what: str) -> None:
        self._sums[kind] += 1
        self._case(kind, client, channel, what)

    def _case(self, kind: str, client: str, channel: str, what: str) -> None:
        if len(self._cases) < _MOST_CASES:
            self._cases.append(f"{kind}: {client} in {channel}: {what}")
