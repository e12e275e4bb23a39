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
    """More of the tool calls, in OpenAI's delta form: `[{index, id, type, function}, …]`.

    The reader of a wire format returns what the server sent; the parts that leave an upstream are
    in the normal form of tool_calls.py.
    """

    calls: list[dict[str, Any]]


class ReasoningDetails(msgspec.Struct, frozen=True):
    """More of the reasoning in the vendor's form, which it needs back with the next request.

    The items are those of OpenRouter's `reasoning_details`: `reasoning.text` with its signature,
    `reasoning.summary` and `reasoning.encrypted`.
    """

    details: list[dict[str, Any]]


class Annotations(msgspec.Struct, frozen=True):
    """Sources of the answer, as OpenAI's chat completions name them: `url_citation` and others."""

    annotations: list[dict[str, Any]]


class TextReplaced(msgspec.Struct, frozen=True, gc=False):
    """The upstream rewrote its answer; `text` is the whole text so far."""

    text: str


class Usage(msgspec.Struct, frozen=True):
    """Token counts as the upstream reports them, under OpenAI's names."""

    tokens: dict[str, Any]


class Finished(msgspec.Struct, frozen=True, gc=False):
    """The answer is complete. reason: `stop`, `length`, `tool_calls`, `refusal` and others."""

    reason: str


StreamPart = (
    TextDelta
    | ReasoningDelta
    | ReasoningDetails
    | ToolCallDelta
    | Annotations
    | TextReplaced
    | Usage
    | Finished
)
