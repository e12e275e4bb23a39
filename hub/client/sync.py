"""SyncHubClient: publishing from scripts, Django and Celery, without an event loop.

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
from collections.abc import Iterable
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, NamedTuple, Self, TypeVar

from hub.client.address import address
from hub.client.call import Call
from hub.client.errors import HubClientError, HubUnreachable, refusal
from hub.client.patience import Patience
from hub.client.presence import (
    Node,
    Presence,
    StoredEvents,
    disconnect_call,
    nodes_call,
    presence_call,
    revoke_call,
    stored_events_call,
)
from hub.client.publishing import (
    Publication,
    Published,
    PublishResult,
    To,
    publish_call,
    publish_many_steps,
)

T = TypeVar("T")
_MOST_IDLE: Final = 8
_MOST_IDLE_SECONDS: Final = 10.0  # less than servers and proxies keep one


class _Idle(NamedTuple):
    connection: http.client.HTTPConnection
    process: int
    since: float


class SyncHubClient:
    """`hub = SyncHubClient(internal_url, key)`, one for the whole program; its calls block, and
    raise HubClientError. In a view that must not wait: `patience=Patience(tries=1,
    timeout_seconds=2)`.
    """

    def __init__(
        self, internal_url: str, key: str | None = None, *, patience: Patience | None = None
    ) -> None:
        parts = address(internal_url, "internal_url")
        secure = parts.scheme == "https"
        self._kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        self._host, self._port = parts.hostname or "", parts.port
        self._prefix = parts.path.rstrip("/")
        self._place = internal_url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._patience = patience or Patience()
        self._idle: deque[_Idle] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections that wait; a later call opens another."""
        with suppress(IndexError):
            while True:
                self._idle.pop().connection.close()

    def publish(
        self,
        to: To,
        event: str = "notification",
        data: Any = None,
        *,
        idempotency_key: str | None = None,
        ephemeral: bool = False,
        ttl_seconds: float | None = None,
    ) -> list[Published]:
        """As HubClient.publish."""
        item = Publication(to, event, data, idempotency_key, ephemeral, ttl_seconds)
        return self._send(publish_call(item))

    def publish_many(self, items: Iterable[Publication]) -> list[PublishResult]:
        """As HubClient.publish_many."""
        steps = publish_many_steps(items, self._patience)
        try:
            call = next(steps)
            while True:
                try:
                    results = self._send(call)
                except HubClientError as error:
                    call = steps.throw(error)
                else:
                    call = steps.send(results)
        except StopIteration as end:
            every: list[PublishResult] = end.value
            return every

    def presence(self, user: str | None = None, *, limit: int = 100) -> Presence:
        """As HubClient.presence."""
        return self._send(presence_call(user, limit))

    def nodes(self) -> list[Node]:
        """As HubClient.nodes."""
        return self._send(nodes_call())

    def stored_events(
        self, user: str, *, after: str | None = None, limit: int = 100
    ) -> StoredEvents:
        """As HubClient.stored_events."""
        return self._send(stored_events_call(user, after, limit))

    def disconnect(self, user: str, *, block_seconds: float = 0.0) -> float | None:
        """As HubClient.disconnect."""
        return self._send(disconnect_call(user, block_seconds))

    def revoke(self, jti: str, expires_at: float) -> None:
        """As HubClient.revoke."""
        self._send(revoke_call(jti, expires_at))

    def _send(self, call: Call[T]) -> T:
        time.sleep(call.wait_seconds)
        tried = 0
        while True:
            try:
                return self._exchange(call)
            except HubClientError as error:
                tried += 1
                wait = self._patience.wait_seconds(error, tried, repeatable=call.repeatable)
                if wait is None:
                    raise
            time.sleep(wait)

    def _exchange(self, call: Call[T]) -> T:
        connection = self._take_idle() if call.repeatable else None
        if connection is not None:
            try:
                return self._exchange_over(connection, call)
            except HubUnreachable as error:
                if not isinstance(error.__cause__, ConnectionError):
                    raise
        return self._exchange_over(self._connected(), call)

    def _exchange_over(self, connection: http.client.HTTPConnection, call: Call[T]) -> T:
        headers = dict(self._headers)
        if call.body is not None:
            headers["Content-Type"] = call.content_type
        try:
            connection.request(call.method, self._prefix + call.path, call.body, headers)
            response = connection.getresponse()
            body = response.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise self._unreachable(error, sent=True) from error
        except BaseException:
            connection.close()  # half an exchange, as a Celery time limit leaves it
            raise
        if response.will_close:
            connection.close()
        else:
            self._put_idle(connection)
        if response.status >= 300:
            retry_after = response.headers.get("Retry-After")
            raise refusal(response.status, response.reason, retry_after, body)
        return call.answer(self._place + call.path, body)

    def _connected(self) -> http.client.HTTPConnection:
        connection = self._kind(self._host, self._port, timeout=self._patience.timeout_seconds)
        try:
            connection.connect()
        except OSError as error:
            connection.close()
            raise self._unreachable(error, sent=False) from error
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

    def _unreachable(self, error: Exception, *, sent: bool) -> HubUnreachable:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        return HubUnreachable(
            f"no hub answers at {self._place}: {reason or type(error).__name__}", sent=sent
        )
