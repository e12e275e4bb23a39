"""The content of an answer as text or as a list of typed parts, as Mistral and others send it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from hub.core.parts import Annotations, Part, Reasoning, Text
from hub.upstreams.dialect import UnreadableEvent

ContentText = str | list[Any] | None
"""The declared type of a field with text: a text, or a list of typed parts.

When an upstream sends a number there, repair.py converts it.
"""

_REASONING_TYPES: Final = frozenset(
    {"thinking", "reasoning", "reasoning_content", "reasoning_text", "summary_text"}
)
_TEXT_FIELDS: Final = (
    *("text", "thinking", "reasoning", "reasoning_content", "reasoning_text"),
    *("refusal", "content", "summary", "value"),
)


def read_content(content: str | Sequence[Any]) -> Iterator[Part]:
    """Yield the text and the reasoning of a content. Parts of other kinds are skipped."""
    if isinstance(content, str):
        yield Text(content)
        return
    for part in content:
        if text := read_text(part):
            is_reasoning = isinstance(part, dict) and str(part.get("type")) in _REASONING_TYPES
            yield Reasoning(text) if is_reasoning else Text(text)


def read_text(value: Any) -> str:
    """Return the text of a part, of a list of parts, or of a text; empty if it has none."""
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, list):
        return "".join(read_text(each) for each in value)
    if isinstance(value, dict):
        return next((text for name in _TEXT_FIELDS if (text := read_text(value.get(name)))), "")
    return ""


def require_text(delta: Any) -> str:
    """Return the text of a delta. Raise UnreadableEvent for something else that is not empty."""
    text = read_text(delta)
    if delta and not text:
        raise UnreadableEvent
    return text


class AnnotationReader:
    """Reads the sources of an answer, each once: upstreams repeat them in every chunk."""

    def __init__(self) -> None:
        self._seen: list[Any] = []

    def read(self, annotations: Sequence[Any]) -> Iterator[Annotations]:
        """Yield the new annotations in the form of chat completions.

        annotations: those of a message, or the URLs of a field `citations`.
        """
        new = []
        for each in annotations:
            annotation = _convert_annotation(each)
            if annotation is not None and annotation not in self._seen:
                self._seen.append(annotation)
                new.append(annotation)
        if new:
            yield Annotations(new)


def _convert_annotation(value: Any) -> dict[str, Any] | None:
    """Return the annotation; an URL alone, or with its title beside it, becomes `url_citation`."""
    if isinstance(value, str) and value:
        value = {"url": value}
    if not isinstance(value, dict):
        return None
    if isinstance(value.get("url"), str):
        names = ("url", "title", "start_index", "end_index")
        citation = {name: value[name] for name in names if value.get(name) is not None}
        return {"type": "url_citation", "url_citation": citation}
    return value
