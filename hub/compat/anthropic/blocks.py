"""The content blocks of a message, built event by event.

Source: docs.claude.com, "Streaming messages". A block begins with `content_block_start`, gets its
content in deltas, and ends with `content_block_stop`. `content` has the blocks as the SDKs put them
together, so it is also the content of the whole message. Invariants:

1. At most one block of text or thinking is open. It ends before another block begins.
2. Beside it, the block of one tool call may be open, because its arguments may come after a text.
3. A block of thinking gets one signature: the SDKs keep the last one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from hub.core.event import encode_json

_TEXTUAL: Final = ("text", "thinking")  # the types whose field of the same name is their text
Event = dict[str, Any]
"""The data of an event; its name is the field `type`."""


class ContentBlocks:
    """Each method yields the events of what it does."""

    def __init__(self) -> None:
        self._blocks: list[dict[str, Any]] = []  # without the text of text and thinking
        self._texts: list[list[str]] = []  # the text of each block so far
        self._open: int | None = None  # the index of the open block of text or thinking
        self._open_call: int | None = None  # the index of the open tool call
        self._arguments: list[str] = []  # those of the open tool call

    @property
    def content(self) -> list[dict[str, Any]]:
        """The blocks so far."""
        pairs = zip(self._blocks, self._texts, strict=True)
        return [
            {**block, block["type"]: "".join(texts)} if block["type"] in _TEXTUAL else block
            for block, texts in pairs
        ]

    @property
    def is_thinking(self) -> bool:
        """Whether a block of thinking is open."""
        return self._open_type == "thinking"

    @property
    def is_text(self) -> bool:
        """Whether a block of text is open."""
        return self._open_type == "text"

    @property
    def thinking(self) -> str:
        """The text of the open block of thinking, empty if there is none."""
        return "".join(self._texts[self._index()]) if self.is_thinking else ""

    @property
    def _open_type(self) -> str | None:
        return None if self._open is None else str(self._blocks[self._open]["type"])

    def add_text(self, text: str) -> Iterator[Event]:
        """Append text."""
        yield from self._ensure("text", {"text": ""})
        yield from self._append("text", "text_delta", text)

    def add_thinking(self, text: str) -> Iterator[Event]:
        """Append text of thinking."""
        yield from self._ensure("thinking", {"thinking": "", "signature": ""})
        yield from self._append("thinking", "thinking_delta", text)

    def add_citation(self, citation: dict[str, Any]) -> Iterator[Event]:
        """Add a citation to the open block of text, or to a new one."""
        yield from self._ensure("text", {"text": ""})
        index = self._index()
        block = self._blocks[index]
        block["citations"] = [*(block.get("citations") or ()), citation]
        yield _delta(index, {"type": "citations_delta", "citation": citation})

    def end_thinking(self, signature: str) -> Iterator[Event]:
        """Sign the block of thinking and end it; without an open one, sign an empty one."""
        yield from self._ensure("thinking", {"thinking": "", "signature": ""})
        index = self._index()
        self._blocks[index]["signature"] = signature
        yield _delta(index, {"type": "signature_delta", "signature": signature})
        yield from self.close()

    def add_redacted(self, data: str) -> Iterator[Event]:
        """Add a whole block of redacted thinking."""
        yield from self._start({"type": "redacted_thinking", "data": data})
        yield from self.close()

    def add_whole(self, block: dict[str, Any]) -> Iterator[Event]:
        """Add a block of another type, whose fields are complete. Its input comes in a delta."""
        yield from self.close()
        index, given = len(self._blocks), block.get("input")
        self._add(block)
        yield _start(index, block if given is None else {**block, "input": {}})
        if given:
            text = encode_json(given).decode()
            yield _delta(index, {"type": "input_json_delta", "partial_json": text})
        yield {"type": "content_block_stop", "index": index}

    def start_call(self, id_: str, name: str, extras: dict[str, Any]) -> Iterator[Event]:
        """Begin a tool call. extras: further fields, which some upstreams need back."""
        yield from self.close()
        self._open_call, self._arguments = len(self._blocks), []
        block = {"type": "tool_use", "id": id_, "name": name, "input": {}, **extras}
        self._add(block)
        yield _start(self._open_call, block)

    def add_arguments(self, text: str) -> Iterator[Event]:
        """Append to the arguments of the open tool call."""
        if self._open_call is not None:
            self._arguments.append(text)
            delta = {"type": "input_json_delta", "partial_json": text}
            yield _delta(self._open_call, delta)

    def end_call(self) -> Iterator[Event]:
        """End the open tool call."""
        if self._open_call is not None:
            index, self._open_call = self._open_call, None
            self._blocks[index]["input"] = parse_input("".join(self._arguments))
            yield {"type": "content_block_stop", "index": index}

    def close(self) -> Iterator[Event]:
        """End the open block of text or thinking."""
        if self._open is not None:
            index, self._open = self._open, None
            yield {"type": "content_block_stop", "index": index}

    def void_texts(self) -> list[dict[str, Any]]:
        """Empty all text, for a message that is not streamed; return the citations of it."""
        citations: list[dict[str, Any]] = []
        for block, texts in zip(self._blocks, self._texts, strict=True):
            if block["type"] == "text":
                texts.clear()
                citations += block.pop("citations", ())
        if self.is_text:
            self._open = None
        return citations

    def _ensure(self, kind: str, empty: dict[str, Any]) -> Iterator[Event]:
        if self._open_type != kind:
            yield from self._start({"type": kind, **empty})

    def _start(self, block: dict[str, Any]) -> Iterator[Event]:
        yield from self.close()
        self._open = len(self._blocks)
        self._add(block)
        yield _start(self._open, block)

    def _add(self, block: dict[str, Any]) -> None:
        self._blocks.append(block)
        self._texts.append([])

    def _append(self, field: str, kind: str, text: str) -> Iterator[Event]:
        index = self._index()
        self._texts[index].append(text)
        yield _delta(index, {"type": kind, field: text})

    def _index(self) -> int:
        """Return the index of the open block of text or thinking."""
        return len(self._blocks) - 1 if self._open is None else self._open


def parse_input(arguments: str) -> dict[str, Any]:
    """Return the input of a tool, which must be an object; other text becomes its `arguments`."""
    try:
        parsed = msgspec.json.decode(arguments or "{}")
    except (msgspec.DecodeError, RecursionError):
        parsed = None
    return parsed if isinstance(parsed, dict) else {"arguments": arguments}


def _start(index: int, block: dict[str, Any]) -> Event:
    return {"type": "content_block_start", "index": index, "content_block": dict(block)}


def _delta(index: int, delta: dict[str, Any]) -> Event:
    return {"type": "content_block_delta", "index": index, "delta": delta}
