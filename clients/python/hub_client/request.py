"""HTTP requests to the hub as values, and the URLs that they go to.

The modules of the resources (`generations`, `publishing`, `admin`) build requests. `HttpClient`
sends them with asyncio, and `SyncHttpClient` sends the same requests with blocking sockets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from urllib.parse import SplitResult, quote, urlencode, urlsplit

import msgspec

from hub_client.errors import NotAHub

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Request(Generic[T]):
    """One request. It can be sent again without harm.

    A request that would have another effect the second time carries an idempotency key, either in
    its body or in the header `Idempotency-Key`.

    path: with the query string.
    read: turns the body of the response into the result; it raises msgspec.DecodeError.
    """

    method: str
    path: str
    read: Callable[[bytes], T]
    body: bytes | None = None
    content_type: str = "application/json"
    idempotency_key: str | None = None
    more_headers: Mapping[str, str] = field(default_factory=dict)

    def headers(self) -> dict[str, str]:
        """Return the headers that belong to this request; authentication is not among them."""
        headers = dict(self.more_headers)
        if self.body is not None:
            headers["Content-Type"] = self.content_type
        if self.idempotency_key is not None:
            headers["Idempotency-Key"] = self.idempotency_key
        return headers

    def parse_response(self, url: str, body: bytes) -> T:
        """Return the result. Raise NotAHub when the body is not a response of a hub."""
        try:
            return self.read(body)
        except msgspec.DecodeError as error:
            raise NotAHub(f"the server at {url} is not a hub: {error}") from error


def response_reader(type: type[T]) -> Callable[[bytes], T]:  # noqa: A002 - the name in msgspec
    """Return a function that decodes JSON as this type and ignores unknown fields."""
    return msgspec.json.Decoder(type).decode


def build_path(*segments: str, **query: Any) -> str:
    """Return a path of quoted segments, with those parameters of the query that are not None."""
    path = "/" + "/".join(quote(segment, safe="") for segment in segments)
    parameters = without_none(query)
    return f"{path}?{urlencode(parameters)}" if parameters else path


def without_none(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that are not None. The hub chooses the value of a field that is absent."""
    return {name: value for name, value in fields.items() if value is not None}


def parse_url(url: str, argument: str) -> SplitResult:
    """Split the URL of a listener.

    argument: the name of the caller's argument, for the error.
    Raise ValueError when it is not an http:// or https:// URL.
    """
    with suppress(ValueError):  # urlsplit refuses a port that is not a number
        parts = urlsplit(url)
        if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0:
            return parts
    raise ValueError(f"{argument} must be an http:// or https:// URL, not {url!r}")
