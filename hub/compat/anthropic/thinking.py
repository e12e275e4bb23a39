"""Thinking blocks: the reasoning of any upstream as Anthropic's clients keep it and send it back.

A client sends each thinking block back as it is, because Anthropic accepts only what it has signed.
The signature is opaque to the client. So the details that another vendor needs back with the next
request (see parts.ReasoningDetails) travel in it, after a mark of the hub.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from hub.core.reasoning_formats import ANTHROPIC

_MARK: Final = "hub1_"  # no signature of Anthropic begins so: they are plain base64


def kept_details(details: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield the details that have more than text, which the block itself has."""
    for detail in details:
        if detail.get("signature") or detail.get("data"):
            yield dict(detail)


def is_redacted(detail: Mapping[str, Any]) -> bool:
    """Return whether a detail is a block of Anthropic's redacted thinking."""
    return _is_anthropics(detail) and not detail.get("signature") and bool(detail.get("data"))


def sign(details: Sequence[dict[str, Any]], thinking: str) -> str:
    """Return the signature of a block with this text: Anthropic's own, or one with the details."""
    if len(details) == 1 and _is_anthropics(details[0]) and details[0].get("signature"):
        text = details[0].get("text")
        if text is None or text == thinking:
            return str(details[0]["signature"])
    return wrap(details)


def wrap(details: Sequence[dict[str, Any]]) -> str:
    """Return the details as an opaque text."""
    return _MARK + urlsafe_b64encode(msgspec.json.encode(details)).decode()


def read_details(block: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the details of a thinking block, or a redacted one, that a client sends back."""
    opaque = block.get("signature") or block.get("data")
    if not isinstance(opaque, str) or not opaque:
        return []
    if opaque.startswith(_MARK):
        return _unwrap(opaque)
    if block.get("type") == "redacted_thinking":
        return [{"type": "reasoning.encrypted", "data": opaque, "format": ANTHROPIC}]
    text = str(block.get("thinking") or "")
    return [{"type": "reasoning.text", "text": text, "signature": opaque, "format": ANTHROPIC}]


def to_anthropic(block: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the blocks that Anthropic accepts for one that a client sends back.

    That is the block itself, if Anthropic has signed it.
    """
    opaque = block.get("signature") or block.get("data")
    if not isinstance(opaque, str) or not opaque.startswith(_MARK):
        if opaque:
            yield dict(block)
        return
    for detail in filter(_is_anthropics, _unwrap(opaque)):
        if detail.get("signature"):
            text = str(detail.get("text") or "")
            yield {"type": "thinking", "thinking": text, "signature": detail["signature"]}
        elif detail.get("data"):
            yield {"type": "redacted_thinking", "data": detail["data"]}


def _is_anthropics(detail: Mapping[str, Any]) -> bool:
    return str(detail.get("format") or ANTHROPIC).startswith("anthropic")


def _unwrap(opaque: str) -> list[dict[str, Any]]:
    """Return the details in an opaque text, none if it was changed."""
    try:
        details = msgspec.json.decode(urlsafe_b64decode(opaque.removeprefix(_MARK)))
    except (ValueError, RecursionError):  # msgspec.DecodeError and binascii.Error are ValueErrors
        return []
    given = details if isinstance(details, list) else []
    return [detail for detail in given if isinstance(detail, dict)]
