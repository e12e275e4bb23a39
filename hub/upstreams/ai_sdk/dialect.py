"""The AI SDK: an endpoint that answers with a UI message stream, as `useChat` reads it.

Source: ai-sdk.dev, "Stream protocols", and ui-message-chunks.ts of the package `ai` (versions 5 to
7). An answer is complete at `finish`, or at `[DONE]`: the SDK sends that when a stream has ended by
itself, and a route that writes its own parts sends no `finish`. The request is built in
ai_sdk/request.py.

A server does not say which tool calls it leaves to the client: they are those without a result at
`finish`. Steps have no names: the first one is the answer itself, and the others are numbered.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Final

import msgspec

from hub.core.finish_reasons import latest_reason, normalise_finish_reason
from hub.core.generation import GenerationRequest
from hub.core.generation_context import GenerationContext
from hub.core.interrupts import Interrupt, UpstreamInterrupted
from hub.core.parts import Data, Part, Reasoning, Source, Status, Text, Usage
from hub.core.sse_decoder import ServerSentEvent
from hub.upstreams.agent_calls import calls_of
from hub.upstreams.ai_sdk.parts import ReasoningMetadata, Steps, call_extras, read_file
from hub.upstreams.ai_sdk.request import build_chat
from hub.upstreams.content import ContentText, read_text, require_text
from hub.upstreams.dialect import (
    BEARER,
    AuthHeader,
    UpstreamRequest,
    UpstreamStreamError,
)
from hub.upstreams.framing import SSE
from hub.upstreams.reading.retracted_text import RetractedText
from hub.upstreams.reading.token_counts import convert_counts

_METADATA: Final = "message-metadata"
_USAGES: Final = ("usage", "totalUsage")
_REFUSED: Final = "Tool call execution denied."  # as the SDK says it
_RESET: Final = "The step of this call was repeated."


class _Chunk(msgspec.Struct, gc=False, rename="camel"):
    type: str | None = None
    id: str | None = None
    delta: ContentText = None
    error_text: Any = None
    reason: Any = None
    tool_call_id: str | None = None
    tool_name: str | None = None
    input_text_delta: str | None = None
    input: Any = None
    output: Any = None
    provider_executed: bool | None = None
    preliminary: bool | None = None
    provider_metadata: dict[str, Any] | None = None
    source_id: str | None = None
    url: str | None = None
    title: str | None = None
    media_type: str | None = None
    filename: str | None = None
    kind: str | None = None
    data: Any = None
    transient: bool | None = None
    message_metadata: Any = None
    finish_reason: str | None = None
    approval_id: str | None = None
    approval_descriptor: Any = None
    input_schema_input: Any = None
    is_automatic: bool | None = None
    signature: str | None = None


_decode_chunk = msgspec.json.Decoder(_Chunk).decode


class AiSdk:
    """Implements Dialect. body: fields of every request; parameters of a request override them.

    The base URL is that of the route, such as https://example.com/api/chat.
    """

    kind: ClassVar[str] = "ai_sdk"
    auth_header: ClassVar[AuthHeader] = BEARER
    path = ""
    framing = SSE

    def __init__(self, body: Mapping[str, Any]) -> None:
        self._body = body

    def build_request(
        self, request: GenerationRequest, context: GenerationContext | None = None
    ) -> UpstreamRequest:
        return UpstreamRequest(body=build_chat(request, context, self._body))

    def new_reader(self, request: GenerationRequest | None = None) -> _ChunkReader:
        return _ChunkReader(request)


class _ChunkReader:
    """Implements ResponseReader for the chunks of a UI message stream."""

    event_type: ClassVar[Any] = _Chunk
    text_events: ClassVar[frozenset[str] | None] = frozenset({"text-delta"})
    has_whole_tool_names: ClassVar[bool] = True

    def __init__(self, request: GenerationRequest | None) -> None:
        self._calls = calls_of(request)
        self._steps = Steps()
        self._reasoning = ReasoningMetadata()
        self._retracted = RetractedText()
        self._metadata: dict[str, Any] = {}
        self._interrupts: dict[str, Interrupt] = {}  # by the agent's ids of the calls
        self.finish_reason: str | None = None
        self.done = False

    def read(self, event: ServerSentEvent) -> Iterator[Part]:
        if event.data.strip() == "[DONE]":
            yield from self._retracted.flush()
            yield from self._finish("" if self.finish_reason is None else self.finish_reason)
            self.done = True
            return
        chunk = _decode_chunk(event.data)
        kind = chunk.type or event.name
        match kind:
            case "text-start" | "text-end":
                pass  # these do not separate a retracted text from the one in its place
            case "finish" | "error" | "abort":
                yield from self._retracted.flush()
                yield from self._read_end(kind, chunk)
            case _:
                yield from self._retracted.replace(self._read_chunk(kind, chunk))

    def _read_chunk(self, kind: str, chunk: _Chunk) -> Iterator[Part]:
        match kind:
            case "text-delta":
                if text := require_text(chunk.delta):
                    self._steps.add_text(text)
                    yield Text(text)
            case _ if kind.startswith("reasoning-") and kind != "reasoning-file":
                yield from self._read_reasoning(kind, chunk)
            case _ if kind.startswith("tool-"):
                yield from self._read_call(kind, chunk)
            case _ if kind.startswith("data-"):
                yield from self._read_data(kind.removeprefix("data-"), chunk)
            case "start-step" | "finish-step":
                yield from self._read_step(kind)
            case "reset-step":
                self._retracted.retract(self._steps.reset_text())
                yield from self._calls.discard(self._steps.first_call, _RESET)
            case "start" | "message-metadata":
                yield from self._read_metadata(chunk.message_metadata)
            case _:
                yield from self._read_content(kind, chunk)

    def _read_content(self, kind: str, chunk: _Chunk) -> Iterator[Part]:
        """Yield a source, a file, or content of a provider's own."""
        match kind:
            case "source-url" if chunk.url:
                yield Source(chunk.url, chunk.title, chunk.source_id)
            case "source-document":
                fields = {
                    "mediaType": chunk.media_type,
                    "title": chunk.title,
                    "filename": chunk.filename,
                }
                value = {name: each for name, each in fields.items() if each is not None}
                yield Data(kind, value, chunk.source_id)
            case "file" | "reasoning-file" if chunk.url:
                yield read_file(chunk.url, chunk.media_type)
            case "custom":
                metadata = chunk.provider_metadata or {}
                yield Data(kind, {"kind": chunk.kind, "providerMetadata": metadata})
            case _:
                pass

    def _read_reasoning(self, kind: str, chunk: _Chunk) -> Iterator[Part]:
        self._reasoning.update(chunk.provider_metadata)
        if kind == "reasoning-delta" and (text := require_text(chunk.delta)):
            yield Reasoning(text)
        elif kind == "reasoning-end":
            yield from self._reasoning.end()

    def _read_call(self, kind: str, chunk: _Chunk) -> Iterator[Part]:
        id_ = chunk.tool_call_id or ""
        if kind.startswith("tool-input-") and kind != "tool-input-delta":
            yield from self._begin_call(id_, kind, chunk)
        match kind:
            case "tool-input-delta":
                yield from self._calls.append(id_, chunk.input_text_delta or "")
            case "tool-input-available":
                yield from self._calls.end(id_, _encode(chunk.input))
            case "tool-input-error":
                is_text = isinstance(chunk.input, str)
                yield from self._calls.end(id_, chunk.input if is_text else _encode(chunk.input))
                yield from self._calls.add_result(id_, read_text(chunk.error_text), is_error=True)
            case "tool-output-available":
                is_final = not chunk.preliminary
                yield from self._calls.add_result(id_, chunk.output, is_final=is_final)
            case "tool-output-error":
                yield from self._calls.add_result(id_, read_text(chunk.error_text), is_error=True)
            case "tool-output-denied":
                yield from self._calls.add_result(id_, _REFUSED, is_error=True)
            case "tool-approval-request" if not chunk.is_automatic:
                self._interrupts[id_] = self._read_approval(id_, chunk)
            case "tool-approval-response":
                self._interrupts = {
                    each: known
                    for each, known in self._interrupts.items()
                    if known.id != chunk.approval_id
                }
            case _:
                pass

    def _read_approval(self, id_: str, chunk: _Chunk) -> Interrupt:
        call = self._calls.find(id_)
        words = f"Approve {call.name}({call.arguments})?" if call else "Approve a tool call?"
        fields = {
            "descriptor": chunk.approval_descriptor,
            "requestReason": chunk.reason,
            "inputSchemaInput": chunk.input_schema_input,
            "signature": chunk.signature,
        }
        return Interrupt(
            id=chunk.approval_id or id_,
            prompt=read_text(chunk.reason) or words,
            tool_call=call.id if call else id_,
            is_approval=True,
            fields={name: value for name, value in fields.items() if value is not None},
        )

    def _begin_call(self, id_: str, kind: str, chunk: _Chunk) -> Iterator[Part]:
        extras = call_extras(chunk.provider_metadata)
        is_known = id_ in self._calls and kind != "tool-input-start"
        part = None if is_known else self._calls.begin(id_, chunk.tool_name or "", extras)
        if part is not None:
            yield part
        else:
            yield from self._calls.extend(id_, extras)
        if chunk.provider_executed is not None:
            yield from self._calls.set_runner(id_, is_agent=chunk.provider_executed)

    def _read_data(self, name: str, chunk: _Chunk) -> Iterator[Part]:
        data = chunk.data
        fields = data.keys() if isinstance(data, dict) else ()
        if name == "status" and chunk.transient and fields == {"text"}:
            yield Status(read_text(data["text"]))
        elif name == "generation" and "event" in fields:
            self._retracted.retract()  # the server is a hub whose upstream began anew
            if data["event"] == "restarted":
                yield from self._calls.discard(0, _RESET)
        else:
            yield Data(name or "data", data, chunk.id, transient=bool(chunk.transient))

    def _read_step(self, kind: str) -> Iterator[Part]:
        part = self._steps.begin(self._calls.count) if kind == "start-step" else self._steps.end()
        if part is not None:
            yield part

    def _read_metadata(self, given: Any) -> Iterator[Part]:
        """Yield the usage in the metadata of the message, and the rest of it as data."""
        if not isinstance(given, dict):
            return
        for name in _USAGES:
            if counts := convert_counts(given.get(name)):
                yield Usage(counts)
        rest = {name: value for name, value in given.items() if name not in _USAGES}
        if rest and "generation" not in rest:  # that of a hub says nothing of the answer
            self._metadata |= rest
            yield Data(_METADATA, dict(self._metadata), _METADATA)

    def _read_end(self, kind: str, chunk: _Chunk) -> Iterator[Part]:
        if kind == "finish":
            yield from self._read_metadata(chunk.message_metadata)
            yield from self._finish(normalise_finish_reason(chunk.finish_reason or ""))
        else:
            words = read_text(chunk.error_text if kind == "error" else chunk.reason)
            message = words or ("the server aborted the answer" if kind == "abort" else "")
            raise UpstreamStreamError(msgspec.json.encode({"message": message}))

    def _finish(self, reason: str) -> Iterator[Part]:
        """Yield what is certain at the end. reason: why it came, empty if nothing said so."""
        if waiting := [
            interrupt
            for id_, interrupt in self._interrupts.items()
            if (call := self._calls.find(id_)) is None or not call.has_result
        ]:
            raise UpstreamInterrupted(waiting)
        yield from self._calls.leave_to_client()
        if reason in ("", "tool_calls") and not self._calls.are_for_client:
            reason = "stop"  # the server has run all tools, and then ended
        self.finish_reason = latest_reason(self.finish_reason, reason or "stop")


def _encode(value: Any) -> str:
    return "" if value is None else msgspec.json.encode(value).decode()
