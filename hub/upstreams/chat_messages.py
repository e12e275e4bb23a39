"""A conversation read out of the words of OpenAI's chat completions, for formats that have others.

Source: platform.openai.com, API reference, "Create chat completion". A part of a content that is
not chat's passes as it is: it may be the upstream's own. What is chat's and cannot be read, or has
no word in a format, is refused with one sentence before anything is asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from hub.core.generation import GenerationRequest, Message
from hub.errors import UpstreamError


def unsupported(why: str) -> UpstreamError:
    """The question cannot be asked in this format; nobody is asked, and nobody has failed."""
    return UpstreamError("upstream_unsupported", why, retryable=False, rejects_request=True)


def decode_field(value: Any, kind: Any, path: str) -> Any:
    """The value as this kind. Raises UpstreamError."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise unsupported(f"{path} cannot be read: {error}") from error


class TextPart(msgspec.Struct, frozen=True, tag_field="type", tag="text"):
    """A text. cache_control: Anthropic's mark, which its clients set here."""

    text: str
    cache_control: dict[str, Any] | None = None


class Address(msgspec.Struct, frozen=True):
    """Of an image: https: or data:."""

    url: str
    detail: str = "auto"


class ImagePart(msgspec.Struct, frozen=True, tag_field="type", tag="image_url"):
    """An image."""

    image_url: Address


class File(msgspec.Struct, frozen=True, omit_defaults=True):
    """file_data: a data: URL, or an address. file_id: of a file that the vendor holds."""

    file_data: str | None = None
    filename: str | None = None
    file_id: str | None = None


class FilePart(msgspec.Struct, frozen=True, tag_field="type", tag="file"):
    """A file."""

    file: File


Part = TextPart | ImagePart | FilePart | dict[str, Any]
_PARTS: Final = frozenset({"text", "image_url", "file"})


class Function(msgspec.Struct, frozen=True):
    """A call's. arguments: JSON, or what the model made of it."""

    name: str
    arguments: str = ""


class Call(msgspec.Struct, frozen=True):
    """A tool call that an assistant has made."""

    function: Function
    id: str | None = None

    @property
    def name(self) -> str:
        return self.function.name

    @property
    def arguments(self) -> str:
        """As JSON; what is said of no arguments is {}."""
        return self.function.arguments or "{}"

    def values(self) -> dict[str, Any]:
        """The arguments by name. Text that is no JSON object is the value of `arguments`, so that a
        model is shown the call it made, with the tool's complaint.
        """
        try:
            values = msgspec.json.decode(self.arguments)
        except (msgspec.DecodeError, RecursionError):
            values = None
        return values if isinstance(values, dict) else {"arguments": self.function.arguments}


class ChatTurn(msgspec.Struct, frozen=True):
    """One message. content: parts that are all plain text are one text. answers: the id of the call
    whose result this is; tool: that call's name, where a message before has it.
    """

    role: str
    content: str | list[Part] | None
    calls: Sequence[Call] = ()
    answers: str | None = None
    tool: str | None = None

    def parts(self) -> list[Part]:
        """The content, a text as a part; an empty one is none."""
        if isinstance(self.content, str):
            return [TextPart(self.content)] if self.content else []
        return self.content or []


def parse_turns(question: GenerationRequest) -> list[ChatTurn]:
    """The conversation. `developer` is `system`, its older name. Raises UpstreamError."""
    names: dict[str | None, str] = {}
    turns = []
    for n, message in enumerate(question.messages):
        turn = _turn(message, f"messages[{n}]", names)
        names |= {call.id: call.name for call in turn.calls}
        turns.append(turn)
    return turns


def _turn(message: Message, path: str, names: dict[str | None, str]) -> ChatTurn:
    return ChatTurn(
        role="system" if message.role == "developer" else message.role,
        content=_content(message.content, path),
        calls=decode_field(message.tool_calls or [], list[Call], f"{path}.tool_calls"),
        answers=message.tool_call_id,
        tool=message.name or names.get(message.tool_call_id),
    )


def _content(content: Any, path: str) -> str | list[Part] | None:
    if content is None or isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise unsupported(f"{path}.content is a text or a list of parts")
    parts = [_part(part, f"{path}.content[{n}]") for n, part in enumerate(content)]
    texts = [part for part in parts if isinstance(part, TextPart) and not part.cache_control]
    return "".join(part.text for part in texts) if len(texts) == len(parts) else parts


def _part(part: Any, path: str) -> Part:
    kind = part.get("type") if isinstance(part, dict) else None
    if not isinstance(kind, str):
        raise unsupported(f"{path} is no part: it has no type")
    match kind:
        case "refusal":
            return TextPart(str(part.get("refusal", "")))
        case "input_audio":
            raise unsupported(f"{path}: this upstream takes no audio")
        case kind if kind in _PARTS:
            found: Part = decode_field(part, TextPart | ImagePart | FilePart, path)
            return found
        case _:
            return dict(part)


def text_of(turn: ChatTurn, path: str = "content") -> str:
    """The content where a format takes only text. Raises UpstreamError for an image or a file."""
    parts = turn.parts()
    for part in parts:
        if not isinstance(part, TextPart):
            kind = "image" if isinstance(part, ImagePart) else "file or part of another kind"
            raise unsupported(f"{path}: this upstream takes text there, and no {kind}")
    return "".join(part.text for part in parts if isinstance(part, TextPart))


def inline(url: str) -> tuple[str, str] | None:
    """The media type and the base64 text of a data: URL (RFC 2397); None of another address."""
    if url[:5].lower() != "data:":
        return None
    head, comma, data = url[5:].partition(",")
    media_type, *rest = head.split(";")
    if not comma or "base64" not in rest[-1:]:
        raise unsupported("a data: URL is passed on in base64 only")
    return media_type.lower(), data
