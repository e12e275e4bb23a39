"""The state and the activities of an AG-UI run as parts.

Source: docs.ag-ui.com, "State Management" and "Activities". The state is data with the name
`state`, and each change of it (a JSON Patch) is data with the name `state_delta`. Both have ids, so
that a record holds only the newest snapshot and the changes after it: a snapshot empties those
before it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import jsonpatch
import jsonpointer

from hub.core.parts import Data, Part

STATE: Final = "state"
STATE_DELTA: Final = "state_delta"
_MAX_ACTIVITIES: Final = 1000  # whose content is kept for later changes
_MAX_COPIES: Final = 8  # of one patch, because each one can double the content


class RunState:
    """What a run has published of its state and its activities so far."""

    def __init__(self) -> None:
        self._changes = 0  # since the last snapshot
        self._activities: dict[str, tuple[str, Any]] = {}  # type and content, by message id

    def set(self, snapshot: Any) -> Iterator[Part]:
        """Yield the whole state."""
        yield Data(STATE, snapshot, STATE)
        for number in range(self._changes):
            yield Data(STATE_DELTA, [], str(number))
        self._changes = 0

    def change(self, patch: Sequence[Any]) -> Iterator[Part]:
        """Yield a change of the state."""
        yield Data(STATE_DELTA, list(patch), str(self._changes))
        self._changes += 1

    def set_activity(self, message_id: str, name: str, content: Any) -> Part:
        """Return the whole content of an activity."""
        if len(self._activities) < _MAX_ACTIVITIES or message_id in self._activities:
            self._activities[message_id] = name, content
        return self.custom(name, content, message_id or None)

    def change_activity(self, message_id: str, patch: Sequence[Any]) -> Iterator[Part]:
        """Yield the content of an activity after a change, unless it does not fit."""
        name, content = self._activities.get(message_id, ("", None))
        if not name or _count_copies(patch) > _MAX_COPIES:
            return
        try:
            changed = jsonpatch.apply_patch(content, patch)
        except (jsonpatch.JsonPatchException, jsonpointer.JsonPointerException):
            return
        yield self.set_activity(message_id, name, changed)

    def custom(self, name: str, value: Any, id_: str | None = None) -> Part:
        """Return data of the application's own, which cannot be mistaken for the state."""
        own = f"custom_{name}" if name in (STATE, STATE_DELTA) else name
        return Data(own, value, id_)


def _count_copies(patch: Sequence[Any]) -> int:
    return sum(isinstance(each, dict) and each.get("op") == "copy" for each in patch)
