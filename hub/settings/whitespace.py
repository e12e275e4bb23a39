"""Removes white space around secrets, keys and URLs.

A secret from a file or from `echo … | base64` often ends with a line break that no editor shows. It
would be a wrong key or an invalid header.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

_NAMES: Final = frozenset(
    {
        *("hmac_secret", "public_keys", "api_key", "context_key", "key", "sha256", "token"),
        *("url", "base_url", "internal_url", "jwks_url", "callback_url", "proxy", "endpoint"),
        *("issuer", "audience", "headers"),
    }
)
_BYTE_ORDER_MARK: Final = "\ufeff"


def strip_white_space(key: Sequence[str], value: Any) -> Any:
    """Return the value of a setting without white space around its secrets, keys and URLs.

    key: the parts of the setting's name.
    """
    if not _NAMES.isdisjoint(key):
        return _strip_all(value)
    if isinstance(value, Mapping):
        return {name: strip_white_space([name], inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [strip_white_space(key, each) for each in value]
    return value


def _strip_all(value: Any) -> Any:
    if isinstance(value, str):
        return value.strip().strip(_BYTE_ORDER_MARK).strip()
    if isinstance(value, Mapping):
        return {name: _strip_all(inner) for name, inner in value.items()}
    return [_strip_all(each) for each in value] if isinstance(value, list) else value
