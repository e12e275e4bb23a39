"""The messages of an AG-UI run: which text of them is the answer, and what a snapshot changes.

Source: docs.ag-ui.com, "Messages" and "Events" (MESSAGES_SNAPSHOT). A snapshot has all messages of
the conversation. Those of the run follow the newest message that the request had, or the newest
message of the user. A message that is still open may be missing in a snapshot.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from hub.upstreams.content import read_text

_ANSWER_ROLES: Final = ("assistant", "")


class RunMessages:
    """The text of the run's messages so far. sent_ids: the ids of the messages of the request."""

    def __init__(self, sent_ids: Collection[str] = ()) -> None:
        self._sent_ids = frozenset(sent_ids)
        self._texts: dict[str, list[str]] = {}  # of the messages of the answer, by id
        self._others: set[str] = set()  # the messages of other roles
        self._open: dict[str, None] = {}  # the messages that have begun and not ended, by id

    @property
    def has_text(self) -> bool:
        """Whether the answer has any text."""
        return any(self._texts.values())

    def begin(self, message_id: str, role: str | None) -> None:
        """Begin a message. role: None means the assistant."""
        if (role or "") not in _ANSWER_ROLES:
            self._others.add(message_id)
        self._open[message_id] = None

    def end(self, message_id: str) -> None:
        """End a message."""
        self._open.pop(message_id, None)

    def add(self, message_id: str | None, text: str, role: str | None = None) -> bool:
        """Add text, and return whether it belongs to the answer.

        message_id: None continues the message that began last. role: that of a message that may
        begin with this text.
        """
        id_ = next(reversed(self._open), "") if message_id is None else message_id
        if role and id_ not in self._texts:
            self.begin(id_, role)
        if id_ in self._others:
            return False
        self._texts.setdefault(id_, []).append(text)
        return True

    def new_messages(self, snapshot: Sequence[Any]) -> Sequence[Mapping[str, Any]]:
        """Return the messages of a snapshot that belong to the run."""
        messages = [each for each in snapshot if isinstance(each, dict)]
        known = [
            n
            for n, message in enumerate(messages)
            if message.get("role") == "user" or message.get("id") in self._sent_ids
        ]
        return messages[known[-1] + 1 if known else 0 :]

    def update(self, messages: Sequence[Mapping[str, Any]]) -> tuple[str, bool]:
        """Take over the text of the messages of the run in a snapshot.

        Return the text that is new, and whether it takes the place of all text so far.
        """
        texts = {
            str(message.get("id")): read_text(message.get("content"))
            for message in messages
            if message.get("role") == "assistant"
        }
        known = "".join(text for chunks in self._texts.values() for text in chunks)
        for id_ in self._open:
            if id_ in self._texts and len(texts.get(id_, "")) < len("".join(self._texts[id_])):
                texts[id_] = "".join(self._texts[id_])
        text = "".join(texts.values())
        self._texts = {id_: [each] for id_, each in texts.items() if each}
        is_longer = text.startswith(known)
        return text[len(known) :] if is_longer else text, not is_longer
