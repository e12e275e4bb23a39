"""How blocks of Anthropic's Messages that the hub does not know pass through it.

They are those of tools that Anthropic runs itself: `server_tool_use`, `web_search_tool_result` and
others, which a client needs back with its next request. In an answer, the JSON text of such a block
is split over parts `Data` with the name BLOCK_DATA and the value `{"json": …, "more": …}`, because
a result may be larger than a part. A part `Data` with the name STOP_DATA holds the `stop_reason`
and the `stop_sequence` of an answer whose reason has no counterpart in finish_reasons.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from hub.core.event import encode_json
from hub.core.parts import Data

BLOCK_DATA: Final = "anthropic_block"
STOP_DATA: Final = "anthropic_stop"
STOP_REASONS: Final = frozenset({"stop_sequence", "pause_turn", "model_context_window_exceeded"})
"""Those without a counterpart."""
_CHUNK_CHARS: Final = 12_000  # at most 48 KiB, and a part may have 64 KiB


def split_block(block: dict[str, Any]) -> Iterator[Data]:
    """Yield the parts of a block."""
    text = encode_json(block).decode()
    for start in range(0, len(text), _CHUNK_CHARS):
        end = start + _CHUNK_CHARS
        yield Data(BLOCK_DATA, {"json": text[start:end], "more": end < len(text)})


class BlockJoiner:
    """Joins the parts of blocks."""

    def __init__(self) -> None:
        self._texts: list[str] = []

    def add(self, value: Any) -> dict[str, Any] | None:
        """Take the value of the next part. Return a block that is complete; None otherwise."""
        if not isinstance(value, dict) or not isinstance(value.get("json"), str):
            return None  # of an application that uses the name for something else
        self._texts.append(value["json"])
        if value.get("more"):
            return None
        text, self._texts = "".join(self._texts), []
        try:
            block = msgspec.json.decode(text)
        except (msgspec.DecodeError, RecursionError):
            return None
        is_block = isinstance(block, dict) and isinstance(block.get("type"), str)
        return block if is_block else None


def read_stop(value: Any) -> dict[str, Any] | None:
    """Return `stop_reason` and `stop_sequence` of the value of STOP_DATA; None if it has none."""
    if not isinstance(value, dict) or value.get("stop_reason") not in STOP_REASONS:
        return None
    return {name: value.get(name) for name in ("stop_reason", "stop_sequence")}
