"""What answers used: summed by day, user and model, and counted for those who watch."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from hub.engine.relay import GenerationResult
from hub.ports.usage import UsageStore, UsageTotals


def totals_of(ended: GenerationResult) -> UsageTotals:
    """One answer as a sum, on the day it ended (UTC)."""
    question, usage = ended.generation.request, ended.usage
    prompt, completion = _count(usage, "prompt_tokens"), _count(usage, "completion_tokens")
    return UsageTotals(
        day=time.strftime("%Y-%m-%d", time.gmtime()),
        user=ended.generation.user,
        model=question.model,
        answers=1,
        answers_without_usage=int(prompt is None and completion is None),
        prompt_tokens=prompt or 0,
        completion_tokens=completion or 0,
    )


class UsageRecorder:
    """Writes down what each answer used. A worker that is killed between an answer's end and this
    leaves it out: sums are for looking at, the end events are exact.
    """

    def __init__(self, ledger: UsageStore) -> None:
        self._ledger = ledger

    async def record(self, result: GenerationResult) -> None:
        """One answer has ended. Raises BrokerUnavailable."""
        if result.first_delta_seconds is not None or result.usage:
            await self._ledger.add(totals_of(result))


def _count(usage: Mapping[str, Any] | None, name: str) -> int | None:
    number = (usage or {}).get(name)
    return number if isinstance(number, int) and number >= 0 else None
