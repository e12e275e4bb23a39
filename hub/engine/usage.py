"""What answers used: summed by day, user and model, and counted for those who watch."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from hub.engine.relay import Ended
from hub.ports import UsageLedger, UsageSum


def sum_of(ended: Ended) -> UsageSum:
    """One answer as a sum, on the day it ended (UTC)."""
    question, usage = ended.generation.question, ended.usage
    prompt, completion = _count(usage, "prompt_tokens"), _count(usage, "completion_tokens")
    return UsageSum(
        day=time.strftime("%Y-%m-%d", time.gmtime()),
        user=ended.generation.user,
        model=question.model,
        answers=1,
        uncounted=int(prompt is None and completion is None),
        prompt_tokens=prompt or 0,
        completion_tokens=completion or 0,
    )


class Accounts:
    """Writes down what each answer used. A worker that is killed between an answer's end and this
    leaves it out: sums are for looking at, the end events are exact.
    """

    def __init__(self, ledger: UsageLedger) -> None:
        self._ledger = ledger

    async def note(self, ended: Ended) -> None:
        """One answer has ended. Raises BrokerUnavailable."""
        if ended.first_delta_seconds is not None or ended.usage:
            await self._ledger.add(sum_of(ended))


def _count(usage: Mapping[str, Any] | None, name: str) -> int | None:
    number = (usage or {}).get(name)
    return number if isinstance(number, int) and number >= 0 else None
