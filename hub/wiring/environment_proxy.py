"""The HTTP proxy that the environment names for a URL.

aiohttp's `trust_env` is not used: it reads the environment in a thread before each request, and it
takes credentials from `~/.netrc`, which the settings do not name. With these it refuses a request
that has the header `Authorization`.
"""

from __future__ import annotations

from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import structlog

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
