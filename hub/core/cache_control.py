"""The header Cache-Control of a response (RFC 9111, section 5.2)."""

from __future__ import annotations

import re
from typing import Final

_DIRECTIVE: Final = re.compile(r'\s*([^\s=,"]+)\s*(?:=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]*)))?\s*')
_FORBIDS: Final = frozenset({"no-store", "no-cache"})
_MAX_SECONDS: Final = 10**9


def parse_cache_control(text: str) -> float | None:
    """Return for how many seconds the response may be used again, or None.

    A field that cannot be parsed, or that has two different ages, allows nothing.
    """
    ages: set[str] = set()
    at = 0
    while at < len(text):
        if text[at] in ", \t":
            at += 1
            continue
        match = _DIRECTIVE.match(text, at)
        if match is None or (match.end() < len(text) and text[match.end()] != ","):
            return None
        name = match[1].lower()
        if name in _FORBIDS:
            return None
        if name == "max-age":
            ages.add(match[2] if match[2] is not None else match[3] or "")
        at = match.end()
    if len(ages) != 1 or not re.fullmatch(r"[0-9]+", age := ages.pop()):
        return None
    return float(min(int(age[:20]), _MAX_SECONDS)) or None
