"""The address of a client."""

from __future__ import annotations

import ipaddress

from aiohttp.test_utils import make_mocked_request
from hypothesis import given
from hypothesis import strategies as st

from hub.api.client_address import ClientAddresses

_OCTETS = st.integers(0, 300).map(str) | st.from_regex(r"0?[0-9]{1,3}", fullmatch=True)
_ADDRESSES = st.one_of(
    st.text(alphabet="0123456789. x%:a\0", max_size=16),
    st.ip_addresses().map(str),
    st.ip_addresses(v=4).map(lambda address: f"::ffff:{address}"),
    st.lists(_OCTETS, min_size=3, max_size=5).map(".".join),
)


@given(_ADDRESSES)
def test_addresses_have_one_form(text: str) -> None:
    """An IPv4 address has its own form, also where it is mapped into IPv6; any other text stays as
    it is.
    """
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        expected = text
    else:
        mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
        expected = str(mapped or address)
    request = make_mocked_request("GET", "/")
    assert ClientAddresses([]).of(request.clone(remote=text)) == expected
