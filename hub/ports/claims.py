"""The jobs that external producers claim.

A claimed job stays in its queue until its answer has ended, so that it counts for the limits and in
lists. What holds it is the lease in the record of its generation (core/external_producer.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from hub.core.channel import Channel, channel_for


class ClaimedJob(NamedTuple):
    """A job that was taken from its queue. The fields are those of the job (core/fair_queue.py)."""

    generation: str
    user: str
    upstream: str
    topic: str | None = None

    @property
    def channel(self) -> Channel:
        """The channel that has the events of the generation."""
        return channel_for(self.user, self.topic)


class JobClaims(Protocol):
    """Every method is atomic and raises BrokerUnavailable."""

    async def take(self, queue: str, count: int) -> Sequence[ClaimedJob]:
        """Take at most `count` jobs that nobody has taken. Return at once."""
        ...

    async def unattended(self, queue: str, count: int) -> Sequence[ClaimedJob]:
        """Return taken jobs that nobody has looked at for the lease of a worker: each one to one
        caller, who is to see whether its generation still needs it.
        """
        ...

    async def give_back(self, generation: str) -> None:
        """Let a taken job be taken again."""
        ...

    async def recall(self, claim: str) -> bytes | None:
        """Return what was remembered of a claim."""
        ...

    async def remember(self, claim: str, before: bytes | None, value: bytes) -> bytes:
        """Remember the result of a claim, if nobody has changed it; return what is remembered.

        before: what `recall` has returned.
        """
        ...
