"""The control stream of an answer, for programs without an event loop.

A thread reads it, so that a stop and a lost lease reach a producer that waits. The stream
reconnects after each interruption; while it is away, the next post tells of a stop.
"""

from __future__ import annotations

import threading
from typing import Final

import msgspec

from hub_client.errors import HubClientError, HubUnavailable, HubUnreachable, TooManyRequests
from hub_client.producing import Delivery, control_request
from hub_client.sse_decoder import ServerSentEvent, SseDecoder
from hub_client.sync_http import SyncHttpClient, SyncStream, run_blocking

_MIN_STATUS_OF_SERVERS: Final = 500


class _Bye(msgspec.Struct, frozen=True):
    reconnect: bool = True
    retry_ms: float = 0.0


class SyncControlStream:
    """Follows the control stream of an attempt until the attempt is over, or `close`.

    changed: guards the delivery, and is notified when a signal has come.
    """

    def __init__(
        self, http: SyncHttpClient, delivery: Delivery, changed: threading.Condition
    ) -> None:
        self._http = http
        self._delivery = delivery
        self._changed = changed
        self._closed = threading.Event()
        self._lock = threading.Lock()  # guards the stream
        self._stream: SyncStream | None = None
        self._failures = 0

    def start(self) -> None:
        """Follow the stream in a thread, which does not keep the process from ending."""
        threading.Thread(target=self._run, name="hub producer control", daemon=True).start()

    def close(self) -> None:
        """End the stream, also while it waits for the hub."""
        self._closed.set()
        with self._lock:
            if self._stream is not None:
                self._stream.interrupt()

    def _run(self) -> None:
        while not self._closed.is_set() and not self._delivery.is_over:
            try:
                delay_seconds = self._follow()
            except HubClientError as error:
                if not _is_retryable(error):
                    self._on_final_error(error)
                    return
                delay_seconds = error.retry_after_seconds or 0.0
            if delay_seconds is None:
                return
            self._failures += 1
            growing_seconds = self._http.retry_policy.delay_seconds(self._failures)
            self._closed.wait(max(delay_seconds, growing_seconds))

    def _follow(self) -> float | None:
        """Read one response to its end. Return the least delay before the next one, None for none.

        Raise HubClientError.
        """
        stream = run_blocking(self._http.open_stream(control_request(self._delivery.attempt)))
        with self._lock:
            self._stream = stream
        try:
            decoder = SseDecoder()
            while not self._closed.is_set():
                data = stream.read()
                if not data:
                    break
                for event in decoder.feed(data):
                    self._failures = 0
                    if event.name == "hub.bye":
                        bye = msgspec.json.decode(event.data, type=_Bye)
                        return bye.retry_ms / 1000 if bye.reconnect else None
                    self._on_event(event)
        finally:
            with self._lock:
                self._stream = None
            stream.close()
        return 0.0

    def _on_event(self, event: ServerSentEvent) -> None:
        with self._changed:
            self._delivery.on_signal(event.name, event.data)
            self._changed.notify_all()

    def _on_final_error(self, error: HubClientError) -> None:
        with self._changed:
            self._delivery.on_control_error(error)
            self._changed.notify_all()


def _is_retryable(error: HubClientError) -> bool:
    is_temporary = isinstance(error, (HubUnreachable, HubUnavailable, TooManyRequests))
    return is_temporary or error.status >= _MIN_STATUS_OF_SERVERS
