"""What a client has of a stream of each dialect, read as the official SDKs put it together.

The readers know nothing of the encoders. Each fails on what these SDKs refuse: a delta of something
that is not open, two items with one id, an end that differs from the deltas before it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from hub.compat.anthropic.thinking import read_details
from hub.core.sse_decoder import SseDecoder

Chunk = dict[str, Any]


class ReadCall(msgspec.Struct):
    """A tool call. arguments: JSON text. result: that of the producer's tool, as text."""

    id: str
    name: str
    arguments: str = ""
    result: str | None = None


class ReadAnswer(msgspec.Struct):
    """An answer as a client has it. What its dialect cannot carry is empty.

    is_failed: whether the stream ended with an error.
    """

    text: str = ""
    reasoning: str = ""
    calls: list[ReadCall] = []
    details: list[dict[str, Any]] = []
    sources: list[str] = []
    finish_reason: str = ""
    is_failed: bool = False


def read_stream(dialect: str, stream: bytes) -> ReadAnswer:
    """Read a stream of server-sent events. dialect: its name in READERS."""
    data = [event.data for event in SseDecoder().feed(stream)]
    chunks = [each for each in data if each != "[DONE]"]
    return READERS[dialect](chunks if dialect in PLAIN else [json.loads(each) for each in chunks])


def read_chat(chunks: list[Chunk]) -> ReadAnswer:
    """Read a chat completion: entries of lists are joined by their `index`.

    Of the calls only the newest one grows, because LlamaIndex and others know no other one.
    """
    answer = ReadAnswer()
    for chunk in chunks:
        if "error" in chunk:
            answer.is_failed = True
        for choice in chunk.get("choices", ()):
            delta = choice["delta"]
            answer.text += delta.get("content") or ""
            answer.reasoning += delta.get("reasoning_content") or ""
            answer.finish_reason = choice["finish_reason"] or answer.finish_reason
            for call in delta.get("tool_calls", ()):
                if call["index"] == len(answer.calls):
                    answer.calls.append(ReadCall(call["id"], call["function"]["name"]))
                assert call["index"] == len(answer.calls) - 1
                answer.calls[-1].arguments += call["function"]["arguments"]
            for detail in delta.get("reasoning_details", ()):
                assert detail.pop("index", 0) in (0, len(answer.details))
                answer.details.append(detail)
            for annotation in delta.get("annotations", ()):
                answer.sources.append(annotation["url_citation"]["url"])
    return answer


def read_completion(chunks: list[Chunk]) -> ReadAnswer:
    """Read an older completion."""
    choices = [choice for chunk in chunks for choice in chunk.get("choices", ())]
    return ReadAnswer(
        text="".join(choice["text"] for choice in choices),
        finish_reason=choices[-1]["finish_reason"] or "",
        is_failed=any("error" in chunk for chunk in chunks),
    )


def read_responses(chunks: list[Chunk]) -> ReadAnswer:
    """Read a response: items by their indexes; the end repeats all of them."""
    items: list[Chunk] = []
    texts: list[str] = []
    answer = ReadAnswer()
    for number, chunk in enumerate(chunks):
        assert chunk["sequence_number"] == number
        match chunk["type"].removeprefix("response."):
            case "output_item.added":
                items.append(chunk["item"])
                texts.append("")
            case "output_item.done":
                items[chunk["output_index"]] = chunk["item"]
            case "output_text.annotation.added":
                answer.sources.append(chunk["annotation"]["url"])
            case "completed" | "incomplete":
                assert chunk["response"]["output"] == items
                answer.finish_reason = chunk["response"]["status"]
            case "failed":
                answer.is_failed = True
            case kind if kind.endswith(".delta"):
                assert items[chunk["output_index"]]["status"] == "in_progress"
                texts[chunk["output_index"]] += chunk["delta"]
    kept_sources = []
    for item, text in zip(items, texts, strict=True):
        match item["type"]:
            case "message":
                (content,) = item["content"]
                assert content["text"] == text
                kept_sources += [annotation["url"] for annotation in content["annotations"]]
                answer.text += text
            case "reasoning":
                answer.reasoning += text
            case "function_call":
                assert item["arguments"] == text
                answer.calls.append(ReadCall(item["call_id"], item["name"], text))
            case "function_call_output":
                (call,) = (each for each in answer.calls if each.id == item["call_id"])
                call.result = item["output"]
    assert kept_sources == answer.sources
    return answer


def read_message(chunks: list[Chunk]) -> ReadAnswer:
    """Read a message: blocks by their index; the input of a tool is parsed when its block ends."""
    blocks: list[Chunk] = []
    inputs: dict[int, str] = {}
    ended: set[int] = set()
    answer = ReadAnswer()
    for chunk in chunks:
        match chunk["type"]:
            case "content_block_start":
                assert chunk["index"] == len(blocks)
                blocks.append(chunk["content_block"])
            case "content_block_delta":
                assert chunk["index"] not in ended
                _add_to_block(blocks[chunk["index"]], chunk["index"], chunk["delta"], inputs)
            case "content_block_stop":
                assert chunk["index"] not in ended
                ended.add(chunk["index"])
            case "message_delta":
                answer.finish_reason = chunk["delta"]["stop_reason"]
            case "error":
                answer.is_failed = True
    assert answer.is_failed or len(ended) == len(blocks)
    for index, block in enumerate(blocks):
        match block["type"]:
            case "text":
                answer.text += block["text"]
                answer.sources += [each["url"] for each in block.get("citations") or ()]
            case "thinking":
                answer.reasoning += block["thinking"]
            case "tool_use":
                call = ReadCall(block["id"], block["name"], inputs.get(index, "{}"))
                answer.calls.append(call)
        answer.details += read_details(block)
    return answer


def _add_to_block(block: Chunk, index: int, delta: Chunk, inputs: dict[int, str]) -> None:
    match delta["type"]:
        case "text_delta":
            block["text"] += delta["text"]
        case "thinking_delta":
            block["thinking"] += delta["thinking"]
        case "signature_delta":
            assert not block["signature"]
            block["signature"] = delta["signature"]
        case "citations_delta":
            block["citations"] = [*(block.get("citations") or ()), delta["citation"]]
        case "input_json_delta":
            inputs[index] = inputs.get(index, "") + delta["partial_json"]


def read_ui(chunks: list[Chunk]) -> ReadAnswer:
    """Read a UI message: open parts by their ids, and tool calls by theirs."""
    answer = ReadAnswer()
    open_parts: set[str] = set()
    calls: dict[str, ReadCall] = {}
    for chunk in chunks:
        match chunk["type"]:
            case "text-start" | "reasoning-start":
                assert not open_parts
                open_parts.add(chunk["id"])
            case "text-delta":
                assert chunk["id"] in open_parts
                answer.text += chunk["delta"]
            case "reasoning-delta":
                assert chunk["id"] in open_parts
                answer.reasoning += chunk["delta"]
            case "text-end" | "reasoning-end":
                open_parts.remove(chunk["id"])
                metadata = chunk.get("providerMetadata", {}).get("hub", {})
                answer.details += metadata.get("reasoningDetails", ())
            case "source-url":
                answer.sources.append(chunk["url"])
            case "data-generation" | "reset-step":  # everything so far is void
                answer = ReadAnswer()
                calls.clear()
            case "error":
                answer.is_failed = True
            case "finish":
                answer.finish_reason = chunk["finishReason"]
            case kind if kind.startswith("tool-"):
                _read_ui_call(chunk, calls)
    assert not open_parts
    answer.calls = [*calls.values()]
    return answer


def _read_ui_call(chunk: Chunk, calls: dict[str, ReadCall]) -> None:
    id_ = chunk["toolCallId"]
    match chunk["type"]:
        case "tool-input-start":
            assert id_ not in calls
            calls[id_] = ReadCall(id_, chunk["toolName"])
        case "tool-input-delta":
            calls[id_].arguments += chunk["inputTextDelta"]
        case "tool-input-available":
            assert json.loads(calls[id_].arguments) == chunk["input"]
        case "tool-output-available":
            calls[id_].result = chunk["output"]


def read_ag_ui(chunks: list[Chunk]) -> ReadAnswer:
    """Read a run: messages and tool calls by their ids; all of them end."""
    answer = ReadAnswer()
    is_open: set[str] = set()
    calls: dict[str, ReadCall] = {}
    for chunk in chunks:
        match chunk["type"]:
            case "TEXT_MESSAGE_START" | "REASONING_MESSAGE_START":
                is_open.add(chunk["messageId"])
            case "TEXT_MESSAGE_CONTENT":
                assert chunk["messageId"] in is_open
                answer.text += chunk["delta"]
            case "REASONING_MESSAGE_CONTENT":
                assert chunk["messageId"] in is_open
                answer.reasoning += chunk["delta"]
            case "TEXT_MESSAGE_END" | "REASONING_MESSAGE_END":
                is_open.remove(chunk["messageId"])
            case "MESSAGES_SNAPSHOT":
                assert not is_open
                answer.text = answer.reasoning = ""
                calls.clear()
            case "CUSTOM":
                _read_custom_event(chunk["name"], chunk["value"], answer)
            case "RUN_ERROR":
                answer.is_failed = True
            case "RUN_FINISHED":
                answer.finish_reason = chunk["result"]["finishReason"]
            case kind if kind.startswith("TOOL_CALL_"):
                _read_ag_ui_call(chunk, calls, is_open)
    assert not is_open
    answer.calls = [*calls.values()]
    return answer


def _read_custom_event(name: str, value: Any, answer: ReadAnswer) -> None:
    match name:
        case "reasoning_details":
            answer.details += value
        case "annotations":
            answer.sources += [each["url_citation"]["url"] for each in value]
        case "source":
            answer.sources.append(value["url"])


def _read_ag_ui_call(chunk: Chunk, calls: dict[str, ReadCall], is_open: set[str]) -> None:
    id_ = chunk["toolCallId"]
    match chunk["type"]:
        case "TOOL_CALL_START":
            is_open.add(id_)
            calls[id_] = ReadCall(id_, chunk["toolCallName"])
        case "TOOL_CALL_ARGS":
            assert id_ in is_open
            calls[id_].arguments += chunk["delta"]
        case "TOOL_CALL_END":
            is_open.remove(id_)
        case "TOOL_CALL_RESULT":
            calls[id_].result = chunk["content"]


def read_texts(chunks: list[str]) -> ReadAnswer:
    """Read the template `text`: each event has the next part of the text, and `stop` is the end."""
    *texts, end = chunks
    return ReadAnswer(text="".join(texts), finish_reason=end)


def read_envelopes(chunks: list[Chunk]) -> ReadAnswer:
    """Read the template `envelope`."""
    *envelopes, end = chunks
    text = "".join(each.get("data", "") for each in envelopes)
    is_failed = any(each["code"] == 500 for each in envelopes)
    return ReadAnswer(text=text, finish_reason=str(end["code"]), is_failed=is_failed)


def read_cumulative(chunks: list[str]) -> ReadAnswer:
    """Read the template `cumulative`: each event has the whole text."""
    return ReadAnswer(text=chunks[-1] if chunks else "")


READERS: Final[Mapping[str, Callable[[list[Any]], ReadAnswer]]] = {
    "chat": read_chat,
    "completions": read_completion,
    "responses": read_responses,
    "messages": read_message,
    "ui": read_ui,
    "ui with reset-step": read_ui,
    "ag-ui": read_ag_ui,
    "ag-ui 1.0": read_ag_ui,
    "cumulative": read_cumulative,
    "envelope": read_envelopes,
    "text": read_texts,
}
"""The reader of each dialect, by the names of history.ENCODERS."""
PLAIN: Final = ("cumulative", "text")
"""The dialects whose events are not JSON."""
