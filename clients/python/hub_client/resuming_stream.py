"""An event stream that reconnects: after each interruption it resumes at its cursor.

Invariants:
1. The cursor moves only with complete events. Everything after it has not been returned yet.
2. The stream does not reconnect before the time that the hub (`retry:`, `retry_ms` of `hub.bye`)
   and the growing delays of the retry policy allow.
3. Cancelling `next` loses no event. `next` can be called again.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, Self

import aiohttp
import msgspec

from hub_client.errors import HubClientError, HubUnreachable, NotAHub, StreamEnded
from hub_client.http import HttpClient
from hub_client.request import Request
from hub_client.sse_decoder import ServerSentEvent, SseDecoder, StreamTooLarge

_MIN_SILENCE_SECONDS: Final = 30.0  # the connection is dead after a silence of several heartbeats
_STABLE_SECONDS: Final = 2.0  # a connection that breaks earlier, without an event, is a failure
_RETRYABLE_STATUS: Final = frozenset({408, 425, 429})  # and all from 500 on
_log = logging.getLogger("hub_client")


class _Bye(msgspec.Struct):
    reason: str
    reconnect: bool
    retry_ms: int


class _Open(msgspec.Struct):
    heartbeat_seconds: float = 8.0


class ResumingStream:
    """Read events over any number of connections.

    build_request: builds the request for the events after a cursor; None means the first request.
    """

    def __init__(
        self, client: HttpClient, build_request: Callable[[str | None], Request[Any]]
    ) -> None:
        self._response: aiohttp.ClientResponse | None = None  # of the open connection
        self.cursor: str | None = None
        self._client = client
        client.streams.add(self)
        self._build_request = build_request
        self._token: str | None = None  # the token of the open connection
        self._decoder = SseDecoder()  # of the open connection
        self._received: deque[ServerSentEvent] = deque()  # complete events, not yet returned
        self._final_error: HubClientError | None = None  # raised after the received events
        self._wrong_responses = 0  # consecutive responses of servers that are no hub
        self._failures = 0  # consecutive failures, without an event of the log between them
        self._opened_at = 0.0  # event loop time
        self._retry_seconds = 0.0  # the last `retry:` of the stream
        self._reconnect_at = 0.0  # event loop time
        self._max_silence_seconds = _MIN_SILENCE_SECONDS

    async def next(self) -> ServerSentEvent:
        """Return the next event, `hub.bye` included. Wait for it without a limit.

        Raise HubClientError when a retry cannot help or the hub asks the client not to reconnect.
        """
        while not self._received:
            if self._final_error is not None:
                raise self._final_error
            if self._response is None:
                await self._connect()
            else:
                await self._read(self._response)
        return self._received.popleft()

    def __del__(self) -> None:
        self.close()  # nothing can read the stream any more

    def close(self) -> None:
        """Close the connection."""
        if self._response is not None:
            self._response.close()
            self._response = None

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(self._reconnect_at - loop.time())
        try:
            opened = await self._client.open_stream(self._build_request(self.cursor))
        except HubClientError as error:
            if not _is_retryable(error) or self._is_no_hub(error):
                raise
            self._on_interruption(str(error), error.retry_after_seconds or 0.0)
            return
        self._wrong_responses = 0
        self._response, self._token = opened
        self._opened_at = loop.time()
        self._decoder = SseDecoder()

    def _is_no_hub(self, error: HubClientError) -> bool:
        """Return whether so many responses came from another server that the URL must be wrong."""
        self._wrong_responses = self._wrong_responses + 1 if isinstance(error, NotAHub) else 0
        return self._wrong_responses >= self._client.retry_policy.max_attempts

    async def _read(self, response: aiohttp.ClientResponse) -> None:
        try:
            async with asyncio.timeout(self._max_silence_seconds):
                chunk = await response.content.readany()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self._on_interruption(str(error) or type(error).__name__)
            return
        try:
            events = self._decoder.feed(chunk)
        except StreamTooLarge as error:
            events = list(error.events)
            self._final_error = HubClientError(f"the stream cannot be decoded: {error}")
        for event in events:
            self._on_event(event)
        if self._final_error is not None:
            self.close()
        elif not chunk:
            self._on_interruption("the response ended")

    def _on_event(self, event: ServerSentEvent) -> None:
        if event.name != "hub.open":
            self._failures = 0
        self.cursor = event.id or self.cursor
        if event.retry_ms is not None:
            self._retry_seconds = event.retry_ms / 1000
        self._received.append(event)
        if event.name == "hub.open":
            heartbeat_seconds = msgspec.json.decode(event.data, type=_Open).heartbeat_seconds
            self._max_silence_seconds = max(_MIN_SILENCE_SECONDS, 3 * heartbeat_seconds)
        elif event.name == "hub.bye":
            self._on_bye(msgspec.json.decode(event.data, type=_Bye))

    def _on_bye(self, bye: _Bye) -> None:
        if bye.reason == "expired" and self._client.tokens.renewable:
            self._client.tokens.invalidate(self._token)
            self._schedule_reconnect(0.0)
        elif bye.reconnect:
            if bye.reason == "trimmed":
                self.cursor = None  # the stream of a generation begins again, with a snapshot
            self._schedule_reconnect(bye.retry_ms / 1000)
        else:
            self._final_error = StreamEnded(bye.reason)
        self.close()

    def _on_interruption(self, reason: str, retry_after_seconds: float = 0.0) -> None:
        open_seconds = asyncio.get_running_loop().time() - self._opened_at
        if self._response is not None and open_seconds >= _STABLE_SECONDS:
            self._failures = 0
        self._failures += 1
        delay_seconds = self._client.retry_policy.delay_seconds(self._failures)
        _log.info("the stream is not connected (%s); the client tries again", reason)
        self._schedule_reconnect(max(delay_seconds, retry_after_seconds, self._retry_seconds))
        self.close()

    def _schedule_reconnect(self, seconds: float) -> None:
        """Set the time of the next connection: not earlier, and spread over the clients."""
        jittered_seconds = seconds * random.uniform(1.0, 1.25)
        self._reconnect_at = asyncio.get_running_loop().time() + jittered_seconds


class StreamReader:
    """Base class of EventStream and Answer: both read one ResumingStream."""

    _stream: ResumingStream

    async def aclose(self) -> None:
        """Close the connection. Reading again opens a new one."""
        self._stream.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()


def _is_retryable(error: HubClientError) -> bool:
    """Return whether the cause may be temporary, such as the 502 of a proxy."""
    return (
        isinstance(error, HubUnreachable)
        or error.status in _RETRYABLE_STATUS
        or error.status >= 500
    )
