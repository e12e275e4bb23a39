"""Output templates: an answer in the format that clients of older servers expect.

An output template has one template per kind of event. A template is any JSON value; its strings may
contain the placeholders `{text}`, `{code}`, `{message}`, `{generation}`, `{finish_reason}` and
`{tool_calls}`. A template that is a string is sent as text, any other value as JSON on one line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from hub.compat.answer_encoder import STOPPED, STOPPED_CODE, AnswerEncoderBase
from hub.compat.answer_state import GenerationEvent
from hub.compat.append_only import AlreadySentTextChanged, SentParts
from hub.core import sse
from hub.core.event import encode_json
from hub.core.generation import Generation

_PLACEHOLDER: Final = re.compile(r"\{(text|code|message|generation|finish_reason|tool_calls)\}")


class OutputTemplate(msgspec.Struct, frozen=True, kw_only=True):
    """What is sent for each kind of event. A template that is None sends nothing.

    cumulative: whether each event carries the whole text so far instead of the new part.
    opening: before the text. end: after the text, also after an error. error: for a failure or a
    stop. events: the event names by template; the other templates send unnamed events.
    """

    cumulative: bool
    opening: Any
    text: Any
    reasoning: Any
    tool_calls: Any
    error: Any
    end: Any
    events: Mapping[str, str]


BUILT_IN_TEMPLATES: Final[Mapping[str, OutputTemplate]] = {
    "cumulative": OutputTemplate(
        cumulative=True,
        opening=None,
        text="{text}",
        reasoning=None,
        tool_calls=None,
        error={"code": "{code}", "message": "{message}"},
        end="[DONE]",
        events={"error": "error"},
    ),
    "envelope": OutputTemplate(
        cumulative=False,
        opening=None,
        text={"code": 200, "data": "{text}"},
        reasoning=None,
        tool_calls=None,
        error={"code": 500, "message": "{message}"},
        end={"code": -200},
        events={},
    ),
    "text": OutputTemplate(
        cumulative=False,
        opening=None,
        text="{text}",
        reasoning=None,
        tool_calls=None,
        error="{message}",
        end="stop",
        events={"error": "error"},
    ),
}
"""The templates that exist without any settings, by their name in `?shape=`."""


class TemplateEncoder(AnswerEncoderBase):
    """Implements ports.AnswerEncoder with an output template."""

    def __init__(self, record: Generation, template: OutputTemplate) -> None:
        super().__init__(record)
        self.template = template
        self._sent = SentParts()
        self._has_sent_calls = False

    def on_start(self) -> Iterator[bytes]:
        yield from self._fill("opening")

    def on_reasoning(self, reasoning: str) -> Iterator[bytes]:
        if new := self._sent.reasoning.add(reasoning):
            yield from self._fill("reasoning", text=new)

    def on_text(self, text: str) -> Iterator[bytes]:
        if self.template.cumulative:
            yield from self._fill("text", text=self.answer.text)
        elif new := self._sent.text.add(text):
            yield from self._fill("text", text=new)

    def on_tool_call(self, call: dict[str, Any]) -> Iterator[bytes]:
        for chunk in self._fill("tool_calls", tool_calls=[call]):
            self._has_sent_calls = True
            yield chunk

    def on_replaced(self, text: str) -> Iterator[bytes]:
        self._sent.text.restart()
        yield from self.on_text(text)

    def on_restarted(self) -> Iterator[bytes]:
        if self._has_sent_calls:
            raise AlreadySentTextChanged
        self._sent.restart(self.answer)
        yield from ()

    def on_cut(self, parts: list[dict[str, Any]]) -> Iterator[bytes]:
        if self._has_sent_calls and self.answer.are_calls_cut:
            raise AlreadySentTextChanged
        self._sent.restart(self.answer)
        yield from ()

    def on_done(self, event: GenerationEvent) -> Iterator[bytes]:
        if not self.template.cumulative:
            self._sent.end()
        yield from self._fill("end", finish_reason=event.finish_reason or "stop")

    def on_stopped(self) -> Iterator[bytes]:
        yield from self.on_failed(STOPPED_CODE, STOPPED)

    def on_failed(self, code: str, message: str) -> Iterator[bytes]:
        yield from self._fill("error", code=code, message=message)
        yield from self._fill("end", code=code, message=message, finish_reason="error")

    def _fill(self, part: str, **values: Any) -> Iterator[bytes]:
        template = getattr(self.template, part)
        if template is None:
            return
        filled = _fill(template, {"generation": self.record.id, **values})
        if filled == "":
            return  # clients ignore an event without data
        body = sse.encode_event(self.template.events.get(part, ""), encode_json(filled))
        yield body.removeprefix(b"event: \n")


def _fill(template: Any, values: Mapping[str, Any]) -> Any:
    """Return the template with its placeholders filled in.

    A string that is nothing but one placeholder becomes the value itself, which may be no string.
    """
    match template:
        case str():
            placeholder = _PLACEHOLDER.fullmatch(template)
            if placeholder:
                return values.get(placeholder[1], "")
            return _PLACEHOLDER.sub(lambda match: str(values.get(match[1], "")), template)
        case dict():
            return {name: _fill(value, values) for name, value in template.items()}
        case list():
            return [_fill(value, values) for value in template]
        case _:
            return template
