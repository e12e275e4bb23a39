"""Anthropic's Messages API: the events of a response.

Source: docs.claude.com, "Streaming messages". An answer is complete when a `stop_reason` arrived;
`message_stop` follows it, and does not complete an answer without one. Unknown events are skipped,
as the vendor demands. Usage in `message_delta` is cumulative. Gateways put the whole input of a
tool, or text, into `content_block_start`. The request is built in anthropic/request.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Final

import msgspec

from hub.core.finish_reasons import latest_reason, normalise_finish_reason
from hub.core.generation import GenerationRequest
from hub.core.generation_context import GenerationContext
from hub.core.message_blocks import STOP_DATA, STOP_REASONS, split_block
from hub.core.parts import Data, Part, Reasoning, ReasoningDetails, ToolCallDelta
from hub.core.reasoning_formats import ANTHROPIC
from hub.core.sse_decoder import ServerSentEvent
from hub.upstreams.anthropic.request import (
    build_beta_header,
    build_conversation,
    build_params,
    is_native,
)
from hub.upstreams.content import AnnotationReader, ContentText, read_content, read_text
from hub.upstreams.dialect import (
    AuthHeader,
    UpstreamRequest,
    UpstreamStreamError,
    convert_usage,
    is_error,
)
from hub.upstreams.framing import SSE

_VERSION: Final = "2023-06-01"
_MAX_TOKENS: Final = 4096  # the API requires the field; parameters override the number


class _Delta(msgspec.Struct, gc=False):
    type: str | None = None
    text: ContentText = None
    thinking: ContentText = None
    partial_json: Any = None
    signature: str | None = None
    citation: dict[str, Any] | None = None
    stop_reason: str | None = None
    stop_sequence: str | None = None


class _Block(msgspec.Struct, gc=False):
    type: str | None = None
    text: ContentText = None
    thinking: ContentText = None
    signature: str | None = None
    data: str | None = None
    id: Any = None
    name: str | None = None
    input: Any = None


class _StreamEvent(msgspec.Struct, gc=False):
    type: str | None = None
    index: int | None = 0
    delta: _Delta | None = None
    content_block: _Block | None = None
    message: Any = None
    usage: dict[str, Any] | None = None
    error: Any = None
    content: list[_Block] | None = None  # these two: of a message that is not streamed
    stop_reason: str | None = None
    stop_sequence: str | None = None


_READ_TYPES: Final = (None, "text", "thinking", "redacted_thinking")
_decode_event = msgspec.json.Decoder(_StreamEvent).decode


class AnthropicMessages:
    """Implements Dialect. body: fields of every request; parameters of a request override them."""

    kind: ClassVar[str] = "anthropic"
    auth_header: ClassVar[AuthHeader] = AuthHeader("x-api-key")
    path = "/messages"
    framing = SSE

    def __init__(self, body: Mapping[str, Any]) -> None:
        self._body = body

    def build_request(
        self, request: GenerationRequest, context: GenerationContext | None = None
    ) -> UpstreamRequest:
        conversation = build_conversation(request)
        fields = {**self._body, **build_params(request, self._body)}
        return UpstreamRequest(
            headers={"anthropic-version": _VERSION, **build_beta_header(fields)},
            body={
                "max_tokens": _MAX_TOKENS,
                **conversation,
                **fields,
                "model": request.model,
                "messages": conversation["messages"],
                "stream": True,
            },
        )

    def new_reader(self, request: GenerationRequest | None = None) -> _MessageReader:
        return _MessageReader(keeps_blocks=request is not None and is_native(request))


class _Thinking(msgspec.Struct):
    """A block of thinking so far, which the API accepts back only with its signature."""

    texts: list[str] = []
    signatures: list[str] = []


class _OtherBlock(msgspec.Struct):
    """A block of a tool that the server runs. block: its fields, empty if no client gets them."""

    block: dict[str, Any]
    input: list[str] = []

    def complete(self) -> dict[str, Any]:
        """Return the block with its input."""
        try:
            return {**self.block, "input": msgspec.json.decode("".join(self.input))}
        except msgspec.DecodeError:  # it came with the start of the block, or there is none
            return self.block


class _MessageReader:
    """Implements ResponseReader for the events of a streamed message.

    keeps_blocks: whether the client has this API too, and gets what only this API has
    (core/message_blocks.py).
    """

    event_type: ClassVar[Any] = _StreamEvent
    text_events: ClassVar[frozenset[str] | None] = frozenset(
        {"message", "content_block_start", "content_block_delta", "message_delta"}
    )
    has_whole_tool_names: ClassVar[bool] = True

    def __init__(self, *, keeps_blocks: bool = False) -> None:
        self._annotations = AnnotationReader()
        self._keeps_blocks = keeps_blocks
        self._other_blocks: dict[int, _OtherBlock] = {}  # of tools that the server runs, by index
        self._thinking: dict[int, _Thinking] = {}  # by the index of the block
        self.finish_reason: str | None = None
        self.done = False

    def read(self, event: ServerSentEvent) -> Iterator[Part]:
        data = _decode_event(event.data)
        index = data.index or 0
        match data.type or (event.name if event.name != "message" else ""):  # the default name
            case "content_block_delta":
                yield from self._read_block_delta(index, data.delta or _Delta())
            case "content_block_start":
                yield from self._read_block_start(index, data.content_block or _Block(), event)
            case "content_block_stop":
                yield from self._end_block(index)
            case "message":
                yield from self._read_message(data, event)
            case "message_start":
                if isinstance(data.message, dict):
                    yield from convert_usage(data.message.get("usage"))
            case "message_delta":
                yield from self._read_end(data.delta or _Delta(), data)
            case "message_stop":
                self.done = True
            case "error":
                raise UpstreamStreamError(event.data)
            case _ if data.type is None and is_error(data.error):  # of a gateway
                raise UpstreamStreamError(event.data)
            case _:
                pass

    def _read_message(self, message: _StreamEvent, event: ServerSentEvent) -> Iterator[Part]:
        """Read the whole message of an answer that is not streamed."""
        for index, block in enumerate(message.content or ()):
            yield from self._read_block_start(index, block, event)
            yield from self._end_other(index)
        yield from self._read_end(message, message)
        self.done = self.finish_reason is not None

    def _read_end(self, end: _Delta | _StreamEvent, event: _StreamEvent) -> Iterator[Part]:
        for block_index in sorted({*self._thinking, *self._other_blocks}):
            yield from self._end_block(block_index)
        if end.stop_reason:
            if self._keeps_blocks and end.stop_reason in STOP_REASONS:
                stop = {"stop_reason": end.stop_reason, "stop_sequence": end.stop_sequence}
                yield Data(STOP_DATA, stop)
            reason = normalise_finish_reason(end.stop_reason)
            self.finish_reason = latest_reason(self.finish_reason, reason)
        yield from convert_usage(event.usage)

    def _read_block_start(
        self, block_index: int, block: _Block, event: ServerSentEvent
    ) -> Iterator[Part]:
        self._other_blocks.pop(block_index, None)  # some servers use an index again
        if block.type == "tool_use" or (block.type is None and block.name):
            function = {"name": block.name, "arguments": block.input}
            yield ToolCallDelta([{"index": block_index, "id": block.id, "function": function}])
        elif block.data:  # redacted thinking
            detail = {"type": "reasoning.encrypted", "data": block.data}
            yield ReasoningDetails([{**detail, "format": ANTHROPIC, "index": block_index}])
        elif self._keeps_blocks and block.type not in _READ_TYPES:
            self._other_blocks[block_index] = _OtherBlock(_decode_block(event, block_index))
        elif block.input is not None:
            self._other_blocks[block_index] = _OtherBlock({})
        else:
            yield from self._read_text(block_index, block)

    def _read_block_delta(self, block_index: int, delta: _Delta) -> Iterator[Part]:
        yield from self._read_text(block_index, delta)
        if delta.partial_json and (other := self._other_blocks.get(block_index)) is not None:
            other.input.append(str(delta.partial_json))
        elif delta.partial_json:
            function = {"arguments": delta.partial_json}  # some servers send the object
            yield ToolCallDelta([{"index": block_index, "function": function}])
        if delta.citation is not None:
            yield from self._annotations.read([delta.citation])

    def _read_text(self, block_index: int, source: _Delta | _Block) -> Iterator[Part]:
        if source.text:
            yield from read_content(source.text)
        if source.thinking or source.signature:
            thinking = self._thinking.setdefault(block_index, _Thinking())
            if text := read_text(source.thinking):
                thinking.texts.append(text)
                yield Reasoning(text)
            if source.signature:
                thinking.signatures.append(source.signature)

    def _end_block(self, block_index: int) -> Iterator[Part]:
        """Yield what only a complete block of thinking, or of a tool of the server, has."""
        yield from self._end_thinking(block_index)
        yield from self._end_other(block_index)

    def _end_other(self, block_index: int) -> Iterator[Part]:
        other = self._other_blocks.pop(block_index, None)
        if other is not None and other.block:
            yield from split_block(other.complete())

    def _end_thinking(self, block_index: int) -> Iterator[Part]:
        """Yield the signed thinking of a block, if it is one."""
        thinking = self._thinking.pop(block_index, None)
        if thinking is not None and thinking.signatures:
            text, signature = "".join(thinking.texts), "".join(thinking.signatures)
            detail = {"type": "reasoning.text", "text": text, "signature": signature}
            yield ReasoningDetails([{**detail, "format": ANTHROPIC, "index": block_index}])


def _decode_block(event: ServerSentEvent, index: int) -> dict[str, Any]:
    """Return all fields of the block that begins with an event, or that its message has."""
    data = msgspec.json.decode(event.data)
    block = data.get("content_block") or data["content"][index]
    return block if isinstance(block, dict) else {}
