"""A request, independent of the protocol: what authentication and limits read of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol

from multidict import MultiMapping

_LAST_EVENT_ID_PARAMETERS: Final = ("lastEventId", "last-event-id", "last_event_id")


def printable(text: str) -> str:
    """Return a part of a request as text for an error: bytes that are not UTF-8 become U+FFFD."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


class RequestContext(Protocol):
    """aiohttp's request has these attributes; hub/grpc/request_context.py has them for a call."""

    @property
    def method(self) -> str: ...

    @property
    def path(self) -> str: ...

    @property
    def host(self) -> str: ...

    @property
    def remote(self) -> str | None:
        """The IP address of the peer, which may be a proxy."""
        ...

    @property
    def headers(self) -> MultiMapping[str]:
        """The headers; their names are case-insensitive."""
        ...

    @property
    def query(self) -> Mapping[str, str]: ...

    @property
    def cookies(self) -> Mapping[str, str]: ...

    @property
    def match_info(self) -> Mapping[str, str]:
        """The parameters in the path, for example `user_id`."""
        ...


def last_event_id(context: RequestContext) -> str | None:
    """Return the id of the last event that the client received, if it sends one.

    It is the header `Last-Event-ID`. Polyfills of EventSource cannot send it and put it into the
    URL.
    """
    if header := context.headers.get("Last-Event-ID"):
        return header
    query = context.query
    for name in _LAST_EVENT_ID_PARAMETERS:
        if value := query.get(name):
            return value
    return None
