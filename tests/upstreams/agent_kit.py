"""Streams of agents for the tests, and what an upstream reads of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from hub.core.folded_parts import FoldedParts
from hub.core.generation import GenerationRequest, Message
from hub.core.part_events import to_event
from hub.core.parts import Finished, Part, Usage
from hub.upstreams.dialect import Dialect
from hub.upstreams.reading.stream_reader import StreamReader

OPEN_TOOL = {"type": "function", "function": {"name": "open"}}
REQUEST = GenerationRequest(
    [Message("user", "hi")], "agent", "agent", params={"tools": [OPEN_TOOL]}
)
"""A request of a client that has the tool `open`."""


def read(
    dialect: Dialect, *events: dict[str, Any] | str, request: GenerationRequest | None = REQUEST
) -> list[Part]:
    """Return the parts of a stream. A text is sent as it is. Raise UpstreamError."""
    reader = StreamReader(dialect, 1_000_000, (), request)
    texts = [each if isinstance(each, str) else json.dumps(each) for each in events]
    stream = b"".join(b"data: " + text.encode() + b"\n\n" for text in texts)
    parts = [*reader.feed(stream), *reader.end()]
    if reader.failure:
        raise reader.failure
    return parts + reader.finish()


def fold(parts: Sequence[Part]) -> list[dict[str, Any]]:
    """Return the folded parts of an answer that is done."""
    folded = FoldedParts()
    for part in parts:
        if not isinstance(part, Usage | Finished):
            folded.apply(*to_event(part))
    folded.apply("generation.done", {})
    return folded.parts


def usage_of(parts: Sequence[Part]) -> dict[str, Any]:
    """Return the usage that the hub keeps of these parts."""
    reports = [part.tokens for part in parts if isinstance(part, Usage)]
    return {name: value for report in reports for name, value in report.items()}


def call_entry(
    id_: str, name: str, arguments: str = "{}", *, index: int = 0, run_by: str = "producer"
) -> dict[str, Any]:
    """Return the folded part of a tool call without a result."""
    head = {"type": "tool_call", "index": index, "id": id_, "name": name}
    return {**head, "arguments": arguments, "run_by": run_by}
