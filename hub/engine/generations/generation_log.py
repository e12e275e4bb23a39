"""The events of one generation in the log of its channel."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

from hub.core.channel import Channel
from hub.core.cursor import Position
from hub.core.event import Event
from hub.engine.generations.generation_stream import END_EVENTS, data_prefix
from hub.ports.events import EventReader

_PAGE_EVENTS: Final = 200
_PAGE_BYTES: Final = 64 * 1024


class LogTrimmed(Exception):
    """The log does not continue from the position: it was trimmed, or has another epoch."""


async def read_events(
    events: EventReader, channel: Channel, generation: str, after: Position
) -> AsyncGenerator[Event, None]:
    """Yield the stored events of a generation after a position.

    Raise LogTrimmed, BrokerUnavailable.
    """
    prefix = data_prefix(generation)
    while True:
        pages = await events.read({channel: after}, max_events=_PAGE_EVENTS, max_bytes=_PAGE_BYTES)
        page = pages[channel]
        if page.reset_reason is not None:
            raise LogTrimmed
        for event in page.events:
            if event.name.startswith("generation.") and event.data.startswith(prefix):
                yield event
        if page.end == page.head:
            return
        after = page.end


async def ends_after(
    events: EventReader, channel: Channel, generation: str, after: Position
) -> bool:
    """Return whether the end event of a generation is after a position.

    Raise LogTrimmed, BrokerUnavailable.
    """
    async with aclosing(read_events(events, channel, generation, after)) as own_events:
        async for event in own_events:
            if event.name in END_EVENTS:
                return True
    return False
