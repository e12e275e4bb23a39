"""TLS with a server whose certificate has another name than the address to connect to.

The servers of a Cluster, and Sentinels, often announce IP addresses, while the certificate has host
names. An address that was announced is therefore verified by the host name of the URL, and if the
certificate has not that name, by the address itself. The option `ssl_server_name` of the URL names
another one, which then is the only one.
"""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Mapping
from typing import Any, Final

from redis.asyncio.connection import SSLConnection

_HOSTNAME_MISMATCH: Final = 62  # X509_V_ERR_HOSTNAME_MISMATCH
_IP_ADDRESS_MISMATCH: Final = 64  # X509_V_ERR_IP_ADDRESS_MISMATCH


class TlsConnection(SSLConnection):
    """A connection whose certificate is verified by `server_name`; None means by its host."""

    def __init__(self, *, server_name: str | None = None, **options: Any) -> None:
        self._server_name = server_name
        super().__init__(**options)

    def _connection_arguments(self) -> Mapping[str, Any]:
        arguments: Mapping[str, Any] = super()._connection_arguments()
        return {**arguments, "server_hostname": self._server_name}


def is_address(host: str) -> bool:
    """Return whether a host is an IP address, not a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_name_mismatch(error: BaseException) -> bool:
    """Return whether a connection failed only because the certificate has another name."""
    cause = error.__cause__ or error.__context__ or error
    return isinstance(cause, ssl.SSLCertVerificationError) and cause.verify_code in (
        _HOSTNAME_MISMATCH,
        _IP_ADDRESS_MISMATCH,
    )
