"""Asking an upstream over HTTP: one POST, its answer in chunks, time-outs, errors as codes.

What a wire format adds (paths, bodies, the meaning of the chunks) stands in its own file.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Mapping
from typing import Any, Final

import aiohttp
import msgspec

from hub.errors import UpstreamError

_MOST_ERROR_BYTES: Final = 64 * 1024
_MOST_ERROR_CHARS: Final = 300
_RETRYABLE: Final = frozenset({408, 425, 429, 500, 502, 503, 504})


class Patience(msgspec.Struct, frozen=True, kw_only=True):
    """How long to wait, in seconds; None means as long as it takes.

    first_byte_seconds: from the request to the first byte of the answer's body.
    idle_seconds: between two chunks after that. total_seconds: for all of it.
    """

    connect_seconds: float | None = 10.0
    first_byte_seconds: float | None = 120.0
    idle_seconds: float | None = 120.0
    total_seconds: float | None = None


async def post(
    session: aiohttp.ClientSession,
    url: str,
    body: Mapping[str, Any],
    *,
    headers: Mapping[str, str],
    content_type: str,
    patience: Patience,
) -> AsyncGenerator[bytes, None]:
    """The chunks of the answer to one POST of JSON, as they come.

    Closing the generator closes the connection. Raises UpstreamError for all that can go wrong:
    nobody there, a status other than 200, another content type, too slow, cut off.
    """
    loop = asyncio.get_running_loop()
    until = math.inf if patience.total_seconds is None else loop.time() + patience.total_seconds
    response: aiohttp.ClientResponse | None = None
    begun = False

    def limit(seconds: float | None) -> asyncio.Timeout:
        """Around one wait, and never around a yield: there the time is the reader's own."""
        end = until if seconds is None else min(until, loop.time() + seconds)
        return asyncio.timeout_at(None if end == math.inf else end)

    try:
        async with limit(patience.first_byte_seconds):
            response = await session.post(
                url,
                data=msgspec.json.encode(body),
                headers={"Content-Type": "application/json", "Accept": content_type, **headers},
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=patience.connect_seconds),
                allow_redirects=False,
            )
            await _check(response, content_type)
            chunk = await response.content.readany()
        while chunk:
            begun = True
            yield chunk
            async with limit(patience.idle_seconds):
                chunk = await response.content.readany()
    except TimeoutError as error:
        what = "has been silent for too long" if begun else "does not answer in time"
        raise UpstreamError("upstream_timeout", f"the upstream {what}", retryable=True) from error
    except aiohttp.ClientConnectorError as error:
        reason = error.os_error.strerror or "no connection"
        raise UpstreamError(
            "upstream_unreachable", f"the upstream cannot be reached: {reason}", retryable=True
        ) from error
    except (
        aiohttp.ClientPayloadError,
        aiohttp.ClientOSError,
        aiohttp.ServerDisconnectedError,
    ) as e:
        raise UpstreamError(
            "upstream_truncated", "the upstream closed the connection too early", retryable=True
        ) from e
    except (aiohttp.ClientError, ValueError) as error:
        raise UpstreamError(
            "upstream_protocol",
            f"the upstream cannot be asked: {type(error).__name__}",
            retryable=False,
        ) from error
    finally:
        if response is not None:
            response.close()  # a whole answer has gone back to the pool; any other is cut


async def _check(response: aiohttp.ClientResponse, content_type: str) -> None:
    if response.status == 200 and response.content_type == content_type:
        return
    said = error_text(await _first_bytes(response))
    if response.status != 200:
        raise UpstreamError(
            "upstream_status",
            f"the upstream answered {response.status}{f': {said}' if said else ''}",
            retryable=response.status in _RETRYABLE,
        )
    raise UpstreamError(
        "upstream_protocol",
        f"the upstream answered with {response.content_type}, not a stream"
        f"{f': {said}' if said else ''}",
        retryable=False,
    )


async def _first_bytes(response: aiohttp.ClientResponse) -> bytes:
    found = bytearray()
    async for chunk in response.content.iter_any():
        found += chunk
        if len(found) >= _MOST_ERROR_BYTES:
            break
    return bytes(found[:_MOST_ERROR_BYTES])


def error_text(body: bytes | str) -> str:
    """What an error body says, in one line of at most 300 characters.

    Knows OpenAI's `{"error": {"message": …}}`, `{"error": "…"}`, `{"detail": …}`, `{"message": …}`;
    anything else is shown as it is, unless it is a page of HTML.
    """
    try:
        said: Any = msgspec.json.decode(body)
    except msgspec.DecodeError:
        said = body.decode("utf-8", "replace") if isinstance(body, bytes) else body
    for name in ("error", "message", "detail"):
        if isinstance(said, dict) and name in said:
            said = said[name]
    text = " ".join(str(said).split())
    return "" if text.startswith("<") else text[:_MOST_ERROR_CHARS]
