"""Where the client commands find the hub if no setting names its URL.

For each of the two listeners, the first of these that exists counts: the setting of the client
(client.url), a variable with the address of the listener (HUB_PUBLIC__PORT), the running
`hub dev`, the address of the listener in the settings file or its default.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from hub.cli.supervisor.dev_state import read_dev_state
from hub.settings import Loaded
from hub.settings.models import PREFIX, Internal, Public

_LOOPBACK_OF_ANY: Final = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}  # noqa: S104


def find_urls(loaded: Loaded) -> Mapping[str, str]:
    """Return the URLs of the listeners by the setting that is missing."""
    state, settings = read_dev_state(), loaded.settings
    listeners: Mapping[str, tuple[str, Public | Internal, str | None]] = {
        "client.url": ("public", settings.public, state.url if state else None),
        "client.internal_url": (
            "internal",
            settings.internal,
            state.internal_url if state else None,
        ),
    }
    return {
        setting: dev_url if dev_url and not _is_in_variable(loaded, section) else _url(listener)
        for setting, (section, listener, dev_url) in listeners.items()
        if setting not in loaded.origins
    }


def _is_in_variable(loaded: Loaded, section: str) -> bool:
    origins = (loaded.origins.get(f"{section}.{name}", "") for name in ("host", "port"))
    return any(origin.startswith(PREFIX) for origin in origins)


def _url(listener: Public | Internal) -> str:
    scheme = "http" if listener.tls_cert is None else "https"
    host = _LOOPBACK_OF_ANY.get(listener.host, listener.host)
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{listener.port}"
