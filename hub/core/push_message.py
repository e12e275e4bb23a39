"""What a push notification shows, and its payload: JSON that fits into one encrypted record.

A push service must accept 4,096 bytes of encrypted body (RFC 8030, section 7.2). The encryption
(RFC 8291 with one record of RFC 8188) adds 86 bytes of header, 16 bytes of tag and 1 of padding.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from base64 import urlsafe_b64encode
from typing import Final, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import UNSET, UnsetType

from hub.errors import BadRequest

MAX_PAYLOAD_BYTES: Final = 4096 - 86 - 16 - 1
MAX_TITLE_CHARS: Final = 200
MAX_TAG_CHARS: Final = 64
MAX_URL_BYTES: Final = 1024
MAX_TTL_SECONDS: Final = 28 * 86400.0
"""Push services keep a message for four weeks at most."""

Urgency = Literal["very-low", "low", "normal", "high"]

_NOT_IN_A_URL: Final = re.compile(r"[\x00-\x20\x7f-\x9f\"\\<>]")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_ELLIPSIS: Final = "…"
_TOPIC_CHARS: Final = 32  # RFC 8030, section 5.4
_ZERO_WIDTH_JOINER: Final = "\u200d"


class PushMessage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One notification.

    title, body, url, tag, icon: as in the Notifications API of browsers; `url` is what a click
    opens. urgency, ttl_seconds: RFC 8030, sections 5.3 and 5.2; None means the settings' time.
    """

    title: str
    body: str = ""
    url: str = ""
    tag: str = ""
    icon: str = ""
    urgency: Urgency = "normal"
    ttl_seconds: float | None = None


class PushPayload(msgspec.Struct, frozen=True, kw_only=True):
    """The JSON that the service worker decrypts. id: the same for repeated sends of one push."""

    id: str
    title: str
    body: str | UnsetType = UNSET
    url: str | UnsetType = UNSET
    tag: str | UnsetType = UNSET
    icon: str | UnsetType = UNSET


def check_message(message: PushMessage, *, path: str) -> PushMessage:
    """Return the message. Raise BadRequest that names the field."""
    if not message.title.strip():
        raise BadRequest("a push needs a title", path=f"{path}.title")
    for name, text, max_chars in (
        ("title", message.title, MAX_TITLE_CHARS),
        ("tag", message.tag, MAX_TAG_CHARS),
    ):
        if len(text) > max_chars:
            raise BadRequest(
                f"{name} may have at most {max_chars} characters", path=f"{path}.{name}"
            )
        if _CONTROL.search(text):
            raise BadRequest(f"{name} must not contain control characters", path=f"{path}.{name}")
    for name, url in (("url", message.url), ("icon", message.icon)):
        problem = _find_url_problem(url)
        if problem is not None:
            raise BadRequest(f"{name} {problem}", path=f"{path}.{name}")
    ttl_seconds = message.ttl_seconds
    if ttl_seconds is not None and not 0 <= ttl_seconds <= MAX_TTL_SECONDS:
        raise BadRequest(
            f"ttl_seconds must be between 0 and {MAX_TTL_SECONDS:.0f}",
            path=f"{path}.ttl_seconds",
        )
    return message


def _find_url_problem(url: str) -> str | None:
    if len(url.encode()) > MAX_URL_BYTES:
        return f"may have at most {MAX_URL_BYTES} bytes"
    if _NOT_IN_A_URL.search(url):
        return "contains a character that no URL may contain"
    try:
        scheme = urlsplit(url).scheme
    except ValueError:
        return "is not a URL"
    if scheme not in ("", "http", "https"):
        return "must be an http or https URL, or relative to the page"
    return None


def encode_payload(
    message: PushMessage, push_id: str, *, max_bytes: int = MAX_PAYLOAD_BYTES
) -> bytes:
    """Return the payload of a checked message as JSON in UTF-8.

    The body is cut, with an ellipsis at the end, so that the payload has at most max_bytes bytes.
    If even an empty body does not fit, the payload has none and may be larger.
    """
    whole = _encode(message, push_id, message.body)
    if len(whole) <= max_bytes:
        return whole
    body = message.body[:max_bytes]  # each character has at least one byte
    low, high = 0, len(body)  # _encode fits with low characters, or low is 0
    while low < high:
        middle = (low + high + 1) // 2
        if len(_encode(message, push_id, body[:middle] + _ELLIPSIS)) <= max_bytes:
            low = middle
        else:
            high = middle - 1
    end = _cluster_start(body, low)
    cut = body[:end].rstrip() + _ELLIPSIS if end else ""
    return _encode(message, push_id, cut)


def _encode(message: PushMessage, push_id: str, body: str) -> bytes:
    return msgspec.json.encode(
        PushPayload(
            id=push_id,
            title=message.title,
            body=body or UNSET,
            url=message.url or UNSET,
            tag=message.tag or UNSET,
            icon=message.icon or UNSET,
        )
    )


def _cluster_start(text: str, end: int) -> int:
    """Return a cut at or before `end` that does not separate a character from its marks."""
    while 0 < end < len(text) and (_continues(text[end]) or text[end - 1] == _ZERO_WIDTH_JOINER):
        end -= 1
    return end


def _continues(character: str) -> bool:
    """Return whether a character belongs to the one before it: a mark, a joiner, a skin tone."""
    return (
        character == _ZERO_WIDTH_JOINER
        or unicodedata.category(character) in ("Mn", "Mc", "Me")
        or "\U0001f3fb" <= character <= "\U0001f3ff"
    )


def topic_of_tag(tag: str) -> str | None:
    """Return the header `Topic` (RFC 8030, section 5.4) for a tag; None for an empty tag.

    Messages of one topic replace each other at the push service. A topic has at most 32 characters
    of the URL-safe base64 alphabet, so it is made from a hash.
    """
    if not tag:
        return None
    return urlsafe_b64encode(hashlib.sha256(tag.encode()).digest())[:_TOPIC_CHARS].decode()
