"""Answers as clients of each API see them, and what a case expects of them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from hub.core.sse_decoder import SseDecoder

_REASONS: Final = frozenset({"stop", "length", "tool_calls", "content_filter", "function_call"})


@dataclass
class Answer:
    """What a client has read. faults: what a strict client would refuse."""

    raw: str
    text: str = ""
    reasoning: str = ""
    tool_calls: list[dict[str, Any]] = field(default_factory=list)
    finish_reason: str | None = None
    usage: Mapping[str, Any] | None = None
    code: str | None = None
    message: str = ""
    is_complete: bool = False
    faults: list[str] = field(default_factory=list)

    def fail(self, error: Mapping[str, Any]) -> None:
        """Read an error of OpenAI's form, or the data of `generation.failed`."""
        self.code, self.message = error.get("code") or "?", error.get("message") or ""

    def add_call(self, delta: Mapping[str, Any]) -> None:
        """Join a delta of a tool call as the accumulators of the SDKs do."""
        function = delta["function"]
        if delta["index"] == len(self.tool_calls):
            self.tool_calls.append({"id": delta.get("id"), "name": function.get("name"),
                                    "arguments": ""})  # fmt: skip
            if delta.get("type") != "function":
                self.faults.append("the first delta of a call has no type")
        elif {"id", "type"} & delta.keys() or "name" in function:
            self.faults.append("id, type or name come again")
        self.tool_calls[delta["index"]]["arguments"] += function["arguments"]


def _events(raw: str) -> Iterator[tuple[str, str]]:
    for event in SseDecoder().feed(raw.encode()):
        yield event.name, event.data


def read_hub_events(raw: str) -> Answer:
    """Read the `generation.*` events of a stream."""
    answer = Answer(raw)
    for name, data in _events(raw):
        fields = json.loads(data)
        if name == "generation.delta":
            answer.text += fields.get("text", "")
            answer.reasoning += fields.get("reasoning", "")
            for call in fields.get("tool_calls", ()):
                answer.add_call(call)
        elif name in ("generation.done", "generation.failed"):
            answer.is_complete, answer.usage = True, fields["usage"]
            reason = fields.get("finish_reason")
            answer.finish_reason = "content_filter" if reason == "refusal" else reason  # the hub's
            if name == "generation.failed":
                answer.fail(fields)
    return answer


def read_chat_chunks(raw: str) -> Answer:
    """Read the chunks of chat completions."""
    answer = Answer(raw)
    for _, data in _events(raw):
        if data == "[DONE]":
            answer.is_complete = True
            continue
        chunk = json.loads(data)
        if "error" in chunk:
            answer.fail(chunk["error"])
            continue
        answer.usage = chunk.get("usage") or answer.usage
        for choice in chunk["choices"]:
            delta = choice["delta"]
            answer.text += delta.get("content") or ""
            answer.reasoning += delta.get("reasoning_content") or ""
            answer.finish_reason = choice["finish_reason"] or answer.finish_reason
            for call in delta.get("tool_calls", ()):
                answer.add_call(call)
    return answer


def read_chat_completion(raw: str) -> Answer:
    """Read a complete chat completion."""
    answer, document = Answer(raw, is_complete=True), json.loads(raw)
    if "error" in document:
        answer.fail(document["error"])
        return answer
    choice = document["choices"][0]
    message = choice["message"]
    answer.text, answer.reasoning = message["content"] or "", message.get("reasoning_content", "")
    answer.finish_reason, answer.usage = choice["finish_reason"], document.get("usage")
    answer.tool_calls = [
        {"id": call["id"], **call["function"]} for call in message.get("tool_calls", ())
    ]
    return answer


def read_response_events(raw: str) -> Answer:
    """Read the events of Responses; the deltas must agree with the last event."""
    text, arguments, answer = "", dict[int, str](), Answer(raw)
    for name, data in _events(raw):
        event = json.loads(data)
        if name == "response.output_text.delta":
            text += event["delta"]
        elif name == "response.function_call_arguments.delta":
            index = event["output_index"]
            arguments[index] = arguments.get(index, "") + event["delta"]
        elif name in ("response.completed", "response.incomplete", "response.failed"):
            answer = read_response(json.dumps(event["response"]))
            output = event["response"]["output"]
            calls = [(n, item) for n, item in enumerate(output) if item["type"] == "function_call"]
            if text != answer.text or any(arguments[n] != item["arguments"] for n, item in calls):
                answer.faults.append("the deltas differ from the last event")
    answer.raw = raw
    return answer


def read_response(raw: str) -> Answer:
    """Read a complete response."""
    answer, document = Answer(raw, is_complete=True), json.loads(raw)
    if document.get("error"):
        answer.fail(document["error"])
    for item in document.get("output", ()):
        texts = "".join(part["text"] for part in item.get("content", ()))
        match item["type"]:
            case "message":
                answer.text += texts
            case "reasoning":
                answer.reasoning += texts
            case "function_call":
                answer.tool_calls.append({**item, "id": item["call_id"]})
    if usage := document.get("usage"):
        answer.usage = {
            "prompt_tokens": usage["input_tokens"],
            "completion_tokens": usage["output_tokens"],
        }
    return answer


def compare(answer: Answer, expected: Mapping[str, Any], *, is_stream: bool) -> list[str]:
    """Return what differs from the expectation. is_stream: whether a failure has partial text."""
    differences = [*answer.faults]
    code = expected.get("code")
    if code == "*":
        differences += [] if answer.code else ["it did not fail"]
    elif answer.code != code and answer.code not in (code if isinstance(code, list) else ()):
        differences.append(f"code {answer.code!r}: {answer.message}")
    if expected.get("message_has", "") not in answer.message:
        differences.append(f"message {answer.message!r}")
    if code is not None and not is_stream:
        return differences
    for name in ("text", "reasoning"):
        if expected.get(name, getattr(answer, name)) != getattr(answer, name):
            differences.append(f"{name} {getattr(answer, name)[:70]!r}")
    if expected.get("text_chars", len(answer.text)) != len(answer.text):
        differences.append(f"{len(answer.text)} characters of text")
    differences += _compare_calls(answer.tool_calls, expected.get("tool_calls"))
    if answer.finish_reason is not None and code is None:
        reasons = expected.get("finish_reason", answer.finish_reason)
        if answer.finish_reason not in (reasons if isinstance(reasons, list) else [reasons]):
            differences.append(f"finish reason {answer.finish_reason!r}")
        differences += (
            [] if answer.finish_reason in _REASONS else ["the finish reason is not strict"]
        )
    if (answer.usage or {}) | expected.get("usage", {}) != (answer.usage or {}):
        differences.append(f"usage {answer.usage}")
    if expected.get("contains", "") not in answer.raw:
        differences.append(f"{expected['contains']!r} is nowhere")
    return differences


def _compare_calls(
    calls: Sequence[Mapping[str, Any]], expected: Sequence[Mapping[str, Any]] | None
) -> list[str]:
    if expected is None:
        return []
    differences = [] if len(calls) == len(expected) else [f"{len(calls)} calls"]
    for call, wanted in zip(calls, expected, strict=False):
        arguments = wanted.get("arguments", json.loads(call["arguments"]))
        if call["name"] != wanted["name"] or json.loads(call["arguments"]) != arguments:
            differences.append(f"call {call['name']!r} {call['arguments'][:60]!r}")
        if wanted.get("arguments_chars", len(call["arguments"])) != len(call["arguments"]):
            differences.append(f"{len(call['arguments'])} characters of arguments")
        if not call["id"] or call["id"] != wanted.get("id", call["id"]):
            differences.append(f"id {call['id']!r}")
    ids = {call["id"] for call in calls}
    return differences if len(ids) == len(calls) else [*differences, "ids are not unique"]
