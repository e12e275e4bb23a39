"""A link of SyncHubClient to the internal listener: calls over connections that wait for the next.

Rules:
1. Threads may share one: a connection is in use by one call at a time, and waits for the next in a
   deque whose ends are atomic; there is no lock that a fork could leave held.
2. No connection is used by two processes: each waiting one remembers which process made it.
3. One that the hub closed meanwhile costs no try: it is replaced.
"""

from __future__ import annotations

import http.client
import os
import time
from collections import deque
from contextlib import suppress
from typing import Final, NamedTuple, TypeVar

from hub.client.errors import HubClientError, HubUnreachable, error_from_response
from hub.client.request import Request
from hub.client.retry_policy import RetryPolicy
from hub.client.url import parse_url

T = TypeVar("T")
_MOST_IDLE: Final = 8
_MOST_IDLE_SECONDS: Final = 10.0  # less than servers and proxies keep one


class _Idle(NamedTuple):
    connection: http.client.HTTPConnection
    process: int
    since: float


class SyncHttpClient:
    """Of one URL, with the key that its requests carry. Raises ValueError for what is no URL."""

    def __init__(self, internal_url: str, key: str | None, patience: RetryPolicy) -> None:
        parts = parse_url(internal_url, "internal_url")
        secure = parts.scheme == "https"
        self._kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        self._host, self._port = parts.hostname or "", parts.port
        self._prefix = parts.path.rstrip("/")
        self._place = internal_url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {key.strip()}"} if key else {}
        self.patience = patience
        self._idle: deque[_Idle] = deque()

    def close(self) -> None:
        """Closes the connections that wait; a later call opens another."""
        with suppress(IndexError):
            while True:
                self._idle.pop().connection.close()

    def send(self, call: Request[T]) -> T:
        """Makes a call, again where that may help. Raises HubClientError."""
        time.sleep(call.wait_seconds)
        tried = 0
        while True:
            try:
                return self._exchange(call)
            except HubClientError as error:
                tried += 1
                wait = self.patience.wait_seconds(error, tried)
                if wait is None:
                    raise
            time.sleep(wait)

    def _exchange(self, call: Request[T]) -> T:
        connection = self._take_idle()
        if connection is not None:
            try:
                return self._exchange_over(connection, call)
            except HubUnreachable as error:
                if not isinstance(error.__cause__, ConnectionError):
                    raise
        return self._exchange_over(self._connected(), call)

    def _exchange_over(self, connection: http.client.HTTPConnection, call: Request[T]) -> T:
        headers = self._headers | call.headers()
        try:
            connection.request(call.method, self._prefix + call.path, call.body, headers)
            response = connection.getresponse()
            body = response.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise self._unreachable(error) from error
        except BaseException:
            connection.close()  # half an exchange, as a Celery time limit leaves it
            raise
        if response.will_close:
            connection.close()
        else:
            self._put_idle(connection)
        if response.status >= 300:
            retry_after = response.headers.get("Retry-After")
            raise error_from_response(response.status, response.reason, retry_after, body)
        return call.answer(self._place + call.path, body)

    def _connected(self) -> http.client.HTTPConnection:
        connection = self._kind(self._host, self._port, timeout=self.patience.timeout_seconds)
        try:
            connection.connect()
        except OSError as error:
            connection.close()
            raise self._unreachable(error) from error
        return connection

    def _take_idle(self) -> http.client.HTTPConnection | None:
        """One that waits, if this process made it and it is fresh; others are closed, which sends
        nothing over a socket that another process has, too.
        """
        with suppress(IndexError):
            while True:
                idle = self._idle.pop()
                age_seconds = time.monotonic() - idle.since
                if idle.process == os.getpid() and age_seconds < _MOST_IDLE_SECONDS:
                    return idle.connection
                idle.connection.close()
        return None

    def _put_idle(self, connection: http.client.HTTPConnection) -> None:
        if len(self._idle) < _MOST_IDLE:
            self._idle.append(_Idle(connection, os.getpid(), time.monotonic()))
        else:
            connection.close()

    def _unreachable(self, error: Exception) -> HubUnreachable:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        return HubUnreachable(f"no hub answers at {self._place}: {reason or type(error).__name__}")
