"""Anthropic's Messages: events while the answer streams, one object for a complete answer.

Source: docs.claude.com, "Streaming messages", and the types of the package `anthropic`. Blocks
appear in the order in which the answer begins them. Sent text cannot be taken back, as in chat
completions. An answer that failed or was stopped ends with an event `error`, which the SDKs raise,
and a body without an end. Of the tool calls only those are sent that the client is to run. Sources
are citations of the text around them. Blocks of tools that Anthropic runs pass through
(core/message_blocks.py). Files, status, steps and other data have no form here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from hub.compat.answer_encoder import AnswerEncoderBase
from hub.compat.answer_state import AnswerCollector, GenerationEvent, call_index
from hub.compat.anthropic.blocks import ContentBlocks, Event
from hub.compat.anthropic.errors import failure_document, overloaded
from hub.compat.anthropic.message_object import message_object, stop_fields, to_citation, to_usage
from hub.compat.anthropic.thinking import is_redacted, kept_details, sign, wrap
from hub.compat.append_only import AlreadySentTextChanged, AppendOnlyText, SentParts
from hub.compat.call_queue import CallQueue
from hub.compat.failures import describe_failure, describe_stream_failure
from hub.core.event import encode_json
from hub.core.generation import Generation
from hub.core.message_blocks import BLOCK_DATA, STOP_DATA, BlockJoiner, read_stop

PING: Final = b'event: ping\ndata: {"type":"ping"}\n\n'
"""The heartbeat of Anthropic's API."""


class MessageEncoder(AnswerEncoderBase):
    """Implements ports.AnswerEncoder."""

    def __init__(self, record: Generation) -> None:
        super().__init__(record)
        self.blocks = ContentBlocks()
        self._sent = SentParts()
        self._calls = CallQueue()
        self._sent_arguments: dict[int, int] = {}  # characters, by the index of each sent call
        self._citations: list[dict[str, Any]] = []  # those that wait for a text
        self._joiner = BlockJoiner()  # of blocks that pass through
        self._has_sent_blocks = False
        self.stop: dict[str, Any] | None = None  # see stop_fields

    def on_start(self) -> Iterator[bytes]:
        yield _encode({"type": "message_start", "message": message_object(self.record)})

    def on_reasoning(self, reasoning: str) -> Iterator[bytes]:
        version = self._sent.reasoning.version
        if not (new := self._sent.reasoning.add(reasoning)):
            return
        yield from self._end_complete_call()
        if self._sent.reasoning.version != version:  # a signature holds for one version
            yield from map(_encode, self.blocks.close())
        yield from map(_encode, self.blocks.add_thinking(new))

    def on_reasoning_details(self, details: list[dict[str, Any]]) -> Iterator[bytes]:
        """Sign the block of thinking with the details; redacted thinking is a block of its own."""
        waiting: list[dict[str, Any]] = []
        for detail in kept_details(self._sent.reasoning_details.add(details)):
            if is_redacted(detail):
                yield from self._sign(waiting)
                waiting = []
                yield from map(_encode, self.blocks.add_redacted(detail["data"]))
            else:
                waiting.append(detail)
        yield from self._sign(waiting)

    def on_text(self, text: str) -> Iterator[bytes]:
        if not (new := self._sent.text.add(text)):
            return
        yield from self._end_complete_call()
        yield from map(_encode, self.blocks.add_text(new))
        yield from self._cite()

    def on_annotations(self, annotations: list[dict[str, Any]]) -> Iterator[bytes]:
        new = self._sent.annotations.add(annotations)
        self._citations += filter(None, map(to_citation, new))
        if self.blocks.is_text:
            yield from self._cite()

    def on_tool_call(self, call: dict[str, Any]) -> Iterator[bytes]:
        index = call_index(call)
        calls = self.answer.tool_calls
        if index >= len(calls) or not calls[index].name or calls[index].run_by != "client":
            return  # the name comes with a later delta, or the producer runs the tool
        self._calls.add(index)
        while (current := self._calls.current) is not None:
            yield from self._send_call(current)
            if not (self._calls.has_waiting and self._calls.has_arguments(calls)):
                return
            yield from self._end_call()

    def on_data(self, part: dict[str, Any]) -> Iterator[bytes]:
        if part["name"] == STOP_DATA:
            self.stop = read_stop(part["value"])
        elif part["name"] == BLOCK_DATA and (block := self._joiner.add(part["value"])) is not None:
            self._has_sent_blocks = True
            yield from self._end_complete_call()
            yield from map(_encode, self.blocks.add_whole(block))

    def on_replaced(self, text: str) -> Iterator[bytes]:
        self._sent.text.restart()
        yield from self.on_text(text)

    def on_restarted(self) -> Iterator[bytes]:
        if self._sent_arguments or self._has_sent_blocks:
            raise AlreadySentTextChanged
        self._joiner, self.stop = BlockJoiner(), None
        self._sent.restart(self.answer)
        yield from ()

    def on_cut(self, parts: list[dict[str, Any]]) -> Iterator[bytes]:
        if self._has_sent_blocks or (self._sent_arguments and self.answer.are_calls_cut):
            raise AlreadySentTextChanged
        self._joiner, self.stop = BlockJoiner(), None
        self._sent.restart(self.answer)
        yield from ()

    def on_done(self, event: GenerationEvent) -> Iterator[bytes]:
        self._sent.end()
        yield from self._end_calls()
        yield from self._cite()
        yield from map(_encode, self.blocks.close())
        delta = stop_fields(self.answer, self.stop)
        usage = to_usage(event.usage)
        yield _encode({"type": "message_delta", "delta": delta, "usage": usage})
        yield _encode({"type": "message_stop"})

    def on_stopped(self) -> Iterator[bytes]:
        self.is_broken = True
        failure = describe_failure(self.answer)
        yield _encode(failure_document(failure, self.record.id))

    def on_failed(self, code: str, message: str) -> Iterator[bytes]:
        self.is_broken = True
        failure = overloaded(describe_stream_failure(self.answer, code, message), self.answer)
        yield _encode(failure_document(failure, self.record.id))

    def _sign(self, details: list[dict[str, Any]]) -> Iterator[bytes]:
        """End the block of thinking with the details; without one, add a block with them."""
        if not details:
            return
        yield from self._end_complete_call()
        if not self.blocks.is_thinking:
            text = str(details[0].get("text") or "")
            if not details[0].get("signature"):
                yield from map(_encode, self.blocks.add_redacted(wrap(details)))
                return
            if text and text not in self.answer.reasoning:  # otherwise the client has it already
                yield from map(_encode, self.blocks.add_thinking(text))
        signature = sign(details, self.blocks.thinking)
        yield from map(_encode, self.blocks.end_thinking(signature))

    def _cite(self) -> Iterator[bytes]:
        """Send the citations that wait."""
        citations, self._citations = self._citations, []
        for citation in citations:
            yield from map(_encode, self.blocks.add_citation(citation))

    def _send_call(self, index: int) -> Iterator[bytes]:
        call = self.answer.tool_calls[index]
        if index not in self._sent_arguments:
            self._sent_arguments[index] = 0
            yield from map(_encode, self.blocks.start_call(call.id, call.name, call.extras))
        if delta := call.arguments[self._sent_arguments[index] :]:
            self._sent_arguments[index] = len(call.arguments)
            yield from map(_encode, self.blocks.add_arguments(delta))

    def _end_call(self) -> Iterator[bytes]:
        """End the current tool call; the next one becomes current."""
        self._calls.finish()
        yield from map(_encode, self.blocks.end_call())

    def _end_complete_call(self) -> Iterator[bytes]:
        """End the current tool call if it has all its arguments, before another block begins."""
        if self._calls.has_arguments(self.answer.tool_calls):
            yield from self._end_call()

    def _end_calls(self) -> Iterator[bytes]:
        while (current := self._calls.current) is not None:
            yield from self._send_call(current)
            yield from self._end_call()


class _WholeMessage(MessageEncoder):
    """Builds the content of the newest version, without what a stream cannot take back."""

    def on_replaced(self, text: str) -> Iterator[bytes]:
        self._citations = [*self.blocks.void_texts(), *self._citations]
        self._sent.text = AppendOnlyText()
        yield from self.on_text(text)

    def on_restarted(self) -> Iterator[bytes]:
        self.blocks, self._calls = ContentBlocks(), CallQueue()
        self._sent, self._sent_arguments, self._citations = SentParts(), {}, []
        self._joiner, self.stop = BlockJoiner(), None
        yield from ()

    def on_cut(self, parts: list[dict[str, Any]]) -> Iterator[bytes]:
        yield from AnswerEncoderBase.on_cut(self, parts)


class MessageCollector(AnswerCollector):
    """Implements ports.AnswerEncoder without chunks: the whole message of a complete answer."""

    def __init__(self, record: Generation) -> None:
        super().__init__(record)
        self._message = _WholeMessage(record)

    def feed(self, name: str, data: bytes) -> tuple[bytes, ...]:
        if not self.is_finished:
            super().feed(name, data)
            self._message.feed(name, data)
        return ()

    def document(self) -> dict[str, Any]:
        """Return the message."""
        content = self._message.blocks.content
        return message_object(
            self.record,
            [
                block
                for block in content
                if block.get("text") or block.get("citations") or block["type"] != "text"
            ],
            end=stop_fields(self.answer, self._message.stop),
            usage=to_usage(self.answer.end.usage),
        )


def _encode(event: Event) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (event["type"].encode(), encode_json(event))
