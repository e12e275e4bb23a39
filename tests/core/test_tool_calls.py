"""Deltas of parallel tool calls get correct indexes, however the server numbers them."""

from __future__ import annotations

from typing import Any

import pytest

from hub.core.tool_calls import ToolCallIndexer


def delta(index: int | None = None, id_: str | None = None, name: str = "", args: str = "") -> Any:
    """Return a delta of a call as a server sends it."""
    call: dict[str, Any] = {
        "function": {"name": name, "arguments": args} if name else {"arguments": args}
    }
    if index is not None:
        call["index"] = index
    if id_ is not None:
        call["id"] = id_
    return call


@pytest.mark.parametrize(
    ("deltas", "indexes"),
    [
        # the form of OpenAI
        (
            [delta(0, "a", "f"), delta(0, args="{}"), delta(1, "b", "g"), delta(1, args="{}")],
            [0, 0, 1, 1],
        ),
        # index 0 for every call, the id only once (litellm #33678)
        (
            [delta(0, "a", "f"), delta(0, args="{}"), delta(0, "b", "g"), delta(0, args="{}")],
            [0, 0, 1, 1],
        ),
        # no index, the id only once
        (
            [delta(None, "a", "f"), delta(args="{}"), delta(None, "b", "f"), delta(args="{")],
            [0, 0, 1, 1],
        ),
        # the id in every delta, interleaved, index 0
        (
            [
                delta(0, "a", "f"),
                delta(0, "b", "f"),
                delta(0, "a", args="1"),
                delta(0, "b", args="2"),
            ],
            [0, 1, 0, 1],
        ),
        # whole calls at once, without ids, index 0
        (
            [delta(0, None, "f", "{}"), delta(0, None, "f", "{}"), delta(0, None, "g", "{}")],
            [0, 1, 2],
        ),
        # the name repeated in every delta
        ([delta(0, None, "f", '{"a"'), delta(0, None, "f", ":1}")], [0, 0]),
        # another id in every delta of one call
        ([delta(0, "a", "f"), delta(0, "x", args="{"), delta(0, "y", args="}")], [0, 0, 0]),
        # indexes that do not start at 0
        ([delta(3, "a", "f"), delta(7, "b", "g"), delta(3, args="{}")], [0, 1, 0]),
    ],
)
def test_indexes(deltas: list[Any], indexes: list[int]) -> None:
    """Each delta gets the index of its call, counted from 0."""
    assigned = ToolCallIndexer().assign(deltas)
    assert [call["index"] for call in assigned] == indexes


def test_malformed_deltas() -> None:
    """A function that is not an object and ids that are numbers do no harm."""
    unusual: list[Any] = [{"function": 5}, {"id": 7, "index": "x", "function": {"arguments": None}}]
    assert [call["index"] for call in ToolCallIndexer().assign(unusual)] == [0, 0]
