"""How deep JSON may be nested."""

from __future__ import annotations

import re
from typing import Final

# Deeper JSON is refused, because many JSON readers of clients refuse it as well. How deep msgspec
# itself reads depends on the version of Python.
MAX_DEPTH: Final = 500
_STRING_OR_BRACKET: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[\[{\]}]', re.DOTALL)


def is_deeper_than(max_depth: int, text: bytes) -> bool:
    """Return whether JSON text has more arrays and objects in each other than max_depth."""
    if text.count(b"[") + text.count(b"{") <= max_depth:
        return False
    depth = 0
    for match in _STRING_OR_BRACKET.finditer(text):
        token = match[0]
        if token in b"[{":
            depth += 1
            if depth > max_depth:
                return True
        elif token in b"]}":
            depth -= 1
    return False


def check_depth(text: bytes) -> None:
    """Raise ValueError for JSON text that is nested too deep for its readers."""
    if is_deeper_than(MAX_DEPTH, text):
        raise ValueError(f"it has more than {MAX_DEPTH} nested arrays and objects")
