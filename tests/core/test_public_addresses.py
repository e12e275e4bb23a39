"""Which addresses and URLs are public."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.core.public_addresses import find_url_problem, is_public_address

PRIVATE_IPV4 = (
    "0.0.0.0", "10.1.2.3", "100.64.0.1", "127.0.0.1", "127.255.255.254", "169.254.169.254",
    "172.16.0.1", "192.0.2.1", "192.168.1.1", "198.18.0.1", "224.0.0.1", "240.0.0.1",
    "255.255.255.255",
)  # fmt: skip


@pytest.mark.parametrize("address", ["1.1.1.1", "93.184.216.34", "2606:4700::1111"])
def test_public_address(address: str) -> None:
    """An address on the Internet is public."""
    assert is_public_address(address)


@pytest.mark.parametrize(
    "address",
    [
        *PRIVATE_IPV4,
        *("::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "ff02::1", "fec0::1", "2001:db8::1"),
        *("2001:0:4136:e378:8000:63bf:3fff:fdd2", "", "example.com", "127.1", "1.1.1.1.1"),
    ],
)
def test_private_address(address: str) -> None:
    """Private, reserved, multicast and link-local addresses and other text are not public."""
    assert not is_public_address(address)


@given(st.ip_addresses(v=4))
def test_embedded_ipv4(address: IPv4Address) -> None:
    """An IPv6 address that stands for an IPv4 address is as public as that one."""
    number = int(address)
    is_public = is_public_address(str(address))
    for prefix in ("::ffff:0:0", "64:ff9b::"):
        assert is_public_address(str(IPv6Address(int(IPv6Address(prefix)) + number))) == is_public
    assert is_public_address(str(IPv6Address((0x2002 << 112) + (number << 80) + 1))) == is_public
    assert not is_public_address(str(IPv6Address(number)))


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("https://push.example.com/a?b=c", None),
        ("https://1.1.1.1:8443/", None),
        ("https://[2606:4700::1111]/", None),
        ("http://push.example.com/", "https"),
        ("ftp://push.example.com/", "https"),
        ("//push.example.com/", "https"),
        ("https:///path", "host"),
        ("https://user:pw@push.example.com/", "password"),
        ("https://push.example.com:99999/", "URL"),
        ("https://[::1/", "URL"),
        ("https://push.example.com/\n", "character"),
        ("https://a.example\\@b.example/", "character"),
        ("https://push.example.com/" + "a" * 2048, "2048"),
        ("https://localhost/", "public"),
        ("https://LOCALHOST./", "public"),
        ("https://x.localhost/", "public"),
        ("https://[::1]/", "public"),
        ("https://" + "a" * 63 + ".example./", None),
        ("https://" + "a" * 64 + ".example/", "host"),
        ("https://" + "a." * 127 + "example/", "host"),
        ("https://a..example/", "host"),
        ("https://.example/", "host"),
        ("https://./", "host"),
        ("https://*.example/", "host"),
        ("https://-a.example/", "host"),
        ("https://a;b.example/", "host"),
        ("https://%6c%6f%63alhost/", "host"),
        ("https://xn--mnchen-3ya.example/", None),
        ("https://m\u00fcnchen.example/", None),
        ("https://example.com:0/", "port"),
        ("https://a.example/\ud800", "character"),
        ("https://127.1/", "public"),
        ("https://2130706433/", "public"),
        ("https://0x7f000001/", "public"),
        *((f"https://{address}/", "public") for address in PRIVATE_IPV4),
    ],
)
def test_url(url: str, problem: str | None) -> None:
    """A URL must be HTTPS without credentials, and must not name a private address."""
    result = find_url_problem(url)
    assert (result is None) == (problem is None)
    assert problem is None or problem in (result or "")


def test_private_url() -> None:
    """With allow_private, a URL may be HTTP and private, but needs a host."""
    assert find_url_problem("http://127.0.0.1:9/x", allow_private=True) is None
    assert find_url_problem("file:///etc/passwd", allow_private=True) is not None


@given(st.text())
def test_any_text(text: str) -> None:
    """No text makes the check fail."""
    find_url_problem(text)
    find_url_problem("https://" + text)
    is_public_address(text)
