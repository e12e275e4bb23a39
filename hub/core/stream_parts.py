"""What an upstream says while it answers, whatever its wire format: one list of pieces.

A stream of pieces is complete only when a Finish came; an adapter raises UpstreamError
(`upstream_truncated`) when the upstream ended without one.
"""

from __future__ import annotations

from typing import Any

import msgspec


class TextDelta(msgspec.Struct, frozen=True, gc=False):
    """More of the answer."""

    text: str


class ReasoningDelta(msgspec.Struct, frozen=True, gc=False):
    """More of what the model thinks before and while it answers."""

    text: str


class ToolCallDelta(msgspec.Struct, frozen=True):
    """More of the tool calls, in OpenAI's delta form: `[{index, id, type, function}, …]`."""

    calls: list[dict[str, Any]]


class TextReplaced(msgspec.Struct, frozen=True, gc=False):
    """The upstream rewrote what it had said; `text` is all of it now."""

    text: str


class Usage(msgspec.Struct, frozen=True):
    """Token counts as the upstream reports them, in OpenAI's names."""

    tokens: dict[str, Any]


class Finished(msgspec.Struct, frozen=True, gc=False):
    """The upstream said that the answer is complete, and why: `stop`, `length`, `tool_calls` …"""

    reason: str


StreamPart = TextDelta | ReasoningDelta | ToolCallDelta | TextReplaced | Usage | Finished
