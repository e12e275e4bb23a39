"""A gRPC call as a RequestContext, for authentication, API keys and limits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import unquote

from multidict import CIMultiDict

from hub.errors import BadRequest

Context = Any
"""grpc.aio.ServicerContext, whose type parameters are of no use here."""

_IGNORED_METADATA: Final = ("cookie",)  # only browsers send cookies, and they do not speak gRPC


class GrpcRequestContext:
    """Implements RequestContext. user: the user id in the request message, which may be empty."""

    method = "POST"
    host = ""
    query: Final[Mapping[str, str]] = {}
    cookies: Final[Mapping[str, str]] = {}

    def __init__(self, path: str, context: Context, *, user: str = "") -> None:
        self.path = path
        self.remote = _parse_peer(context.peer())
        self.headers = CIMultiDict(
            (name, value)
            for name, value in context.invocation_metadata() or ()
            if isinstance(value, str) and name not in _IGNORED_METADATA
        )
        self.match_info: Mapping[str, str] = {"user_id": user} if user else {}


def require_field(value: str, path: str) -> str:
    """Return the text of a field. Raise BadRequest if it is empty."""
    if not value:
        raise BadRequest(f"{path} is required", path=path)
    return value


def _parse_peer(peer: str) -> str | None:
    """Return the IP address of a peer.

    Examples: `ipv4:192.0.2.1:555`, `ipv6:%5B2001:db8::1%5D:555`, `unix:`.
    """
    kind, _, address = peer.partition(":")
    if kind not in ("ipv4", "ipv6"):
        return None
    return unquote(address).rpartition(":")[0].strip("[]") or None
