"""Requests to the servers that the settings name: their proxy and their credentials.

aiohttp's `trust_env` is not used: it reads the environment in a thread before each request, and it
takes credentials from `~/.netrc`, which the settings do not name. With these it refuses a request
that has the header `Authorization`.
"""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import structlog

from hub.errors import OperatorError

_log = structlog.get_logger(__name__)


def find_environment_proxy(url: str) -> str | None:
    """Return the URL of the proxy for a URL, None for a direct connection.

    Source: the variables HTTP_PROXY, HTTPS_PROXY and NO_PROXY, also in small letters; on macOS and
    Windows the settings of the system, too. Proxies that are reached over TLS are not supported.
    """
    parts = urlsplit(url)
    proxy = getproxies().get(parts.scheme)
    host = parts.netloc.rpartition("@")[2]  # with its port, which NO_PROXY may name
    if not proxy or (host and proxy_bypass(host)):
        return None
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    if not proxy.startswith("http://"):
        _log.warning("proxy.unsupported", scheme=urlsplit(proxy).scheme)
        return None
    return proxy


def check_credentials(setting: str, url: str, headers: Iterable[str]) -> None:
    """Raise OperatorError if a URL has credentials in it, and `Authorization` is sent as well.

    setting: that of the URL. headers: the names of the headers that are sent.
    """
    if "@" in urlsplit(url).netloc and "authorization" in map(str.lower, headers):
        raise OperatorError(
            f"{setting} has a user or a password in it, but its requests have the header "
            "Authorization already; remove one of them"
        )
