"""Indexes for the deltas of parallel tool calls, also when an upstream numbers them wrongly.

OpenAI's deltas carry an `index`. Some servers send index 0 for every call or no index at all, some
send the id once and others in every delta, and some send a whole call in one delta.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec


class ToolCallIndexer:
    """Assigns each delta to a call: by its id, else by its index, else to the latest call."""

    def __init__(self) -> None:
        self._by_id: dict[str, int] = {}  # the upstream's id → assigned index
        self._by_index: dict[int, int] = {}  # the upstream's index → assigned index
        self._names: list[str] = []  # function names by assigned index
        self._arguments: list[str] = []  # arguments so far by assigned index

    def assign(self, calls: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the deltas with an `index` that counts the calls of the response from 0."""
        return [{**call, "index": self._assign_index(call)} for call in calls]

    def _assign_index(self, call: dict[str, Any]) -> int:
        given = call.get("function")
        function = given if isinstance(given, dict) else {}
        name = function.get("name")
        name = name if isinstance(name, str) else ""
        arguments = function.get("arguments")
        index = self._find(call.get("id"), call.get("index"), name)
        if index is None:
            index = len(self._names)
            self._names.append(name)
            self._arguments.append("")
        self._names[index] = self._names[index] or name
        self._arguments[index] += arguments if isinstance(arguments, str) else ""
        if isinstance(call.get("id"), str) and call["id"]:
            self._by_id[call["id"]] = index
        if isinstance(call.get("index"), int):
            self._by_index[call["index"]] = index
        return index

    def _find(self, id_: object, upstream_index: object, name: str) -> int | None:
        """Return the index of the call that a delta continues; None when it starts a call."""
        if isinstance(id_, str) and id_:
            if id_ in self._by_id:
                return self._by_id[id_]
            if name:
                return None
        has_index = isinstance(upstream_index, int)
        index = self._by_index.get(upstream_index) if isinstance(upstream_index, int) else None
        if index is None and not has_index and self._names:
            index = len(self._names) - 1
        if index is not None and name and self._names[index] and self._starts_call(index, name):
            return None
        return index

    def _starts_call(self, index: int, name: str) -> bool:
        """Whether a repeated name belongs to another call: the arguments so far are complete."""
        if name != self._names[index]:
            return True
        try:
            msgspec.json.decode(self._arguments[index])
        except (msgspec.DecodeError, RecursionError):
            return False
        return True
