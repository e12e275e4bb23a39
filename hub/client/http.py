"""HubClient: the hub's HTTP as calls, and its stream as an iterator that resumes by itself."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from types import TracebackType
from typing import Any, Final, Self

import aiohttp
import msgspec

from hub.core.sse_decoder import ServerSentEvent, SseDecoder, StreamTooLarge

_FIRST_PAUSE_SECONDS: Final = 0.2
_LONGEST_PAUSE_SECONDS: Final = 10.0
_SILENCE_SECONDS: Final = 30.0  # several heartbeats: the link is dead
_FINAL: Final = frozenset({400, 401, 403, 404, 405})


class HubClientError(Exception):
    """The hub refused, or cannot be reached; the message is the hub's own sentence.

    status: the HTTP status, 0 when there was no answer.
    """

    def __init__(self, message: str, *, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class StreamEvent(msgspec.Struct, frozen=True):
    """One event of a stream. data: the text as it came. id: the cursor after this event."""

    name: str
    data: str
    id: str

    def json(self) -> Any:
        """`data` as JSON. Raises msgspec.DecodeError when it is plain text."""
        return msgspec.json.decode(self.data)


class HubClient:
    """`async with HubClient(url, internal_url=…) as hub: …`.

    token: a user's JWT for the public listener; key: an API key for the internal one. In `hub dev`
    neither is needed.
    """

    def __init__(
        self,
        url: str,
        *,
        internal_url: str | None = None,
        token: str | None = None,
        key: str | None = None,
    ) -> None:
        self._url = url.rstrip("/")
        self._internal_url = internal_url.rstrip("/") if internal_url else None
        self._token = token
        self._key = key
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def publish(
        self,
        to: Mapping[str, Any],
        event: str,
        data: Any,
        *,
        idempotency_key: str | None = None,
        ephemeral: bool = False,
        ttl_seconds: float | None = None,
    ) -> list[dict[str, Any]]:
        """Publishes to `{"user": …}`, `{"users": […]}`, `{"topic": …}` or `{"all": True}`; a
        channel, cursor and duplicate for each.
        """
        body: dict[str, Any] = {"to": to, "event": event, "data": data, "ephemeral": ephemeral}
        if idempotency_key is not None:
            body["id"] = idempotency_key
        if ttl_seconds is not None:
            body["ttl_seconds"] = ttl_seconds
        if self._internal_url is None:
            raise HubClientError("publishing needs the internal listener's URL")
        answer = await self._call("POST", f"{self._internal_url}/publish", self._key, body)
        published: list[dict[str, Any]] = answer["published"]
        return published

    async def ask(
        self,
        user: str,
        prompt: str,
        *,
        model: str | None = None,
        upstream: str | None = None,
        idempotency_key: str | None = None,
    ) -> dict[str, Any]:
        """Starts a generation: its id, and the cursor from which its events follow."""
        body = {"prompt": prompt, "model": model, "upstream": upstream, "id": idempotency_key}
        given = {name: value for name, value in body.items() if value is not None}
        return await self._call("POST", self._at("/generations", user), self._token, given)

    async def stop(self, user: str, generation: str) -> dict[str, Any]:
        """Stops a generation, wherever it runs."""
        return await self._call("DELETE", self._at(f"/generations/{generation}", user), self._token)

    async def generation(self, user: str, generation: str) -> dict[str, Any]:
        """A generation's snapshot."""
        return await self._call("GET", self._at(f"/generations/{generation}", user), self._token)

    async def events(
        self, user: str, *, topics: Sequence[str] = (), cursor: str = "live"
    ) -> AsyncGenerator[StreamEvent, None]:
        """The user's stream, for ever: after a break it resumes from its last event.

        Raises HubClientError when the hub's answer is final (a wrong token, name or cursor), or
        when the hub says goodbye for good.
        """
        pause = _FIRST_PAUSE_SECONDS
        while True:
            retry_seconds = None
            try:
                async with aclosing(self._stream_once(user, topics, cursor)) as stream:
                    async for event in stream:
                        cursor = event.id or cursor
                        pause = _FIRST_PAUSE_SECONDS
                        if event.retry_ms is not None:
                            retry_seconds = event.retry_ms / 1000
                        if event.name == "hub.bye":
                            retry_seconds = _return_after(event)
                        yield StreamEvent(event.name, event.data, event.id)
            except StreamTooLarge as error:
                raise HubClientError(f"the stream cannot be read: {error}") from error
            except (aiohttp.ClientError, TimeoutError, OSError):
                pause = min(_LONGEST_PAUSE_SECONDS, pause * 2)
            wait = max(pause, retry_seconds or 0.0)
            # Jitter, or all clients of a node that went down would return in the same instant.
            await asyncio.sleep(wait * random.uniform(0.5, 1.0))

    async def _stream_once(
        self, user: str, topics: Sequence[str], cursor: str
    ) -> AsyncGenerator[ServerSentEvent, None]:
        params = {"cursor": cursor}
        if topics:
            params["topics"] = ",".join(topics)
        decoder = SseDecoder()
        async with self._open().get(
            f"{self._url}/sse/connect/{user}",
            params=params,
            headers={"Accept": "text/event-stream", **_bearer(self._token)},
            timeout=aiohttp.ClientTimeout(total=None, sock_read=_SILENCE_SECONDS),
        ) as response:
            if response.status != 200:
                error = await _refusal(response)
                if error.status in _FINAL:
                    raise error
                raise aiohttp.ClientError(str(error))
            async for chunk in response.content.iter_any():
                for event in decoder.feed(chunk):
                    yield event

    async def _call(
        self, method: str, url: str, secret: str | None, body: Any = None
    ) -> dict[str, Any]:
        headers = _bearer(secret)
        if body is not None:
            headers["Content-Type"] = "application/json"
        try:
            async with self._open().request(
                method,
                url,
                data=None if body is None else msgspec.json.encode(body),
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=30.0),
            ) as response:
                if response.status >= 400:
                    raise await _refusal(response)
                answer: dict[str, Any] = msgspec.json.decode(await response.read())
                return answer
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            place = url.partition("?")[0]
            raise HubClientError(f"no hub answers at {place}: {_reason(error)}") from error
        except msgspec.DecodeError as error:
            raise HubClientError(f"what answers at {url} is no hub") from error

    def _at(self, path: str, user: str) -> str:
        """Where there is no token (`hub dev`), the request says who it is from."""
        return f"{self._url}{path}" + ("" if self._token else f"?user={user}")

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("use the client inside `async with`")
        return self._session


def _return_after(bye: ServerSentEvent) -> float:
    """How many seconds to wait. Raises HubClientError when the goodbye is for good."""
    said = msgspec.json.decode(bye.data)
    if not said["reconnect"]:
        raise HubClientError(f"the hub ended the stream: {said['reason']}")
    return float(said["retry_ms"]) / 1000


async def _refusal(response: aiohttp.ClientResponse) -> HubClientError:
    """The problem document's sentence, with the field it is about."""
    detail = f"{response.status} {response.reason}"
    try:
        problem = msgspec.json.decode(await response.read())
        detail = problem["detail"]
    except (msgspec.DecodeError, KeyError, TypeError, aiohttp.ClientError):
        pass
    return HubClientError(detail, status=response.status)


def _bearer(secret: str | None) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"} if secret else {}


def _reason(error: BaseException) -> str:
    if isinstance(error, aiohttp.ClientConnectorError):
        return error.os_error.strerror or "no connection"
    return str(error) or type(error).__name__
