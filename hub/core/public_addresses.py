"""Which IP addresses and URLs the hub may send requests to when a user or an API client names them.

A name may resolve to another address at each look-up, so the check of a URL is only an early
answer. The address is checked again when the socket is made (hub/http/outgoing.py).
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final
from urllib.parse import urlsplit

MAX_URL_CHARS: Final = 2048
_NOT_IN_A_URL: Final = re.compile(r"[\x00-\x20\x7f-\x9f\\\ud800-\udfff]")
_MAX_HOST_CHARS: Final = 253
# A label of a host (RFC 1123), or one in another script, which the HTTP client encodes.
_LABEL: Final = re.compile(r"(?!-)[a-z0-9_\x80-\U0010ffff-]{1,63}(?<!-)")
_LOCAL_NAMES: Final = ("localhost", "localhost.localdomain")
_NAT64: Final = IPv6Network("64:ff9b::/96")  # RFC 6052: the last four bytes are an IPv4 address
_IPV4_COMPATIBLE: Final = IPv6Network("::/96")  # RFC 4291, 2.5.5.1; deprecated
_SHARED: Final = IPv4Network("100.64.0.0/10")  # RFC 6598


def is_public_address(address: str) -> bool:
    """Return whether an IP address is reachable by everybody on the Internet.

    An IPv6 address that stands for an IPv4 address is as public as that one: IPv4-mapped
    (RFC 4291), 6to4 (RFC 3056) and NAT64 (RFC 6052). Teredo addresses (RFC 4380) are not public.
    A zone (`%eth0`) and text that is no address are not public either.
    """
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, IPv4Address):
        return _is_public_ipv4(parsed)
    if parsed.scope_id is not None or parsed.teredo is not None or parsed in _IPV4_COMPATIBLE:
        return False
    embedded = parsed.ipv4_mapped or parsed.sixtofour or _nat64_address(parsed)
    if embedded is not None:
        return _is_public_ipv4(embedded)
    return parsed.is_global and not (
        parsed.is_multicast or parsed.is_reserved or parsed.is_site_local
    )


def _is_public_ipv4(address: IPv4Address) -> bool:
    return (
        address.is_global
        and address not in _SHARED
        and not (address.is_multicast or address.is_reserved or address.is_unspecified)
    )


def _nat64_address(address: IPv6Address) -> IPv4Address | None:
    return IPv4Address(int(address) & 0xFFFFFFFF) if address in _NAT64 else None


def find_url_problem(url: str, *, allow_private: bool = False) -> str | None:
    """Return why requests to a URL are not allowed, as the end of a sentence; None if they are.

    The URL must be HTTPS, name a host without a user or password, and must not name an address
    that is not public. allow_private: accept HTTP and addresses that are not public as well.
    """
    if len(url) > MAX_URL_CHARS:
        return f"has more than {MAX_URL_CHARS} characters"
    if _NOT_IN_A_URL.search(url):
        return "contains a character that no URL may contain"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return "is not a URL"
    if parts.scheme != "https" and not (allow_private and parts.scheme == "http"):
        return "must begin with https://"
    if not host:
        return "has no host"
    if parts.username is not None or parts.password is not None:
        return "must not contain a user or a password"
    if port == 0:
        return "has a port that is not valid"
    name = host.removesuffix(".")
    if ":" not in name and not _is_host_name(name):
        return "names a host that is not valid"
    if allow_private:
        return None
    if name in _LOCAL_NAMES or name.endswith(".localhost"):
        return "names a host that is not public"
    is_literal = ":" in name or re.fullmatch(r"[0-9.]+|0x[0-9a-f.x]+", name) is not None
    if is_literal and not is_public_address(name):
        return "names an address that is not public"
    return None


def _is_host_name(name: str) -> bool:
    """Return whether a name in lower case is short enough and has valid labels."""
    return len(name) <= _MAX_HOST_CHARS and all(map(_LABEL.fullmatch, name.split(".")))
