"""Stream parts: what upstreams of every wire format yield while they answer.

The parts of one answer are complete only with a `Finished` at the end. An upstream that ends
without one has failed (`upstream_truncated`). The relay turns parts into `generation.*` events.
"""

from __future__ import annotations

from typing import Any

import msgspec


class TextDelta(msgspec.Struct, frozen=True, gc=False):
    """More text of the answer."""

    text: str


class ReasoningDelta(msgspec.Struct, frozen=True, gc=False):
    """More text of the model's reasoning."""

    text: str


class ToolCallDelta(msgspec.Struct, frozen=True):
    """More of the tool calls, in OpenAI's delta form: `[{index, id, type, function}, …]`."""

    calls: list[dict[str, Any]]


class TextReplaced(msgspec.Struct, frozen=True, gc=False):
    """The upstream rewrote its answer; `text` is the whole text so far."""

    text: str


class Usage(msgspec.Struct, frozen=True):
    """Token counts as the upstream reports them, under OpenAI's names."""

    tokens: dict[str, Any]


class Finished(msgspec.Struct, frozen=True, gc=False):
    """The answer is complete. reason: `stop`, `length`, `tool_calls`, `refusal` and others."""

    reason: str


StreamPart = TextDelta | ReasoningDelta | ToolCallDelta | TextReplaced | Usage | Finished
