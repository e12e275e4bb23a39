"""Reads the responses of other servers: whole, and never more than a limit."""

from __future__ import annotations

import aiohttp


async def read_response_body(response: aiohttp.ClientResponse, max_bytes: int) -> bytes:
    """Return the body. Raise ValueError if it is larger than `max_bytes`."""
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > max_bytes:
            raise ValueError(f"the response is larger than {max_bytes} bytes")
    return bytes(body)
