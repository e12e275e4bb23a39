"""HTTP with blocking sockets: requests to a listener over kept-alive connections.

Invariants:
1. Threads may share one SyncHttpClient. A connection serves one request at a time; idle ones wait
   in a deque whose ends are atomic, so there is no lock that a fork could leave locked.
2. No two processes use the same connection: every idle one remembers the process that opened it.
3. An idle connection that the hub has closed meanwhile is replaced, which counts as no attempt.
"""

from __future__ import annotations

import http.client
import os
import socket
import time
from collections import deque
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, Final, NamedTuple, TypeVar

from hub_client.errors import HubUnreachable, error_from_response, unreachable_error
from hub_client.request import Request, parse_url
from hub_client.retry_policy import RetryPolicy, send_with_retries

T = TypeVar("T")
_MAX_IDLE: Final = 8
_READ_BYTES: Final = 64 * 1024
_MAX_SILENCE_SECONDS: Final = 30.0  # the hub sends heartbeats at least as often
_MAX_IDLE_SECONDS: Final = 10.0  # servers and proxies keep an idle connection for longer


def run_blocking(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine without an event loop and return its result.

    The coroutine must never suspend: all that it awaits in the end is a SyncHttpClient, whose
    coroutines block.
    """
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    coroutine.close()
    raise RuntimeError("a coroutine of the blocking client has suspended")


class _IdleConnection(NamedTuple):
    connection: http.client.HTTPConnection
    process_id: int
    since: float  # time.monotonic()


class SyncStream:
    """The response of an event stream, which one thread reads."""

    def __init__(
        self,
        connection: http.client.HTTPConnection,
        response: http.client.HTTPResponse,
        sock: socket.socket,
    ) -> None:
        self._connection = connection
        self._response = response
        self._sock = sock

    def read(self) -> bytes:
        """Wait for bytes and return them; none at the end, after `interrupt`, and when the
        connection is lost or silent.
        """
        try:
            return self._response.read1(_READ_BYTES)
        except (OSError, ValueError, http.client.HTTPException):
            return b""

    def interrupt(self) -> None:
        """End the read of another thread."""
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the connection."""
        self._response.close()
        self._connection.close()


class SyncHttpClient:
    """Sends requests to one URL, each with the key. Its coroutines block: see `run_blocking`.

    key: an API key, or a user's token. argument: the name of the URL, for the error.
    Raise ValueError when the URL is wrong.
    """

    def __init__(
        self,
        url: str,
        key: str | None,
        retry_policy: RetryPolicy,
        *,
        argument: str = "internal_url",
    ) -> None:
        parts = parse_url(url, argument)
        secure = parts.scheme == "https"
        self._connection_type = (
            http.client.HTTPSConnection if secure else http.client.HTTPConnection
        )
        self._host, self._port = parts.hostname or "", parts.port
        self._path_prefix = parts.path.rstrip("/")
        self._key = key
        self._url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {key.strip()}"} if key else {}
        self.retry_policy = retry_policy
        self._idle: deque[_IdleConnection] = deque()

    def close(self) -> None:
        """Close the idle connections. A later request opens a new one."""
        with suppress(IndexError):
            while True:
                self._idle.pop().connection.close()

    def with_policy(self, policy: RetryPolicy) -> SyncHttpClient:
        """Return a client of the same URL that retries in another way, with own connections."""
        return SyncHttpClient(self._url, self._key, policy)

    async def send(self, request: Request[T]) -> T:
        """Send a request, retry it as the policy says, and return its result.

        Raise HubClientError.
        """

        async def attempt() -> T:
            return self._send_once(request)

        return await send_with_retries(attempt, self.retry_policy, self.sleep)

    async def open_stream(self, request: Request[Any]) -> SyncStream:
        """Open an event stream, without retries, and return it when its headers have arrived.

        Raise HubClientError.
        """
        connection = self._open_connection()
        sock = connection.sock
        headers = self._headers | request.headers() | {"Accept": "text/event-stream"}
        try:
            connection.request(
                request.method, self._path_prefix + request.path, request.body, headers
            )
            response = connection.getresponse()
            if response.status >= 300:
                retry_after = response.headers.get("Retry-After")
                body = response.read()
                url = self._url + request.path.partition("?")[0]
                raise error_from_response(url, response.status, response.reason, retry_after, body)
            sock.settimeout(_MAX_SILENCE_SECONDS)
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise self._unreachable(error) from error
        except BaseException:
            connection.close()
            raise
        return SyncStream(connection, response, sock)

    async def sleep(self, seconds: float) -> None:
        """Block the thread."""
        time.sleep(seconds)  # noqa: ASYNC251 - no event loop runs this coroutine

    def _send_once(self, request: Request[T]) -> T:
        connection = self._take_idle()
        if connection is not None:
            try:
                return self._send_over(connection, request)
            except HubUnreachable as error:
                if not isinstance(error.__cause__, ConnectionError):
                    raise
        return self._send_over(self._open_connection(), request)

    def _send_over(self, connection: http.client.HTTPConnection, request: Request[T]) -> T:
        headers = self._headers | request.headers()
        try:
            connection.request(
                request.method, self._path_prefix + request.path, request.body, headers
            )
            response = connection.getresponse()
            body = response.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise self._unreachable(error) from error
        except BaseException:
            connection.close()  # interrupted in the middle, for example by a Celery time limit
            raise
        if response.will_close:
            connection.close()
        else:
            self._put_idle(connection)
        if response.status >= 300:
            retry_after = response.headers.get("Retry-After")
            url = self._url + request.path.partition("?")[0]
            raise error_from_response(url, response.status, response.reason, retry_after, body)
        return request.parse_response(self._url + request.path, body)

    def _open_connection(self) -> http.client.HTTPConnection:
        timeout_seconds = self.retry_policy.timeout_seconds
        connection = self._connection_type(self._host, self._port, timeout=timeout_seconds)
        try:
            connection.connect()
        except OSError as error:
            connection.close()
            raise self._unreachable(error) from error
        return connection

    def _take_idle(self) -> http.client.HTTPConnection | None:
        """Return an idle connection of this process that is not too old, or None.

        Connections that are too old or belong to another process are closed. Closing sends nothing
        over a socket that another process still has open.
        """
        with suppress(IndexError):
            while True:
                idle = self._idle.pop()
                idle_seconds = time.monotonic() - idle.since
                if idle.process_id == os.getpid() and idle_seconds < _MAX_IDLE_SECONDS:
                    return idle.connection
                idle.connection.close()
        return None

    def _put_idle(self, connection: http.client.HTTPConnection) -> None:
        if len(self._idle) < _MAX_IDLE:
            self._idle.append(_IdleConnection(connection, os.getpid(), time.monotonic()))
        else:
            connection.close()

    def _unreachable(self, error: Exception) -> HubUnreachable:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        reason = reason or type(error).__name__
        return unreachable_error(self._url, reason, error)
