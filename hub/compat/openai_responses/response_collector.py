"""A response for a client that reads it whole: the same items, with the same ids, as its stream."""

from __future__ import annotations

from typing import Any

from hub.compat.answer_state import AnswerCollector
from hub.compat.openai_responses.encoder import ResponsesEncoder
from hub.compat.openai_responses.response_object import build_document, response_object
from hub.core.generation import Generation

_NEW_VERSIONS = ("generation.restarted", "generation.replaced")


class ResponseCollector(AnswerCollector):
    """Implements ports.AnswerEncoder without chunks.

    A client may read an answer whole that it has streamed before, and names its items later, so
    both have the items of the stream. Only if the answer was generated again or rewritten, the
    response has the newest version and not what the stream could not take back.
    """

    def __init__(self, record: Generation) -> None:
        super().__init__(record)
        self._stream = ResponsesEncoder(record)
        self._has_new_version = False

    def feed(self, name: str, data: bytes) -> tuple[bytes, ...]:
        if not self.is_finished:
            super().feed(name, data)
            self._stream.feed(name, data)
            is_new = name in _NEW_VERSIONS or self.answer.is_cut
            self._has_new_version = self._has_new_version or is_new
        return ()

    def document(self) -> dict[str, Any]:
        """Return the response object."""
        if self._has_new_version:
            return response_object(self.record, self.answer)
        return build_document(self.record, self.answer, self._stream.output())

    def items(self) -> dict[str, dict[str, Any]]:
        """Return the items of the response and of its stream by their ids."""
        output = [*self.document()["output"], *self._stream.output()]
        return {item["id"]: item for item in output}
