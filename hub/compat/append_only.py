"""What to send to a client that can only append to what it has.

An answer that restarts or is rewritten produces a new version of its text and of its other parts.
While the new version repeats what was sent, nothing is sent; after that, its continuation is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, Generic, TypeVar

from hub.compat.answer_state import AnswerState

_FILE_FIELDS: Final = ("url", "data", "media_type")

T = TypeVar("T")


class AlreadySentTextChanged(Exception):
    """The answer no longer begins with what an append-only client has been sent."""


class AppendOnlyText:
    """Computes what is new of a text.

    may_differ: whether a version that differs from the text already sent is sent as a whole, after
    it; otherwise such a version raises AlreadySentTextChanged.
    """

    def __init__(self, *, may_differ: bool = False) -> None:
        self._may_differ = may_differ
        self.version = 0  # grows with each version that differs
        self._sent: list[str] = []  # of the newest version
        self._kept = ""  # what remained of the version before
        self._to_repeat = ""  # the sent text that the new version has not repeated yet

    def add(self, text: str) -> str:
        """Return the part of a delta that is new to the client. Raise AlreadySentTextChanged."""
        expected = self._to_repeat
        if expected:
            if len(text) < len(expected) and expected.startswith(text):
                self._to_repeat = expected[len(text) :]
                return ""
            if not text.startswith(expected):
                text = self._begin_again(text)
            else:
                text = text[len(expected) :]
            self._to_repeat = ""
        self._sent.append(text)
        return text

    def restart(self, kept: str = "") -> None:
        """Expect a new version of the text. kept: what remains of the one so far."""
        self._kept = kept
        self._to_repeat = "".join(self._sent)[len(kept) :]

    def end(self) -> None:
        """Check the complete text.

        Raise AlreadySentTextChanged if it is shorter than the text already sent.
        """
        if self._to_repeat and not self._may_differ:
            raise AlreadySentTextChanged

    def _begin_again(self, text: str) -> str:
        """Return what a version that differs has so far, without what remained of the version
        before. text: its newest delta.
        """
        if not self._may_differ:
            raise AlreadySentTextChanged
        self.version += 1
        repeated = "".join(self._sent).removesuffix(self._to_repeat)[len(self._kept) :]
        self._sent = [self._kept]
        return repeated + text


class AppendOnlyList(Generic[T]):
    """Computes which entries of a list are new.

    may_differ: whether an entry that differs from the one at its place is sent after the others;
    otherwise it raises AlreadySentTextChanged.
    """

    def __init__(self, *, may_differ: bool = False) -> None:
        self._may_differ = may_differ
        self._sent: list[T] = []  # of the newest version, and what it has not repeated yet
        self._count = 0  # of the entries of the newest version so far

    def add(self, entries: Iterable[T]) -> list[T]:
        """Return those of the next entries that are new to the client.

        Raise AlreadySentTextChanged.
        """
        new = []
        for entry in entries:
            if self._count == len(self._sent) or self._sent[self._count] != entry:
                if self._count < len(self._sent) and not self._may_differ:
                    raise AlreadySentTextChanged
                self._sent[self._count :] = [entry]
                new.append(entry)
            self._count += 1
        return new

    def restart(self, kept_count: int = 0) -> None:
        """Expect a new version of the list. kept_count: how many of the entries so far remain."""
        self._count = min(kept_count, len(self._sent))

    def __contains__(self, entry: T) -> bool:
        """Whether an entry was sent."""
        return entry in self._sent

    def end(self) -> None:
        """Check the complete list.

        Raise AlreadySentTextChanged if it lacks entries that were sent.
        """
        if self._count < len(self._sent) and not self._may_differ:
            raise AlreadySentTextChanged


class SentParts:
    """What an append-only client has of an answer.

    Reasoning and sources may differ in a new version: it follows the one that was sent. A text or
    an image that differs would make the client show a wrong answer.
    """

    def __init__(self) -> None:
        self.text = AppendOnlyText()
        self.reasoning = AppendOnlyText(may_differ=True)
        self.reasoning_details = AppendOnlyList[dict[str, Any]](may_differ=True)
        self.annotations = AppendOnlyList[dict[str, Any]](may_differ=True)
        self.messages = AppendOnlyList[dict[str, Any]](may_differ=True)  # what they begin with
        self._images = AppendOnlyList[dict[str, Any]]()
        self._cited_files = AppendOnlyList[dict[str, Any]](may_differ=True)

    def is_new_image(self, file: Mapping[str, Any]) -> bool:
        """Add an image, the data of a part `file`. Raise AlreadySentTextChanged."""
        return bool(self._images.add([_content(file)]))

    def is_new_cited_file(self, file: Mapping[str, Any]) -> bool:
        """Add a file that is shown as a source."""
        return bool(self._cited_files.add([_content(file)]))

    def restart(self, kept: AnswerState) -> None:
        """Expect a new version of the answer. kept: what remains of the one so far."""
        self.text.restart(kept.text)
        self.reasoning.restart(kept.reasoning)
        self.reasoning_details.restart(len(kept.reasoning_details))
        self.annotations.restart(len(kept.annotations))
        self.messages.restart(len(kept.messages))
        files = [_content(file) for file in kept.files]
        self._images.restart(sum(file in self._images for file in files))
        self._cited_files.restart(sum(file in self._cited_files for file in files))

    def end(self) -> None:
        """Check the complete answer. Raise AlreadySentTextChanged if it lacks what was sent."""
        self.text.end()
        self._images.end()


def _content(file: Mapping[str, Any]) -> dict[str, Any]:
    return {name: file.get(name) for name in _FILE_FIELDS}
