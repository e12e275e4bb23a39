"""Where a request is from, behind proxies that are trusted, and by which name it called the hub."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from typing import Final

from hub.api.request_context import RequestContext
from hub.errors import Forbidden, OperatorError

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_LOOPBACK_NAMES: Final = ("localhost", "127.0.0.1", "[::1]")


class ClientAddresses:
    """trusted: networks of one's own proxies; `X-Forwarded-For` counts from them alone."""

    def __init__(self, trusted: Collection[str]) -> None:
        try:
            self._trusted = [ipaddress.ip_network(each, strict=False) for each in trusted]
        except ValueError as error:
            raise OperatorError(f"public.trusted_proxies takes networks: {error}") from error

    def of(self, request: RequestContext) -> str | None:
        """The client's address: the last one in the chain that is no proxy of one's own."""
        address = request.remote
        if address is None or not self._is_trusted(address):
            return address
        chain = ",".join(request.headers.getall("X-Forwarded-For", ())).split(",")
        for hop in reversed([each.strip() for each in chain if each.strip()]):
            if _parsed(hop) is None:
                break
            address = hop
            if not self._is_trusted(hop):
                break
        return address

    def _is_trusted(self, text: str) -> bool:
        address = _parsed(text)
        return address is not None and any(address in network for network in self._trusted)


def check_is_called_local(request: RequestContext) -> None:
    """Raises Forbidden for a browser that did not call the hub by a name of this machine. In the
    open mode a page of another site, whose name was made to point here (DNS rebinding), cannot be
    told from the user's own otherwise.
    """
    is_browser = request.headers.get("User-Agent", "").startswith("Mozilla/")
    if not is_browser and "Origin" not in request.headers:
        return
    host = request.headers.get("Host", "localhost")
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
    if name.lower() not in _LOOPBACK_NAMES:
        raise Forbidden("without tokens and keys the hub answers to localhost alone")


def _parsed(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None
