"""Tool calls told apart whatever the backend numbers them."""

from __future__ import annotations

from typing import Any

import pytest

from hub.core.tool_calls import ToolCallIndexer


def piece(index: int | None = None, id_: str | None = None, name: str = "", args: str = "") -> Any:
    """A piece of a call as a backend sends it."""
    call: dict[str, Any] = {
        "function": {"name": name, "arguments": args} if name else {"arguments": args}
    }
    if index is not None:
        call["index"] = index
    if id_ is not None:
        call["id"] = id_
    return call


@pytest.mark.parametrize(
    ("pieces", "slots"),
    [
        # as OpenAI does it
        (
            [piece(0, "a", "f"), piece(0, args="{}"), piece(1, "b", "g"), piece(1, args="{}")],
            [0, 0, 1, 1],
        ),
        # index 0 for every call, the id once (litellm #33678)
        (
            [piece(0, "a", "f"), piece(0, args="{}"), piece(0, "b", "g"), piece(0, args="{}")],
            [0, 0, 1, 1],
        ),
        # no index, the id once
        (
            [piece(None, "a", "f"), piece(args="{}"), piece(None, "b", "f"), piece(args="{")],
            [0, 0, 1, 1],
        ),
        # the id in every piece, interleaved, index 0
        (
            [
                piece(0, "a", "f"),
                piece(0, "b", "f"),
                piece(0, "a", args="1"),
                piece(0, "b", args="2"),
            ],
            [0, 1, 0, 1],
        ),
        # whole calls at once, without ids, index 0
        (
            [piece(0, None, "f", "{}"), piece(0, None, "f", "{}"), piece(0, None, "g", "{}")],
            [0, 1, 2],
        ),
        # the name repeated in every piece
        ([piece(0, None, "f", '{"a"'), piece(0, None, "f", ":1}")], [0, 0]),
        # another id for every piece of one call
        ([piece(0, "a", "f"), piece(0, "x", args="{"), piece(0, "y", args="}")], [0, 0, 0]),
        # indexes that do not begin at 0
        ([piece(3, "a", "f"), piece(7, "b", "g"), piece(3, args="{}")], [0, 1, 0]),
    ],
)
def test_slots(pieces: list[Any], slots: list[int]) -> None:
    """Each piece gets its call's index, counted from 0."""
    placed = ToolCallIndexer().assign(pieces)
    assert [call["index"] for call in placed] == slots


def test_odd_pieces_do_no_harm() -> None:
    """A function that is none, ids that are numbers."""
    odd: list[Any] = [{"function": 5}, {"id": 7, "index": "x", "function": {"arguments": None}}]
    assert [call["index"] for call in ToolCallIndexer().assign(odd)] == [0, 0]
