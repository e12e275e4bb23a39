"""Where a listener of the hub is, as its user wrote it."""

from __future__ import annotations

from contextlib import suppress
from urllib.parse import SplitResult, urlsplit


def parse_url(url: str, name: str) -> SplitResult:
    """The URL in its parts. name: of the argument. Raises ValueError."""
    with suppress(ValueError):  # a port that is no number
        parts = urlsplit(url)
        if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0:
            return parts
    raise ValueError(f"{name} is http://… or https://…, not {url!r}")
