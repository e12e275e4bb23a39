"""Token usage of answers, summed by day, user and model."""

from __future__ import annotations

import time

from hub.core.usage import MAX_MODEL_CHARS, OTHER_MODELS, read_count
from hub.engine.attempts.attempt import GenerationResult
from hub.ports.usage import UsageStore, UsageTotals


def build_usage_totals(result: GenerationResult) -> UsageTotals:
    """Return the totals of one answer, on the day on which it ended (UTC)."""
    request = result.generation.request
    tokens = result.usage or {}
    prompt = read_count(tokens.get("prompt_tokens"))
    completion = read_count(tokens.get("completion_tokens"))
    return UsageTotals(
        day=time.strftime("%Y-%m-%d", time.gmtime()),
        user=result.generation.user or result.generation.channel,
        model=request.model if len(request.model) <= MAX_MODEL_CHARS else OTHER_MODELS,
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
