"""One HTTP request to an upstream and its response in chunks: timeouts, and errors as codes.

Paths, bodies and the meaning of the chunks belong to the wire formats; http/errors.py describes
failed responses.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Collection, Mapping
from typing import Any, Final

import aiohttp
import msgspec

from hub.errors import UpstreamError
from hub.upstreams.dialect import UpstreamRequest
from hub.upstreams.framing import Framing
from hub.upstreams.http.errors import build_status_error, describe_connection_error, is_success

_MAX_ERROR_BYTES: Final = 64 * 1024
_ERROR_BODY_TIMEOUT_SECONDS: Final = 5.0
_HEADERS: Final = {
    "Content-Type": "application/json",
    "Accept-Encoding": "identity",  # compression delays a stream
}


class UpstreamTimeouts(msgspec.Struct, frozen=True, kw_only=True):
    """Timeouts of one request in seconds; None means no limit.

    connect_seconds: until the connection is open. first_byte_seconds: from the request to the first
    byte of the response's body. idle_seconds: between two chunks after that. total_seconds: until
    the end of the response.
    """

    connect_seconds: float | None
    first_byte_seconds: float | None
    idle_seconds: float | None
    total_seconds: float | None


async def stream_response(
    session: aiohttp.ClientSession,
    url: str,
    request: UpstreamRequest,
    *,
    headers: Mapping[str, str],
    framing: Framing,
    secrets: Collection[str],
    timeouts: UpstreamTimeouts,
    proxy: str | None,
    verify_tls: bool,
) -> AsyncGenerator[bytes, None]:
    """Yield the chunks of a response as they arrive; each holds all bytes received until then.

    Closing the generator closes the connection. Raise UpstreamError for every failure: an
    unreachable endpoint, a status that is no success, bytes that are no answer in this framing, a
    timeout, a cut response. secrets: what no error may show.
    """
    loop = asyncio.get_running_loop()
    deadline = math.inf if timeouts.total_seconds is None else loop.time() + timeouts.total_seconds
    response: aiohttp.ClientResponse | None = None
    has_data = False

    def limit(seconds: float | None) -> asyncio.Timeout:
        """Limit one wait. Never use it around a yield: that time belongs to the consumer."""
        end = deadline if seconds is None else min(deadline, loop.time() + seconds)
        return asyncio.timeout_at(None if end == math.inf else end)

    try:
        async with limit(timeouts.first_byte_seconds):
            response = await session.request(
                request.method,
                url,
                data=None if request.method == "GET" else msgspec.json.encode(request.body),
                params=_build_query(request.body) if request.method == "GET" else None,
                headers={
                    **_HEADERS,
                    "Accept": framing.accept,
                    **request.headers,
                    **headers,
                },
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=timeouts.connect_seconds),
                allow_redirects=False,
                proxy=proxy,
                ssl=verify_tls,
            )
            chunk, is_stream = await _read_head(response, framing)
        if not is_stream:
            body = chunk + await _read_error_body(response)
            raise build_status_error(response, body, secrets)
        while chunk:
            has_data = True
            yield chunk
            if loop.time() > deadline:  # also when more data is always available at once
                raise TimeoutError
            chunk = response.content.read_nowait()
            if not chunk:
                async with limit(timeouts.idle_seconds):
                    chunk = await response.content.readany()
    except TimeoutError as error:
        message = "the upstream did not answer in time"
        if has_data:
            is_late = loop.time() >= deadline
            message = f"the upstream {'took too long' if is_late else 'was silent for too long'}"
        raise UpstreamError("upstream_timeout", message, retryable=True) from error
    except aiohttp.ClientConnectorError as error:
        message = f"the upstream is unreachable: {describe_connection_error(error)}"
        raise UpstreamError("upstream_unreachable", message, retryable=True) from error
    except (
        aiohttp.ClientPayloadError,
        aiohttp.ClientOSError,
        aiohttp.ServerDisconnectedError,
    ) as error:
        message = "the upstream closed the connection before the end of its response"
        raise UpstreamError("upstream_truncated", message, retryable=True) from error
    except ValueError as error:  # aiohttp.InvalidURL, or a line break in a header
        message = "the URL or a header of the upstream is invalid; check base_url and api_key"
        raise UpstreamError("upstream_protocol", message, retryable=False) from error
    except aiohttp.ClientError as error:
        message = "the upstream did not answer with valid HTTP"
        raise UpstreamError("upstream_protocol", message, retryable=False) from error
    finally:
        if response is not None:
            response.close()  # a complete response has returned to the pool; others are cut off


async def send_notice(
    session: aiohttp.ClientSession,
    url: str,
    request: UpstreamRequest,
    *,
    headers: Mapping[str, str],
    timeout_seconds: float,
    proxy: str | None,
    verify_tls: bool,
) -> int:
    """Send a request whose body nobody reads, and return the status of the response.

    Raise aiohttp.ClientError or TimeoutError.
    """
    async with session.request(
        request.method,
        url,
        data=msgspec.json.encode(request.body) if request.body else None,
        headers={**_HEADERS, **request.headers, **headers},
        timeout=aiohttp.ClientTimeout(total=timeout_seconds),
        allow_redirects=False,
        proxy=proxy,
        ssl=verify_tls,
    ) as response:
        return response.status


def _build_query(body: Mapping[str, Any]) -> Mapping[str, str]:
    return {
        name: value if isinstance(value, str) else msgspec.json.encode(value).decode()
        for name, value in body.items()
    }


async def _read_head(response: aiohttp.ClientResponse, framing: Framing) -> tuple[bytes, bool]:
    """Return the first bytes of a response, and whether they begin an answer."""
    head = b""
    if not is_success(response.status):
        return head, False
    media_type = response.content_type if "Content-Type" in response.headers else None
    while chunk := await response.content.readany():
        head += chunk
        is_stream = framing.accepts(media_type, head)
        if is_stream is not None:
            return head, is_stream
    return head, True  # an answer without an end, which the caller notices


async def _read_error_body(response: aiohttp.ClientResponse) -> bytes:
    """Return the start of an error's body, or less: a cut or slow body must not hide the status."""
    body = bytearray()
    try:
        async with asyncio.timeout(_ERROR_BODY_TIMEOUT_SECONDS):
            async for chunk in response.content.iter_any():
                body += chunk
                if len(body) >= _MAX_ERROR_BYTES:
                    break
    except (aiohttp.ClientError, TimeoutError):
        pass
    return bytes(body[:_MAX_ERROR_BYTES])
