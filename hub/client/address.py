"""Where a listener of the hub is, as its user wrote it."""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit


def address(url: str, name: str) -> SplitResult:
    """The URL in its parts. name: of the argument. Raises ValueError."""
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number
        good = False
    if not good:
        raise ValueError(f"{name} is http://… or https://…, not {url!r}")
    return parts
