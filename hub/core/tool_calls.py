"""Parallel tool calls whose pieces an upstream numbers badly, told apart all the same.

OpenAI's deltas carry an `index`; backends were seen that send 0 for every call, or none, that name
the id once or in every delta, and that send a whole call at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec


class ToolCallIndexer:
    """Gives each piece its call's index: by the id, else by the index, else the call begun last."""

    def __init__(self) -> None:
        self._by_id: dict[str, int] = {}
        self._by_index: dict[int, int] = {}
        self._names: list[str] = []
        self._arguments: list[str] = []

    def assign(self, calls: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """The same pieces with `index` counting the calls from 0."""
        return [{**call, "index": self._slot(call)} for call in calls]

    def _slot(self, call: dict[str, Any]) -> int:
        function = call.get("function")
        named = function.get("name") if isinstance(function, dict) else None
        name = named if isinstance(named, str) else ""
        said = function.get("arguments") if isinstance(function, dict) else None
        slot = self._known(call.get("id"), call.get("index"), name)
        if slot is None:
            slot = len(self._names)
            self._names.append(name)
            self._arguments.append("")
        self._names[slot] = self._names[slot] or name
        self._arguments[slot] += said if isinstance(said, str) else ""
        if isinstance(call.get("id"), str) and call["id"]:
            self._by_id[call["id"]] = slot
        if isinstance(call.get("index"), int):
            self._by_index[call["index"]] = slot
        return slot

    def _known(self, id_: object, index: object, name: str) -> int | None:
        """The call that the piece belongs to; None when it begins one."""
        if isinstance(id_, str) and id_:
            if id_ in self._by_id:
                return self._by_id[id_]
            if name:
                return None
        slot = self._by_index.get(index) if isinstance(index, int) else None
        if slot is None and not isinstance(index, int) and self._names:
            slot = len(self._names) - 1
        if slot is not None and name and self._names[slot] and self._begins(slot, name):
            return None
        return slot

    def _begins(self, slot: int, name: str) -> bool:
        """Whether a name that comes again is another call's: the arguments so far are whole."""
        if name != self._names[slot]:
            return True
        try:
            msgspec.json.decode(self._arguments[slot])
        except (msgspec.DecodeError, RecursionError):
            return False
        return True
