"""The settings without their secrets, for `hub config`, the doctor, errors and logs.

A URL is parsed, and shown without its login and without the values of its query. Nothing of it is
shown if it cannot be parsed, or if another parser might take a part of the password for something
else: a `/`, `?`, `#` or `@` in a password must be percent-encoded.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

MASK: Final = "***"
_URL: Final = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*://)(?P<authority>[^/?#]*)(?P<path>[^?#]*)"
    r"(?:\?(?P<query>[^#]*))?(?P<fragment>#.*)?"
)
_HOST: Final = r"(?:[A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+(?:%[A-Za-z0-9]+)?\])(?::[0-9]{1,5})?"
_HOSTS: Final = re.compile(rf"{_HOST}(?:,{_HOST})*")
_WHITE_SPACE: Final = re.compile(r"\s|[\x00-\x1f\x7f]")
_URL_IN_TEXT: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S*")
# Tables whose values the operator chooses freely: every value may be a secret.
_FREE_TABLES: Final = frozenset({"headers", "body", "request"})
# Programs with their arguments: every argument may be a secret.
_COMMANDS: Final = frozenset({"password_command"})
_NAMED_VALUE: Final = re.compile(r"([A-Za-z][A-Za-z0-9_.-]*)=(?=[^=])")  # not base64 with padding
_PLACEHOLDER: Final = re.compile(r"\{[a-z_.]+\}")


def is_url(text: str) -> bool:
    """Return whether a URL can be parsed in one way only, apart from its query."""
    match = _URL.fullmatch(text)
    if match is None or match["fragment"] or "@" in match["path"] or _WHITE_SPACE.search(text):
        return False
    hosts = match["authority"].rpartition("@")[2]
    return bool(_HOSTS.fullmatch(hosts)) or (hosts == "" and text.startswith("unix:"))


def mask_url(text: str) -> str:
    """Return a URL without login and query values, or only the mask if it cannot be parsed."""
    match = _URL.fullmatch(text)
    if match is None or not is_url(text) or "@" in (match["query"] or ""):
        return MASK
    _, at, hosts = match["authority"].rpartition("@")
    login = f"{MASK}@" if at else ""
    return f"{match['scheme']}{login}{hosts}{match['path']}{_mask_query(match['query'])}"


def mask_urls(text: str) -> str:
    """Return a sentence with every URL in it masked."""
    return _URL_IN_TEXT.sub(lambda match: mask_url(match[0]), text)


def mask_settings(table: Mapping[str, Any]) -> dict[str, Any]:
    """Return a dump of the settings without secrets. Secrets of the type SecretStr are masked in
    the dump already.
    """
    return {name: _mask_value(name, value) for name, value in table.items()}


def _mask_query(query: str | None) -> str:
    if query is None:
        return ""
    names = (_NAMED_VALUE.match(part) for part in query.split("&"))
    return "?" + "&".join(f"{name[1]}={MASK}" if name else MASK for name in names)


def _mask_value(name: str, value: Any) -> Any:
    if name in _FREE_TABLES and isinstance(value, Mapping):
        return {key: _mask_free_value(inner) for key, inner in value.items()}
    if isinstance(value, Mapping):
        return mask_settings(value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        if name in _COMMANDS:
            return [*value[:1], *(MASK for _ in value[1:])]
        return [_mask_value(name, each) for each in value]
    if isinstance(value, str) and "://" in value:
        return mask_url(value)
    if name == "path" and isinstance(value, str) and "?" in value:
        path, _, query = value.partition("?")
        return path + _mask_query(query)
    return value


def _mask_free_value(value: Any) -> Any:
    """Mask a value at any depth; only a placeholder such as {prompt} is no secret."""
    if isinstance(value, Mapping):
        return {key: _mask_free_value(inner) for key, inner in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_mask_free_value(each) for each in value]
    is_placeholder = isinstance(value, str) and _PLACEHOLDER.fullmatch(value)
    return value if is_placeholder else MASK
