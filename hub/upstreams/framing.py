"""How a response is split into events, and how its first bytes tell which form it has.

Servers and gateways label streams wrongly or not at all (Go's net/http guesses `text/plain`), and
some send one JSON document although a stream was requested. The bytes decide: `field:` begins
server-sent events, `{` or `[` begins JSON. The content type counts only for other bytes.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Sequence
from enum import Enum, auto
from typing import Final, Literal, Protocol

import msgspec

from hub.core.json_decoder import JsonDecoder
from hub.core.line_decoder import LineDecoder
from hub.core.sse_decoder import ServerSentEvent, SseDecoder

_BLANKS: Final = b"\xef\xbb\xbf \t\r\n"  # a byte order mark is skipped, too
_FIELD: Final = re.compile(rb"(data|event|id|retry)(:|[\r\n])|:")
_FIELDS: Final = (b"data", b"event", b"id", b"retry")


class Form(Enum):
    """What the first bytes of a response are."""

    SSE = auto()
    JSON = auto()
    MARKUP = auto()
    OTHER = auto()


def recognize_form(head: bytes) -> Form | None:
    """Return what the first bytes are, None while there are too few of them."""
    head = head.lstrip(_BLANKS)
    if not head or any(field.startswith(head) for field in _FIELDS):
        return None
    if _FIELD.match(head):
        return Form.SSE
    return {b"{": Form.JSON, b"[": Form.JSON, b"<": Form.MARKUP}.get(head[:1], Form.OTHER)


class Decoder(Protocol):
    """Splits bytes into events, incrementally."""

    def feed(self, chunk: bytes) -> Sequence[ServerSentEvent]:
        """Return the events that end in this chunk. Raise StreamTooLarge."""
        ...

    def end(self) -> Sequence[ServerSentEvent]:
        """Return the events that are complete only because the stream ended."""
        ...


class Framing(msgspec.Struct, frozen=True, kw_only=True):
    """How a response is split into events.

    media_type: the type that is requested first. accepts: whether a response of this type (None if
    it has none) with these first bytes can be an answer; None if there are too few bytes.
    decoder: builds a decoder for events of at most so many bytes. end_is_finish: whether the end of
    the stream completes the answer.
    """

    media_type: str
    accepts: Callable[[str | None, bytes], bool | None]
    decoder: Callable[[int], Decoder]
    end_is_finish: bool = False

    @property
    def accept(self) -> str:
        """The Accept header. It includes JSON, because an application reports errors as JSON."""
        ranges = {self.media_type: "", "application/json": ";q=0.9", "*/*": ";q=0.1"}
        return ", ".join(name + quality for name, quality in ranges.items())


class RecognizingDecoder:
    """Implements Decoder: server-sent events or JSON, whichever the first bytes are.

    sse: builds the decoder of server-sent events. other: builds the one for other bytes.
    """

    def __init__(
        self, max_bytes: int, sse: Callable[[int], Decoder], other: Callable[[int], Decoder]
    ) -> None:
        self._max_bytes = max_bytes
        self._decoders = {Form.SSE: sse, Form.JSON: _json_decoder}
        self._other = other
        self._head = b""  # the bytes until the form is clear
        self._decoder: Decoder | None = None

    def feed(self, chunk: bytes) -> Sequence[ServerSentEvent]:
        if self._decoder is not None:
            return self._decoder.feed(chunk)
        self._head = (self._head + chunk).lstrip(_BLANKS)
        form = recognize_form(self._head)
        return [] if form is None else self._begin(form).feed(self._head)

    def end(self) -> Sequence[ServerSentEvent]:
        if self._decoder is not None:
            return self._decoder.end()
        decoder = self._begin(Form.OTHER)
        return [*decoder.feed(self._head), *decoder.end()]

    def _begin(self, form: Form) -> Decoder:
        self._decoder = self._decoders.get(form, self._other)(self._max_bytes)
        return self._decoder


class TextDecoder:
    """Implements Decoder for plain text without any events: each chunk is the data of an event."""

    def __init__(self) -> None:
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode

    def feed(self, chunk: bytes) -> list[ServerSentEvent]:
        text = self._decode(chunk)
        return [ServerSentEvent("message", text, "")] if text else []

    def end(self) -> list[ServerSentEvent]:
        text = self._decode(b"", True)
        return [ServerSentEvent("message", text, "")] if text else []


def json_events(
    media_type: Literal["text/event-stream", "application/x-ndjson"],
    *,
    end_is_finish: bool = False,
) -> Framing:
    """Return the framing of events whose data is JSON: server-sent events or lines.

    Either is read, whichever the upstream sends, and so is one JSON document.
    """
    sse = sse_decoder()
    other = sse if media_type == "text/event-stream" else _json_decoder
    return Framing(
        media_type=media_type,
        accepts=_accept_forms(media_type, Form.SSE, Form.JSON),
        decoder=lambda max_bytes: RecognizingDecoder(max_bytes, sse, other),
        end_is_finish=end_is_finish,
    )


def text_events(*, keep_space: bool, end_is_finish: bool) -> Framing:
    """Return the framing of server-sent events whose data is text. keep_space: see SseDecoder."""
    return Framing(
        media_type="text/event-stream",
        accepts=_accept_forms("text/event-stream", Form.SSE),
        decoder=sse_decoder(keep_space=keep_space),
        end_is_finish=end_is_finish,
    )


def text_lines(*, end_is_finish: bool) -> Framing:
    """Return the framing of text with one event a line."""
    return Framing(
        media_type="text/plain",
        accepts=_accept_text,
        decoder=lambda max_bytes: LineDecoder(max_line_bytes=max_bytes),
        end_is_finish=end_is_finish,
    )


def _accept_text(given_type: str | None, _: bytes) -> bool:
    """Accept any bytes, except under a type that an application gives to its errors."""
    return given_type not in ("text/event-stream", "application/json", "text/html")


def sse_decoder(*, keep_space: bool = False) -> Callable[[int], SseDecoder]:
    """Return what builds a decoder of server-sent events; for `keep_space` see SseDecoder.

    An event may have a name and no data (`event: end`), and the last one may lack its blank line.
    """
    return lambda max_bytes: SseDecoder(
        max_line_bytes=max_bytes,
        max_event_bytes=max_bytes,
        keep_space=keep_space,
        dispatch_empty=True,
        dispatch_unfinished=True,
    )


def _json_decoder(max_bytes: int) -> JsonDecoder:
    return JsonDecoder(max_value_bytes=max_bytes)


def _accept_forms(media_type: str, *forms: Form) -> Callable[[str | None, bytes], bool | None]:
    def accepts(given_type: str | None, head: bytes) -> bool | None:
        if not head.strip(_BLANKS):
            return True  # some servers send line ends until they know the answer
        form = recognize_form(head)
        return None if form is None else form in forms or given_type == media_type

    return accepts


SSE: Final = json_events("text/event-stream")
NDJSON: Final = json_events("application/x-ndjson")
TEXT: Final = Framing(
    media_type="text/plain",
    accepts=_accept_text,
    decoder=lambda _: TextDecoder(),
    end_is_finish=True,
)
"""Text without events; the end of the response is the end of the answer."""
