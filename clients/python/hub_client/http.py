"""HTTP with asyncio: requests that are retried, event streams, and the token that they carry.

Exceptions of aiohttp do not leave this module: callers see HubClientError only.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, Protocol, TypeVar
from weakref import WeakSet

import aiohttp

from hub_client.errors import NotAHub, Unauthorized, error_from_response, unreachable_error
from hub_client.request import Request
from hub_client.retry_policy import RetryPolicy, send_with_retries

T = TypeVar("T")
_EVENT_STREAM = "text/event-stream"

Token = str | Callable[[], str | Awaitable[str]] | None
"""A user's JWT, or a callable, plain or async, that returns one.

The client calls it before the first request, and again whenever the hub no longer accepts the
current token. White space around a token is removed, because a file usually ends with a newline.
"""


class TokenSource:
    """Holds the current token. An exception of the callable reaches the caller of `current`."""

    def __init__(self, source: Token) -> None:
        self._source = source
        self._current = source.strip() if isinstance(source, str) else None
        self._lock = asyncio.Lock()  # held while the callable runs

    @property
    def renewable(self) -> bool:
        """Whether the source can return another token."""
        return callable(self._source)

    async def current(self) -> str | None:
        """Return the current token; call the source when there is none.

        Return None when the client was created without a token.
        """
        if self._current is None and callable(self._source):
            async with self._lock:  # concurrent requests call the source once
                if self._current is None:
                    result = self._source()
                    token = await result if inspect.isawaitable(result) else result
                    self._current = token.strip()
        return self._current

    def invalidate(self, token: str | None) -> None:
        """Forget this token, because the hub no longer accepts it."""
        if self.renewable and self._current == token:
            self._current = None


class Closable(Protocol):
    """An object that holds a connection of an HttpClient."""

    def close(self) -> None: ...


class OpenStream(NamedTuple):
    """The response of an event stream, and the token that it was opened with."""

    response: aiohttp.ClientResponse
    token: str | None


class HttpClient:
    """Sends requests to one listener of the hub, each with the current token."""

    def __init__(
        self, session: aiohttp.ClientSession, url: str, tokens: TokenSource, policy: RetryPolicy
    ) -> None:
        self._session = session
        self._url = url.rstrip("/")
        self.tokens = tokens
        self.retry_policy = policy
        # The streams that use this client, so that `close` can close their connections. The
        # references are weak: a stream that its user dropped closes its connection itself.
        self.streams: WeakSet[Closable] = WeakSet()

    def close(self) -> None:
        """Close the connections of all streams."""
        for stream in tuple(self.streams):
            stream.close()

    def with_policy(self, policy: RetryPolicy) -> HttpClient:
        """Return a client of the same listener that retries in another way."""
        return HttpClient(self._session, self._url, self.tokens, policy)

    async def send(self, request: Request[T]) -> T:
        """Send a request, retry it as the policy says, and return its result.

        Raise HubClientError.
        """

        async def attempt() -> T:
            return await self._with_token(lambda token: self._send_once(request, token))

        return await send_with_retries(attempt, self.retry_policy, self.sleep)

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)

    async def open_stream(self, request: Request[Any]) -> OpenStream:
        """Open an event stream, without retries, and return it when its headers have arrived.

        Raise HubClientError.
        """
        return await self._with_token(lambda token: self._open_once(request, token))

    async def _with_token(self, attempt: Callable[[str | None], Awaitable[T]]) -> T:
        """Call `attempt` with the current token, and once more with a new one after a 401."""
        token = await self.tokens.current()
        try:
            return await attempt(token)
        except Unauthorized:
            if not self.tokens.renewable:
                raise
        self.tokens.invalidate(token)
        return await attempt(await self.tokens.current())

    async def _send_once(self, request: Request[T], token: str | None) -> T:
        timeout = aiohttp.ClientTimeout(total=self.retry_policy.timeout_seconds)
        async with (
            self._translated_errors(request.path),
            await self._request(request, token, {}, timeout) as response,
        ):
            await _raise_for_status(response)
            return request.parse_response(self._url + request.path, await response.read())

    async def _open_once(self, request: Request[Any], token: str | None) -> OpenStream:
        accept = {"Accept": _EVENT_STREAM}
        no_limit = aiohttp.ClientTimeout(total=None)
        async with self._translated_errors(request.path):
            async with asyncio.timeout(self.retry_policy.timeout_seconds):
                response = await self._request(request, token, accept, no_limit)
                try:
                    await _raise_for_status(response)
                    if response.content_type != _EVENT_STREAM:
                        raise NotAHub(
                            f"the server at {self._url_of(request.path)} is not a hub: it sends "
                            f"{response.content_type} instead of an event stream"
                        )
                except BaseException:
                    response.close()
                    raise
            return OpenStream(response, token)

    async def _request(
        self,
        request: Request[Any],
        token: str | None,
        headers: dict[str, str],
        timeout: aiohttp.ClientTimeout,
    ) -> aiohttp.ClientResponse:
        headers = {**headers, **request.headers()}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        url = self._url + request.path
        return await self._session.request(
            request.method, url, data=request.body, headers=headers, timeout=timeout
        )

    @asynccontextmanager
    async def _translated_errors(self, path: str) -> AsyncIterator[None]:
        try:
            yield
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
            raise unreachable_error(self._url_of(path), _reason(cause), cause) from error

    def _url_of(self, path: str) -> str:
        """Return the URL for an error: a query string may hold a cursor, and is left out."""
        return f"{self._url}{path}".partition("?")[0]


async def _raise_for_status(response: aiohttp.ClientResponse) -> None:
    if response.status >= 300:
        body = await response.read()
        retry_after = response.headers.get("Retry-After")
        url = str(response.url.with_query(None))
        raise error_from_response(url, response.status, response.reason or "", retry_after, body)


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError):
        if error.errno and not isinstance(error, (ssl.SSLError, socket.gaierror)):
            return os.strerror(error.errno)  # asyncio writes "Connect call failed" in strerror
        return error.strerror or str(error) or type(error).__name__
    return str(error) or type(error).__name__
