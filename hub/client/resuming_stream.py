"""A stream that survives its connections: it returns with its cursor after every break.

Rules:
1. The cursor moves with whole events alone, so that what follows it has not been seen.
2. It never returns before its time: `retry:`, `retry_ms` of `hub.bye`, pauses that grow.
3. Cancelling `next` loses nothing; it can be called again.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable
from typing import Any, Final

import aiohttp
import msgspec

from hub.client.errors import HubClientError, HubUnreachable, StreamEnded
from hub.client.http import HttpClient
from hub.client.request import Request
from hub.core.sse_decoder import ServerSentEvent, SseDecoder, StreamTooLarge

_SILENCE_SECONDS: Final = 30.0  # several heartbeats: the link is dead
_STANDS_SECONDS: Final = 2.0  # a stream that broke earlier, without an event, was none
_PASSING: Final = frozenset({408, 425, 429})  # and all from 500 on
_log = logging.getLogger("hub.client")


class _Bye(msgspec.Struct):
    reason: str
    reconnect: bool
    retry_ms: int


class _Open(msgspec.Struct):
    heartbeat_seconds: float = 8.0


class ResumingStream:
    """opening: the request for what follows a cursor."""

    def __init__(self, link: HttpClient, opening: Callable[[str | None], Request[Any]]) -> None:
        self._response: aiohttp.ClientResponse | None = None
        self.cursor: str | None = None
        self._link = link
        link.streams.add(self)
        self._opening = opening
        self._token: str | None = None  # that it was opened with
        self._decoder = SseDecoder()
        self._ready: deque[ServerSentEvent] = deque()
        self._final: HubClientError | None = None  # raised once all before it is handed over
        self._failures = 0  # in a row, without an event of the log
        self._opened_at = 0.0  # the loop's time
        self._retry_seconds = 0.0  # as the stream's `retry:` says
        self._return_at = 0.0  # the loop's time
        self._silence_seconds = _SILENCE_SECONDS

    async def next(self) -> ServerSentEvent:
        """The next event, `hub.bye` included; waits as long as it takes. Raises HubClientError when
        the hub's answer, or its goodbye, is final.
        """
        while not self._ready:
            if self._final is not None:
                raise self._final
            if self._response is None:
                await self._connect()
            else:
                await self._read(self._response)
        return self._ready.popleft()

    def __del__(self) -> None:
        self._drop()  # nobody reads it any more

    def close(self) -> None:
        """Ends the connection."""
        self._drop()

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(self._return_at - loop.time())
        try:
            opened = await self._link.open_stream(self._opening(self.cursor))
        except HubClientError as error:
            if not _passes(error):
                raise
            self._lost(str(error), error.retry_after_seconds or 0.0)
            return
        self._response, self._token = opened
        self._opened_at = loop.time()
        self._decoder = SseDecoder()

    async def _read(self, response: aiohttp.ClientResponse) -> None:
        try:
            async with asyncio.timeout(self._silence_seconds):
                chunk = await response.content.readany()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self._lost(str(error) or type(error).__name__)
            return
        try:
            events = self._decoder.feed(chunk)
        except StreamTooLarge as error:
            events = list(error.events)
            self._final = HubClientError(f"the stream cannot be read: {error}")
        for event in events:
            self._take(event)
        if self._final is not None:
            self._drop()
        elif not chunk:
            self._lost("it ended")

    def _take(self, event: ServerSentEvent) -> None:
        if event.name != "hub.open":
            self._failures = 0
        self.cursor = event.id or self.cursor
        if event.retry_ms is not None:
            self._retry_seconds = event.retry_ms / 1000
        self._ready.append(event)
        if event.name == "hub.open":
            heartbeat = msgspec.json.decode(event.data, type=_Open).heartbeat_seconds
            self._silence_seconds = max(_SILENCE_SECONDS, 3 * heartbeat)
        elif event.name == "hub.bye":
            self._leave(msgspec.json.decode(event.data, type=_Bye))

    def _leave(self, bye: _Bye) -> None:
        if bye.reason == "expired" and self._link.tokens.renewable:
            self._link.tokens.void(self._token)
            self._return_in(0.0)
        elif bye.reconnect:
            if bye.reason == "trimmed":
                self.cursor = None  # an answer's stream begins anew, with a snapshot
            self._return_in(bye.retry_ms / 1000)
        else:
            self._final = StreamEnded(bye.reason)
        self._drop()

    def _lost(self, why: str, asked_seconds: float = 0.0) -> None:
        stood_seconds = asyncio.get_running_loop().time() - self._opened_at
        if self._response is not None and stood_seconds >= _STANDS_SECONDS:
            self._failures = 0
        self._failures += 1
        pause = self._link.patience.delay_seconds(self._failures)
        _log.info("the stream broke off (%s); it is resumed", why)
        self._return_in(max(pause, asked_seconds, self._retry_seconds))
        self._drop()

    def _return_in(self, seconds: float) -> None:
        """Never before its time, and not all clients at once."""
        spread = seconds * random.uniform(1.0, 1.25)
        self._return_at = asyncio.get_running_loop().time() + spread

    def _drop(self) -> None:
        if self._response is not None:
            self._response.close()
            self._response = None


def _passes(error: HubClientError) -> bool:
    """Whether it may pass by itself, as a proxy's 502 does."""
    return isinstance(error, HubUnreachable) or error.status in _PASSING or error.status >= 500
