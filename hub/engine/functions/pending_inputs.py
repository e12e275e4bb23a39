"""The inputs for which the functions of one worker wait.

A node stores the value and notifies all workers; a worker reads the value from the record, also at
intervals, because a notice may get lost. When nobody has answered in time, the worker publishes
that the input has expired, and the store decides which came first.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import structlog

from hub.core.generation import Generation
from hub.core.inputs import InputAnswer, InputRequest
from hub.engine.generations.input_events import (
    expired,
    publish_answer,
    publish_request,
    show_answer,
)
from hub.errors import BrokerUnavailable
from hub.ports.events import EventWriter, Outcome
from hub.ports.generations import GenerationStore

_RETRY_SECONDS: Final = 0.2
_log = structlog.get_logger(__name__)


class PendingInputs:
    """Waits for values. check_seconds: how often the record is read without a notice.

    now: the time in Unix seconds.
    """

    def __init__(
        self,
        events: EventWriter,
        store: GenerationStore,
        *,
        check_seconds: float,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._events = events
        self._store = store
        self._check_seconds = check_seconds
        self._now = now
        self._waits: dict[str, set[asyncio.Event]] = {}  # by generation

    def notify(self, generation: str) -> None:
        """Look at the inputs of a generation for which somebody waits."""
        for changed in self._waits.get(generation, ()):
            changed.set()

    async def wait(self, record: Generation, key: str) -> InputAnswer:
        """Return what becomes of an input, after the publish that has asked for it.

        Its approvers get the request first.
        """
        changed = asyncio.Event()
        waits = self._waits.setdefault(record.id, set())
        waits.add(changed)
        try:
            while True:
                try:
                    return await self._wait(record, key, changed)
                except BrokerUnavailable as error:
                    _log.warning("input.broker_unavailable", generation=record.id, error=str(error))
                    await asyncio.sleep(_RETRY_SECONDS)
        finally:
            waits.discard(changed)
            if not waits and self._waits.get(record.id) is waits:
                del self._waits[record.id]

    async def _wait(self, record: Generation, key: str, changed: asyncio.Event) -> InputAnswer:
        is_shown = False  # whether the approvers have the request
        while True:
            changed.clear()
            kept = await self._store.find_input(record.id, key)
            stored = None if kept is None else kept.stored
            if stored is not None and stored.answer is not None:
                await show_answer(self._events, record, stored.request, stored.answer)
                return stored.answer
            seconds = self._check_seconds
            if stored is not None:  # otherwise the record is lost, and the relay finds that out
                if not is_shown:
                    await publish_request(self._events, record, stored.request)
                    is_shown = True
                left = stored.request.expires_at - self._now()
                if left > 0:
                    seconds = min(seconds, left)
                elif await self._expire(record, stored.request):
                    continue
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await changed.wait()

    async def _expire(self, record: Generation, request: InputRequest) -> bool:
        """Publish that nobody has answered in time, and return whether the input has an answer now.

        It has none if the generation has ended, which the relay finds out.
        """
        end = expired(record.id, request.input)
        outcome = await publish_answer(self._events, record, request, end)
        return outcome in (Outcome.WRITTEN, Outcome.DUPLICATE)
