"""Requests to URLs that users and API clients have named: push services and webhooks.

Such a URL must not lead into the operator's network. PublicHttpClient checks the address of each
socket when the socket is made, so after the name was resolved; it follows no redirect, uses no
proxy, keeps no cookies, and reads a bounded part of each response.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from email.utils import parsedate_to_datetime
from typing import Final

import aiohttp
import msgspec
from aiohttp.abc import AbstractResolver

from hub.core.public_addresses import find_url_problem, is_public_address
from hub.errors import DependencyError

_MAX_RESPONSE_BYTES: Final = 4096
_MAX_DIGITS: Final = 10  # of Retry-After
_NOT_PUBLIC: Final = "the host has no public address"


class RequestFailed(DependencyError):
    """No response was received. The message says why, without the path of the URL.

    is_final: whether the request fails each time: the URL is not allowed.
    """

    def __init__(self, detail: str, *, is_final: bool = False) -> None:
        super().__init__(detail)
        self.is_final = is_final


class AddressNotPublic(OSError):
    """The address of a host is not public."""


class OutgoingResponse(msgspec.Struct, frozen=True):
    """A response. headers: names in lower case. body: the first 4,096 bytes, not decompressed."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def retry_after_seconds(self, now: float) -> float | None:
        """Return how long the server asks to wait (RFC 9110, section 10.2.3), None if it does not.

        now: Unix time in seconds, which counts for a date.
        """
        value = self.headers.get("retry-after", "").strip()
        if value.isascii() and value.isdigit() and len(value) < _MAX_DIGITS:
            return float(value)
        try:
            return max(0.0, parsedate_to_datetime(value).timestamp() - now)
        except (ValueError, OverflowError):
            return None


class PublicHttpClient:
    """Sends POST requests to public HTTPS URLs. Made by open_public_client."""

    def __init__(
        self, session: aiohttp.ClientSession, *, allow_private: bool, timeout_seconds: float
    ) -> None:
        self._session = session
        self._allow_private = allow_private
        self._timeout_seconds = timeout_seconds

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> OutgoingResponse:
        """Send a request and return the response, which may be a redirect or an error.

        Raise RequestFailed when there is no response within the timeout. A response whose body does
        not end counts, with the part of the body that was received.
        """
        problem = find_url_problem(url, allow_private=self._allow_private)
        if problem is not None:
            raise RequestFailed(f"the URL {problem}", is_final=True)
        deadline = asyncio.get_running_loop().time() + self._timeout_seconds
        try:
            async with asyncio.timeout_at(deadline):
                response = await self._session.post(
                    url, data=body, headers=headers, allow_redirects=False
                )
        except TimeoutError as error:
            raise RequestFailed(f"no response within {self._timeout_seconds:g} seconds") from error
        except aiohttp.ClientConnectorError as error:
            if isinstance(error.os_error, AddressNotPublic):
                raise RequestFailed(_NOT_PUBLIC, is_final=True) from error
            raise RequestFailed("the host cannot be reached") from error
        except (
            aiohttp.InvalidURL,
            UnicodeError,
        ) as error:  # UnicodeError: a name that DNS cannot have
            raise RequestFailed("the URL is not valid", is_final=True) from error
        except (aiohttp.ClientError, OSError) as error:
            raise RequestFailed(f"the request failed ({type(error).__name__})") from error
        async with response:
            names = {name.lower(): value for name, value in response.headers.items()}
            return OutgoingResponse(response.status, names, await _read_start(response, deadline))


async def _read_start(response: aiohttp.ClientResponse, deadline: float) -> bytes:
    """Return the first bytes of a body, or fewer. deadline: a time of the event loop."""
    start = b""
    with suppress(aiohttp.ClientError, OSError):  # TimeoutError is an OSError
        async with asyncio.timeout_at(deadline):
            while len(start) < _MAX_RESPONSE_BYTES:
                chunk = await response.content.read(_MAX_RESPONSE_BYTES - len(start))
                if not chunk:
                    break
                start += chunk
    return start


@asynccontextmanager
async def open_public_client(
    *,
    allow_private: bool = False,
    timeout_seconds: float,
    max_connections: int = 100,
    tls: ssl.SSLContext | None = None,
    resolver: AbstractResolver | None = None,
) -> AsyncIterator[PublicHttpClient]:
    """Open a client and close it at the end.

    allow_private: whether URLs may be HTTP and lead to addresses that are not public.
    max_connections: requests beyond it wait, at most timeout_seconds. tls: the certificates to
    trust; None means those of the system. resolver: None means that of the system.
    """
    connector = aiohttp.TCPConnector(
        limit=max_connections,
        ssl=tls if tls is not None else True,
        resolver=resolver,
        socket_factory=None if allow_private else _make_checked_socket,
    )
    async with aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        auto_decompress=False,
        headers={"Accept-Encoding": "identity"},
    ) as session:
        yield PublicHttpClient(
            session, allow_private=allow_private, timeout_seconds=timeout_seconds
        )


def _make_checked_socket(address_info: aiohttp.AddrInfoType) -> socket.socket:
    """Make the socket of a connection. Raise AddressNotPublic."""
    family, kind, protocol, _, address = address_info
    if not is_public_address(str(address[0])):
        raise AddressNotPublic(_NOT_PUBLIC)
    return socket.socket(family=family, type=kind, proto=protocol)
