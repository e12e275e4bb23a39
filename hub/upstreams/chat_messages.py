"""Conversations in the words of OpenAI's chat completions, parsed for other wire formats.

Source: platform.openai.com, API reference, "Create chat completion". A content part of a type that
chat completions do not define is passed on unchanged: it may be the upstream's own. A part that
cannot be parsed, or that a format cannot express, is refused with one sentence before any request
is sent.
"""

from __future__ import annotations

import mimetypes
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from hub.core.generation import GenerationRequest, Message
from hub.errors import UpstreamError


def unsupported(message: str) -> UpstreamError:
    """Return the error for a request that the wire format cannot express.

    No request is sent, and the endpoint does not count as failed.
    """
    return UpstreamError("upstream_unsupported", message, retryable=False, rejects_request=True)


def decode_field(value: Any, type_: Any, path: str) -> Any:
    """Convert a value to a type; path: its place in the request. Raise UpstreamError."""
    try:
        return msgspec.convert(value, type_)
    except msgspec.ValidationError as error:
        raise unsupported(f"{path} is invalid: {error}") from error


class TextPart(msgspec.Struct, frozen=True, tag_field="type", tag="text"):
    """A text. cache_control: Anthropic's extension, which its users send in this place."""

    text: str
    cache_control: dict[str, Any] | None = None


class ImageUrl(msgspec.Struct, frozen=True):
    """The https: or data: URL of an image."""

    url: str
    detail: str = "auto"


class ImagePart(msgspec.Struct, frozen=True, tag_field="type", tag="image_url"):
    """An image."""

    image_url: ImageUrl


class File(msgspec.Struct, frozen=True, omit_defaults=True):
    """file_data: a data: URL or another URL. file_id: the id of a file stored at the vendor."""

    file_data: str | None = None
    filename: str | None = None
    file_id: str | None = None


class FilePart(msgspec.Struct, frozen=True, tag_field="type", tag="file"):
    """A file."""

    file: File


ContentPart = TextPart | ImagePart | FilePart | dict[str, Any]
_KNOWN_TYPES: Final = frozenset({"text", "image_url", "file"})


class Function(msgspec.Struct, frozen=True):
    """The function of a tool call. arguments: JSON, unless the model wrote something else."""

    name: str
    arguments: str = ""


class ToolCall(msgspec.Struct, frozen=True):
    """A tool call in an assistant's message.

    encrypted_value, provider_metadata: what an AG-UI agent and a server of the AI SDK need back.
    """

    function: Function
    id: str | None = None
    encrypted_value: Any = None
    provider_metadata: Any = None

    @property
    def name(self) -> str:
        return self.function.name

    @property
    def arguments(self) -> str:
        """The arguments as JSON text, `{}` if there are none."""
        return self.function.arguments or "{}"

    def parse_arguments(self) -> dict[str, Any]:
        """Return the arguments by name.

        Text that is not a JSON object becomes the value of `arguments`, so that the model sees the
        call that it made together with the tool's complaint.
        """
        try:
            arguments = msgspec.json.decode(self.arguments)
        except (msgspec.DecodeError, RecursionError):
            arguments = None
        is_object = isinstance(arguments, dict)
        return arguments if is_object else {"arguments": self.function.arguments}


class ChatMessage(msgspec.Struct, frozen=True):
    """One message of a conversation.

    content: a text, also for parts that are all plain text, or the parts. tool_call_id: the id of
    the call whose result this is. tool_name: the name of the called tool, if an earlier message
    holds it. reasoning: the text of an earlier answer's reasoning. reasoning_details: the same in
    the vendor's form (see parts.ReasoningDetails).
    """

    role: str
    content: str | list[ContentPart] | None
    tool_calls: Sequence[ToolCall] = ()
    tool_call_id: str | None = None
    tool_name: str | None = None
    reasoning: str | None = None
    reasoning_details: Sequence[dict[str, Any]] = ()

    def details_in(self, format_: str) -> list[dict[str, Any]]:
        """Return the details of the reasoning in this vendor's format, or without a format."""
        return [
            detail
            for detail in self.reasoning_details
            if str(detail.get("format") or format_).startswith(format_.partition("-")[0])
        ]

    def parts(self) -> list[ContentPart]:
        """Return the content as parts; an empty text has none."""
        if isinstance(self.content, str):
            return [TextPart(self.content)] if self.content else []
        return self.content or []


def parse_messages(request: GenerationRequest) -> list[ChatMessage]:
    """Return the conversation. The role `developer` becomes `system`. Raise UpstreamError."""
    tool_names: dict[str | None, str] = {}  # by the id of the call
    messages = []
    for n, message in enumerate(request.messages):
        parsed = _parse_message(message, f"messages[{n}]", tool_names)
        tool_names |= {call.id: call.name for call in parsed.tool_calls}
        messages.append(parsed)
    return messages


def _parse_message(message: Message, path: str, tool_names: dict[str | None, str]) -> ChatMessage:
    return ChatMessage(
        role="system" if message.role == "developer" else message.role,
        content=_parse_content(message.content, path),
        tool_calls=decode_field(message.tool_calls or [], list[ToolCall], f"{path}.tool_calls"),
        tool_call_id=message.tool_call_id,
        tool_name=message.name or tool_names.get(message.tool_call_id),
        reasoning=message.reasoning_content,
        reasoning_details=[
            detail for detail in message.reasoning_details or () if isinstance(detail, dict)
        ],
    )


def _parse_content(content: Any, path: str) -> str | list[ContentPart] | None:
    if content is None or isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise unsupported(f"{path}.content must be a text or a list of parts")
    parts = [_parse_part(part, f"{path}.content[{n}]") for n, part in enumerate(content)]
    texts = [part for part in parts if isinstance(part, TextPart) and not part.cache_control]
    return "".join(part.text for part in texts) if len(texts) == len(parts) else parts


def _parse_part(part: Any, path: str) -> ContentPart:
    type_ = part.get("type") if isinstance(part, dict) else None
    if not isinstance(type_, str):
        raise unsupported(f"{path} must be an object with a type")
    match type_:
        case "refusal":
            return TextPart(str(part.get("refusal", "")))
        case "input_audio":
            raise unsupported(f"{path}: this upstream does not support audio")
        case _ if type_ in _KNOWN_TYPES:
            parsed: ContentPart = decode_field(part, TextPart | ImagePart | FilePart, path)
            return parsed
        case _:
            return dict(part)


def require_text(message: ChatMessage, path: str = "content") -> str:
    """Return the content for a format that supports only text there.

    Raise UpstreamError for an image, a file or a part of another type.
    """
    parts = message.parts()
    for part in parts:
        if not isinstance(part, TextPart):
            kind = "an image" if isinstance(part, ImagePart) else "a file or a part of another type"
            raise unsupported(f"{path}: this upstream supports only text there, not {kind}")
    return "".join(part.text for part in parts if isinstance(part, TextPart))


def media_type_of(url: str, filename: str | None = None) -> str:
    """Return the media type of a data: URL, or of the name of a file; empty if it is not known."""
    if (inline := parse_data_url(url)) is not None:
        return inline[0]
    path = urlsplit(url).path
    guesses = (mimetypes.guess_type(name)[0] for name in (filename or "", path))
    return next(filter(None, guesses), "")


def parse_data_url(url: str) -> tuple[str, str] | None:
    """Return the media type and the base64 text of a data: URL (RFC 2397), None for another URL.

    Raise UpstreamError for a data: URL that is not in base64.
    """
    if url[:5].lower() != "data:":
        return None
    head, comma, data = url[5:].partition(",")
    media_type, *parameters = head.split(";")
    if not comma or "base64" not in parameters[-1:]:
        raise unsupported("a data: URL must be encoded in base64")
    return media_type.lower(), data
