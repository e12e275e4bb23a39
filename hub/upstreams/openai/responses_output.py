"""What is known of the output of a response: the positions of its items, and the text so far."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class ReceivedText:
    """The text that the deltas of one kind have brought, so that a repetition is not read twice."""

    def __init__(self) -> None:
        self._texts: dict[tuple[int, int], list[str]] = {}
        self._lengths: dict[tuple[int, int], int] = {}

    @property
    def newest(self) -> tuple[int, int] | None:
        """The key of the part that began last."""
        return next(reversed(self._texts), None)

    def continue_part(self, key: tuple[int, int], length: int) -> None:
        """Go on with a part of which another reader has read so many characters."""
        self._texts[key] = []
        self._lengths[key] = length

    @property
    def keys(self) -> tuple[tuple[int, int], ...]:
        """The keys of the parts, in the order in which they began."""
        return tuple(self._texts)

    def length(self, key: tuple[int, int]) -> int:
        """Return the number of characters of one part."""
        return self._lengths.get(key, 0)

    def add(self, key: tuple[int, int], text: str) -> None:
        """Add the text of a delta. key: the position of the item, and of the part in it."""
        self._texts.setdefault(key, []).append(text)
        self._lengths[key] = self._lengths.get(key, 0) + len(text)

    def add_missing(self, key: tuple[int, int], text: str) -> str:
        """Return what is missing of the whole text of one part of the output."""
        known = "".join(self._texts.get(key, ()))
        if not text.startswith(known) or (not known and self.all().endswith(text)):
            return ""
        self.add(key, text[len(known) :])
        return text[len(known) :]

    def separator(self, key: tuple[int, int]) -> str:
        """Return what comes before a new part of an item that has text already: an empty line."""
        is_new = key not in self._texts
        return "\n\n" if is_new and any(known[0] == key[0] for known in self._texts) else ""

    def all(self) -> str:
        """Return the text of all parts."""
        return "".join(text for texts in self._texts.values() for text in texts)


class ItemPositions:
    """The positions of the items in the output.

    Some servers omit `output_index`, or send the same one for parallel calls; the ids of the items
    then distinguish them. Others send another id in each event, so an index is preferred to an id
    that is not known.
    """

    def __init__(self) -> None:
        self._by_id: dict[str, int] = {}
        self._calls: dict[int, str] = {}  # the ids of the calls, by their positions
        self._used: set[int] = set()

    def find(self, output_index: int | None, item_id: str | None) -> int:
        """Return the position of the item that an event belongs to."""
        known = self._by_id.get(item_id) if item_id else None
        return (output_index or 0) if known is None else known

    def add(self, output_index: int | None, item: Mapping[str, Any]) -> int:
        """Return the position of an item that is new or known."""
        id_, call_id = str(item.get("id") or ""), str(item.get("call_id") or "")
        position = self._by_id.get(call_id, self._by_id.get(id_) if not call_id else None)
        if position is None:
            position = output_index or 0
            is_taken = position in self._used if output_index is None else False
            if is_taken or (call_id and self._calls.get(position, call_id) != call_id):
                position = max(self._used) + 1
        self._used.add(position)
        if call_id:
            self._calls[position] = self._calls.get(position) or call_id
        self._by_id |= {each: position for each in (id_, call_id) if each}
        return position
