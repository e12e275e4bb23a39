"""What the chunks of the AI SDK do not say themselves: steps, and what a provider needs back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from hub.core.parts import File, Part, ReasoningDetails, StepEnd, StepStart
from hub.errors import UpstreamError
from hub.upstreams.chat_messages import parse_data_url

REASONING_FORMAT: Final = "ai-sdk-v1"
"""The format of reasoning details that hold the provider metadata of a reasoning part."""
HUB: Final = "hub"  # the key of a hub's own metadata
_OCTETS: Final = "application/octet-stream"


class Steps:
    """The steps of an answer. The first one is the answer itself, and has no part."""

    def __init__(self) -> None:
        self._count = 0
        self._running: list[int] = []
        self._before = ""  # the text before the newest step
        self._text: list[str] = []  # the text since then
        self.first_call = 0  # the number of tool calls before the newest step

    def begin(self, calls: int) -> Part | None:
        """Begin a step, and return its part. calls: the number of tool calls so far."""
        self._count += 1
        self._running.append(self._count)
        self._before += "".join(self._text)
        self._text, self.first_call = [], calls
        return StepStart(f"step {self._count}") if self._count > 1 else None

    def end(self) -> Part | None:
        """End the newest step that runs, and return its part."""
        number = self._running.pop() if self._running else 1
        return StepEnd(f"step {number}") if number > 1 else None

    def add_text(self, text: str) -> None:
        """Add text to the newest step."""
        self._text.append(text)

    def reset_text(self) -> str:
        """Forget the text of the newest step, and return the text before it."""
        self._text = []
        return self._before


class ReasoningMetadata:
    """The provider metadata of the reasoning part that is open."""

    def __init__(self) -> None:
        self._metadata: Mapping[str, Any] = {}

    def update(self, metadata: Mapping[str, Any] | None) -> None:
        """Take the metadata of a chunk; later metadata takes the place of earlier."""
        self._metadata = metadata or self._metadata

    def end(self) -> Iterator[Part]:
        """Yield what the provider needs back of the part, which has ended."""
        metadata, self._metadata = dict(self._metadata), {}
        own = metadata.pop(HUB, None)
        details = own.get("reasoningDetails") if isinstance(own, dict) else None
        if isinstance(details, list) and all(isinstance(each, dict) for each in details):
            yield ReasoningDetails(details)
        if metadata:
            data = msgspec.json.encode(metadata).decode()
            detail = {"type": "reasoning.encrypted", "data": data, "format": REASONING_FORMAT}
            yield ReasoningDetails([detail])


def call_extras(metadata: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the fields of a tool call that the provider needs back with it."""
    given = dict(metadata or {})
    own = given.pop(HUB, None)
    extras = dict(own) if isinstance(own, dict) else {}
    return {**extras, **({"provider_metadata": given} if given else {})}


def read_file(url: str, media_type: str | None) -> Part:
    """Return the file at a URL; a data: URL has its content."""
    try:
        inline = parse_data_url(url)
    except UpstreamError:  # it is not in base64
        inline = None
    if inline is None:
        return File(url=url, media_type=media_type or _OCTETS)
    return File(data=inline[1], media_type=media_type or inline[0] or _OCTETS)
