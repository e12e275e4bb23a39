"""Token usage of answers, summed by day, user and model."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from hub.engine.attempt import GenerationResult
from hub.ports.usage import UsageStore, UsageTotals


def build_usage_totals(result: GenerationResult) -> UsageTotals:
    """Return the totals of one answer, on the day on which it ended (UTC)."""
    request, usage = result.generation.request, result.usage
    prompt, completion = _count(usage, "prompt_tokens"), _count(usage, "completion_tokens")
    return UsageTotals(
        day=time.strftime("%Y-%m-%d", time.gmtime()),
        user=result.generation.user,
        model=request.model,
        answers=1,
        answers_without_usage=int(prompt is None and completion is None),
        prompt_tokens=prompt or 0,
        completion_tokens=completion or 0,
    )


class UsageRecorder:
    """Stores the usage of each answer.

    The totals miss an answer whose worker is killed between its end event and the storing. They are
    statistics; the end events are exact.
    """

    def __init__(self, store: UsageStore) -> None:
        self._store = store

    async def record(self, result: GenerationResult) -> None:
        """Store the usage of one ended answer. Raise BrokerUnavailable."""
        if result.first_delta_seconds is not None or result.usage:
            await self._store.add(build_usage_totals(result))


def _count(usage: Mapping[str, Any] | None, name: str) -> int | None:
    number = (usage or {}).get(name)
    return number if isinstance(number, int) and number >= 0 else None
