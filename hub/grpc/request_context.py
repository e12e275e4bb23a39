"""A call as the hub's doors and key ring see a request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import unquote

from multidict import CIMultiDict

Context = Any
"""grpc.aio.ServicerContext[…]; its type parameters say nothing that is used here."""

_NOT_PASSED_ON: Final = ("cookie",)  # travels by itself, and no browser calls here


class GrpcRequestContext:
    """Implements hub.api.request_context.Caller. user: whom the call says it is for."""

    method = "POST"
    host = ""
    query: Final[Mapping[str, str]] = {}
    cookies: Final[Mapping[str, str]] = {}

    def __init__(self, path: str, context: Context, *, user: str = "") -> None:
        self.path = path
        self.remote = _address(context.peer())
        self.headers = CIMultiDict(
            (name, value)
            for name, value in context.invocation_metadata() or ()
            if isinstance(value, str) and name not in _NOT_PASSED_ON
        )
        self.match_info: Mapping[str, str] = {"user_id": user} if user else {}


def _address(peer: str) -> str | None:
    """Of `ipv4:192.0.2.1:555`, `ipv6:%5B2001:db8::1%5D:555`, `unix:`."""
    kind, _, place = peer.partition(":")
    if kind not in ("ipv4", "ipv6"):
        return None
    return unquote(place).rpartition(":")[0].strip("[]") or None
