"""A link to one of the hub's listeners: calls that are repeated where that is safe, and streams.

What aiohttp raises ends here; beyond it there is only HubClientError.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, Protocol, TypeVar
from weakref import WeakSet

import aiohttp

from hub.client.errors import HubClientError, HubUnreachable, Unauthorized, error_from_response
from hub.client.request import Request
from hub.client.retry_policy import RetryPolicy
from hub.client.tokens import Tokens

T = TypeVar("T")


class Closable(Protocol):
    """What holds a connection of the link."""

    def close(self) -> None: ...


class Opened(NamedTuple):
    """A stream, and the token that it was opened with."""

    response: aiohttp.ClientResponse
    token: str | None


class HttpClient:
    """Of one URL, with the secret that its requests carry."""

    def __init__(
        self, session: aiohttp.ClientSession, url: str, tokens: Tokens, patience: RetryPolicy
    ) -> None:
        self._session = session
        self._url = url.rstrip("/")
        self.tokens = tokens
        self.patience = patience
        self.streams: WeakSet[Closable] = WeakSet()

    def close(self) -> None:
        """Ends the connections of all its streams."""
        for stream in tuple(self.streams):
            stream.close()

    async def send(self, call: Request[T]) -> T:
        """Makes a call, again where that may help. Raises HubClientError."""
        await asyncio.sleep(call.wait_seconds)
        tried, renewed = 0, False
        while True:
            token = await self.tokens.current()
            try:
                return await self._send_once(call, token)
            except Unauthorized:
                if renewed or not self.tokens.renewable:
                    raise
                self.tokens.void(token)
                renewed = True
            except HubClientError as error:
                tried += 1
                wait = self.patience.wait_seconds(error, tried)
                if wait is None:
                    raise
                await asyncio.sleep(wait)

    async def open_stream(self, call: Request[Any]) -> Opened:
        """An answer that streams, its headers read. Raises HubClientError."""
        token = await self.tokens.current()
        try:
            return Opened(await self._open_once(call, token), token)
        except Unauthorized:
            if not self.tokens.renewable:
                raise
        self.tokens.void(token)
        token = await self.tokens.current()
        return Opened(await self._open_once(call, token), token)

    async def _send_once(self, call: Request[T], token: str | None) -> T:
        timeout = aiohttp.ClientTimeout(total=self.patience.timeout_seconds)
        async with (
            self._exchange(call.path),
            await self._request(call, token, {}, timeout) as response,
        ):
            await _check(response)
            return call.answer(self._url + call.path, await response.read())

    async def _open_once(self, call: Request[Any], token: str | None) -> aiohttp.ClientResponse:
        accepted = {"Accept": "text/event-stream"}
        no_limit = aiohttp.ClientTimeout(total=None)
        async with self._exchange(call.path):
            async with asyncio.timeout(self.patience.timeout_seconds):
                response = await self._request(call, token, accepted, no_limit)
                try:
                    await _check(response)
                    if response.content_type != "text/event-stream":
                        place = f"{self._url}{call.path}".partition("?")[0]
                        raise HubClientError(
                            f"what answers at {place} is no stream of a hub: "
                            f"{response.content_type}"
                        )
                except BaseException:
                    response.close()
                    raise
            return response

    async def _request(
        self,
        call: Request[Any],
        token: str | None,
        accepted: dict[str, str],
        timeout: aiohttp.ClientTimeout,
    ) -> aiohttp.ClientResponse:
        headers = {**accepted, **call.headers()}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        url = self._url + call.path
        return await self._session.request(
            call.method, url, data=call.body, headers=headers, timeout=timeout
        )

    @asynccontextmanager
    async def _exchange(self, path: str) -> AsyncIterator[None]:
        try:
            yield
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            place = f"{self._url}{path}".partition("?")[0]
            raise HubUnreachable(f"no hub answers at {place}: {_reason(error)}") from error


async def _check(response: aiohttp.ClientResponse) -> None:
    if response.status >= 300:
        body = await response.read()
        retry_after = response.headers.get("Retry-After")
        raise error_from_response(response.status, response.reason or "", retry_after, body)


def _reason(error: BaseException) -> str:
    if isinstance(error, aiohttp.ClientConnectorError):
        return error.os_error.strerror or "no connection"
    return str(error) or type(error).__name__
