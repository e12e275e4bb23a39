"""A request, independent of the protocol: what authentication and limits read of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from multidict import MultiMapping


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
