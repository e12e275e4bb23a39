"""Asking an upstream over HTTP: one request, its answer in chunks, time-outs, errors as codes.

What a wire format adds (paths, bodies, the meaning of the chunks) stands in its own file.
"""

from __future__ import annotations

import asyncio
import math
import os
import re
import time
from collections.abc import AsyncGenerator, Collection, Mapping
from email.utils import parsedate_to_datetime
from typing import Any, Final, Literal

import aiohttp
import msgspec

from hub.errors import UpstreamError

_MAX_ERROR_BYTES: Final = 64 * 1024
_MAX_ERROR_CHARS: Final = 300
_ERROR_BODY_SECONDS: Final = 5.0
_HEADERS: Final = {
    "Content-Type": "application/json",
    "Accept-Encoding": "identity",  # what compresses a stream holds it back
}
_RETRYABLE: Final = frozenset({408, 429, 500, 502, 503, 504})
_BAD_QUESTION: Final = frozenset({400, 413, 422})  # another endpoint would say the same
_SHORTEST_SECRET: Final = 8
_KEY: Final = re.compile(r"\bsk-[\w.*-]{6,}")  # OpenAI's form, also half masked


class UpstreamTimeouts(msgspec.Struct, frozen=True, kw_only=True):
    """How long to wait, in seconds; None means as long as it takes.

    first_byte_seconds: from the request to the first byte of the answer's body.
    idle_seconds: between two chunks after that. total_seconds: for all of it.
    """

    connect_seconds: float | None = 10.0
    first_byte_seconds: float | None = 120.0
    idle_seconds: float | None = 120.0
    total_seconds: float | None = None


class UpstreamRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A question as a request. path: behind the base URL. body: JSON of a POST, query of a GET.
    headers: of this wire format, beside the endpoint's own.
    """

    path: str
    body: Mapping[str, Any]
    method: Literal["POST", "GET"] = "POST"
    headers: Mapping[str, str] = {}


async def stream_response(
    session: aiohttp.ClientSession,
    base_url: str,
    request: UpstreamRequest,
    *,
    headers: Mapping[str, str],
    content_types: Collection[str],
    timeouts: UpstreamTimeouts,
    proxy: str | None = None,
    verify_tls: bool = True,
) -> AsyncGenerator[bytes, None]:
    """The chunks of the answer to one request, as they come: each is all that is there.

    Closing the generator closes the connection. Raises UpstreamError for all that can go wrong:
    nobody there, a status other than 200, another content type, too slow, cut off.
    """
    loop = asyncio.get_running_loop()
    until = math.inf if timeouts.total_seconds is None else loop.time() + timeouts.total_seconds
    response: aiohttp.ClientResponse | None = None
    begun = False

    def limit(seconds: float | None) -> asyncio.Timeout:
        """Around one wait, and never around a yield: there the time is the reader's own."""
        end = until if seconds is None else min(until, loop.time() + seconds)
        return asyncio.timeout_at(None if end == math.inf else end)

    try:
        async with limit(timeouts.first_byte_seconds):
            response = await session.request(
                request.method,
                base_url + request.path,
                data=None if request.method == "GET" else msgspec.json.encode(request.body),
                params=_query(request.body) if request.method == "GET" else None,
                headers={
                    **_HEADERS,
                    "Accept": ", ".join(content_types),
                    **request.headers,
                    **headers,
                },
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=timeouts.connect_seconds),
                allow_redirects=False,
                proxy=proxy,
                ssl=verify_tls,
            )
            is_answer = response.status == 200 and response.content_type in content_types
            chunk = await response.content.readany() if is_answer else b""
        if not is_answer:
            said = error_text(await _first_bytes(response), secret_values(headers))
            raise _refusal(response, said)
        while chunk:
            begun = True
            yield chunk
            if loop.time() > until:  # also when there is always something more to read
                raise TimeoutError
            chunk = response.content.read_nowait()
            if not chunk:
                async with limit(timeouts.idle_seconds):
                    chunk = await response.content.readany()
    except TimeoutError as error:
        what = "does not answer in time"
        if begun:
            what = "takes too long" if loop.time() >= until else "has been silent for too long"
        raise UpstreamError("upstream_timeout", f"the upstream {what}", retryable=True) from error
    except aiohttp.ClientConnectorError as error:
        raise UpstreamError(
            "upstream_unreachable",
            f"the upstream cannot be reached: {_why_unreachable(error)}",
            retryable=True,
        ) from error
    except (
        aiohttp.ClientPayloadError,
        aiohttp.ClientOSError,
        aiohttp.ServerDisconnectedError,
    ) as e:
        raise UpstreamError(
            "upstream_truncated", "the upstream closed the connection too early", retryable=True
        ) from e
    except ValueError as error:  # aiohttp.InvalidURL, and a header that holds a line's end
        raise UpstreamError(
            "upstream_protocol", "the upstream's address or key cannot be used", retryable=False
        ) from error
    except aiohttp.ClientError as error:
        raise UpstreamError(
            "upstream_protocol", "the upstream did not answer in HTTP", retryable=False
        ) from error
    finally:
        if response is not None:
            response.close()  # a whole answer has gone back to the pool; any other is cut


def _query(body: Mapping[str, Any]) -> Mapping[str, str]:
    return {
        name: value if isinstance(value, str) else msgspec.json.encode(value).decode()
        for name, value in body.items()
    }


def _retry_after(value: str | None) -> float | None:
    """Seconds, from RFC 9110's number of seconds or date."""
    if value is None:
        return None
    if value.isascii() and value.strip().isdigit():
        return float(value)
    try:
        due = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, due.timestamp() - time.time())


def secret_values(headers: Mapping[str, str]) -> Collection[str]:
    """What an upstream may echo and nobody may see: the longer words of the headers' values."""
    words = " ".join(headers.values()).split()
    return sorted((word for word in words if len(word) >= _SHORTEST_SECRET), key=len, reverse=True)


def _why_unreachable(error: aiohttp.ClientConnectorError) -> str:
    """For a person; the library's own text names addresses inside the network."""
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "its host name is not known"
    if isinstance(error, aiohttp.ClientSSLError):
        return "there is no secure connection"
    return os.strerror(error.os_error.errno) if error.os_error.errno else "no connection"


def _refusal(response: aiohttp.ClientResponse, said: str) -> UpstreamError:
    why = f": {said}" if said else ""
    if response.status != 200:
        return UpstreamError(
            "upstream_status",
            f"the upstream answered {response.status}{why}",
            retryable=response.status in _RETRYABLE,
            rejects_request=response.status in _BAD_QUESTION,
            retry_after_seconds=_retry_after(response.headers.get("Retry-After")),
            status=response.status,
        )
    return UpstreamError(
        "upstream_protocol",
        f"the upstream answered with {response.content_type}, not a stream{why}",
        retryable=False,
    )


async def _first_bytes(response: aiohttp.ClientResponse) -> bytes:
    """What there is of an error's body: when it is cut or slow, the status still tells."""
    found = bytearray()
    try:
        async with asyncio.timeout(_ERROR_BODY_SECONDS):
            async for chunk in response.content.iter_any():
                found += chunk
                if len(found) >= _MAX_ERROR_BYTES:
                    break
    except (aiohttp.ClientError, TimeoutError):
        pass
    return bytes(found[:_MAX_ERROR_BYTES])


def error_text(body: bytes | str, secrets: Collection[str] = ()) -> str:
    """What an error body says, in one line of at most 300 characters, without keys.

    Knows OpenAI's `{"error": {"message": …}}`, `{"error": "…"}`, `{"detail": …}`, `{"message": …}`,
    `{"msg": …}`.
    Text that is no JSON is shown as it is, unless it is a page of HTML; other JSON says nothing.
    """
    try:
        said: Any = msgspec.json.decode(body)
    except RecursionError:
        return ""
    except msgspec.DecodeError:
        said = body.decode("utf-8", "replace") if isinstance(body, bytes) else body
    for name in ("error", "message", "detail", "msg"):
        if isinstance(said, dict) and name in said:
            said = said[name]
    if not isinstance(said, str):
        return ""
    words = " ".join(said.split())
    text = "".join(letter for letter in words if letter.isprintable())
    for secret in secrets:
        text = text.replace(secret, "***")
    text = _KEY.sub("***", text)  # before the text is cut, or half a key would be left
    return "" if text.startswith("<") else text[:_MAX_ERROR_CHARS]
