"""What is known of who calls, before anybody has looked at it: a request, whatever it came over."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from multidict import MultiMapping


class RequestContext(Protocol):
    """aiohttp's request is one, and so is a call over gRPC (hub/grpc/request_context.py)."""

    @property
    def method(self) -> str: ...

    @property
    def path(self) -> str: ...

    @property
    def host(self) -> str: ...

    @property
    def remote(self) -> str | None:
        """The peer's address."""
        ...

    @property
    def headers(self) -> MultiMapping[str]:
        """By name, in whatever case."""
        ...

    @property
    def query(self) -> Mapping[str, str]: ...

    @property
    def cookies(self) -> Mapping[str, str]: ...

    @property
    def match_info(self) -> Mapping[str, str]:
        """What the path names: `user_id`."""
        ...
