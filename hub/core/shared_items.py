"""What a user has done with the items that a topic or `all` keeps for all of its users.

Such an item is stored once. The state of one user is a watermark, up to which everything is read
(and another one for seen), and exceptions: the items that are not what the watermarks say. It is
one text, so that it can be replaced if it is still what a process has read:

    state     = "r=" id " s=" id *( " " id "=" letters )
    letters   = *( "s" / "r" / "a" / "d" )          seen, read, archived, deleted

Rules:
1. An item without an exception is read if its id is at most the first watermark, and seen if its id
   is at most the second one. It is not archived and not deleted.
2. Only items that still exist have exceptions, so a state is as bounded as the items of its source.
3. Watermarks only rise. A new item is newer than every watermark.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec

from hub.core.inbox import ChangeTarget, ItemChange, ItemFlags, ItemId

_ZERO: Final = (0, 0)
_Rank = tuple[int, int]


class SharedEntry(msgspec.Struct, frozen=True):
    """An item of a topic or of `all`, without its data."""

    id: ItemId
    category: str
    required: bool = False


class _ItemState(msgspec.Struct, frozen=True):
    flags: ItemFlags
    is_deleted: bool = False


class SharedState(msgspec.Struct, frozen=True):
    """A user's state of the items of one source. read_up_to, seen_up_to: the watermarks."""

    read_up_to: _Rank = _ZERO
    seen_up_to: _Rank = _ZERO
    exceptions: Mapping[_Rank, _ItemState] = {}

    def flags(self, item: ItemId) -> ItemFlags | None:
        """Return what the user has done with an item, None if the user has deleted it."""
        state = self._state(_rank(item))
        return None if state.is_deleted else state.flags

    def apply(
        self,
        change: ItemChange,
        target: ChangeTarget,
        entries: Sequence[SharedEntry],
        *,
        shows: Callable[[SharedEntry], bool] = lambda _: True,
    ) -> tuple[SharedState, list[ItemId]]:
        """Return the state after a change, and the items that are different now.

        entries: all items of the source that exist, in any order. shows: whether the user can see
        an item. One that the user cannot see now stays what it is for the time when the user can.
        """
        changed: list[ItemId] = []
        states: dict[_Rank, _ItemState] = {}
        for entry in sorted(entries, key=lambda each: each.id):
            before = after = self._state(_rank(entry.id))
            is_visible = shows(entry) and not before.is_deleted
            if is_visible and target.has(entry.id, entry.category):
                if change.removes:
                    after = _ItemState(before.flags, is_deleted=True)
                else:
                    after = _ItemState(change.apply(before.flags))
            if after != before:
                changed.append(entry.id)
            states[_rank(entry.id)] = after
        if not changed:
            return self, []
        return self._from_states(states), changed

    def _state(self, rank: _Rank) -> _ItemState:
        return self.exceptions.get(rank) or _ItemState(
            ItemFlags(read=rank <= self.read_up_to, seen=rank <= self.seen_up_to)
        )

    def _from_states(self, states: Mapping[_Rank, _ItemState]) -> SharedState:
        """Return the state with the highest watermarks. states: in the order of the items."""
        marked = SharedState(
            _watermark(self.read_up_to, {at: s.flags.read for at, s in states.items()}),
            _watermark(self.seen_up_to, {at: s.flags.seen for at, s in states.items()}),
        )
        exceptions = {at: state for at, state in states.items() if marked._state(at) != state}
        return msgspec.structs.replace(marked, exceptions=exceptions)


def _watermark(before: _Rank, is_done: Mapping[_Rank, bool]) -> _Rank:
    """Return the newest item up to which everything is done."""
    newest = before
    for rank, done in is_done.items():
        if not done:
            break
        newest = max(newest, rank)
    return newest


def parse_shared_state(text: str) -> SharedState:
    """Parse a state; an empty text is the state of a user who has done nothing yet."""
    if not text:
        return SharedState()
    read, seen, *rest = (part.split("=") for part in text.split(" "))
    exceptions = {
        _parse_rank(rank): _ItemState(
            ItemFlags(seen="s" in letters, read="r" in letters, archived="a" in letters),
            is_deleted="d" in letters,
        )
        for rank, letters in rest
    }
    return SharedState(_parse_rank(read[1]), _parse_rank(seen[1]), exceptions)


def encode_shared_state(state: SharedState) -> str:
    """Return the text of a state."""
    parts = [f"r={_encode_rank(state.read_up_to)}", f"s={_encode_rank(state.seen_up_to)}"]
    for rank, each in state.exceptions.items():
        letters = "s" * each.flags.seen + "r" * each.flags.read + "a" * each.flags.archived
        parts.append(f"{_encode_rank(rank)}={letters}{'d' * each.is_deleted}")
    return " ".join(parts)


def _rank(item: ItemId) -> _Rank:
    return item.ms, item.n


def _encode_rank(rank: _Rank) -> str:
    return f"{rank[0]}-{rank[1]}"


def _parse_rank(text: str) -> _Rank:
    ms, _, n = text.partition("-")
    return int(ms), int(n)
