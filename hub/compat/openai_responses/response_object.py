"""OpenAI's Responses: the response object at any point of the answer, and its output items.

Source: platform.openai.com, API reference, "Responses", and the types of the package `openai`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec import UNSET

from hub.compat.answer_state import AnswerState, GenerationEvent, ToolCall, result_text
from hub.compat.openai import usage_with_total
from hub.compat.openai_responses.tools import is_custom, offered_tools, read_input, split_name
from hub.core.generation import Generation

_STATUS: Final = {"done": "completed", "stopped": "cancelled", "failed": "failed"}
_NO_TOKENS: Final = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
INCOMPLETE_REASONS: Final = {"length": "max_output_tokens", "content_filter": "content_filter"}
_ID_PREFIXES: Final = {
    "reasoning": "rs",
    "message": "msg",
    "call": "fc",
    "custom_call": "ctc",
    "result": "fco",
    "image": "ig",
}


_PREFIX: Final = re.compile("[a-z]+")


class OutputItem(msgspec.Struct):
    """One item of the output. An answer's items are in the order in which they began."""

    kind: str  # `reasoning`, `message`, `call`, `result` (of a call), `image` or `kept`
    id: str
    call: int = 0  # for a call: its index in the answer's deltas
    call_id: str = ""
    name: str = ""
    namespace: str = ""  # of a function that a client has grouped
    is_custom: bool = False  # of a call: whether it has a text instead of arguments
    kept: dict[str, Any] = {}  # of an item that passes through the hub: the upstream's item
    parts: list[str] = []  # of an image: its content in base64
    status: str = "in_progress"
    is_summary: bool = False  # of reasoning: whether its text is shown as `summary`
    phase: str | None = None  # of a message: what it is for
    annotations: list[dict[str, Any]] = []  # of a message
    details: list[dict[str, Any]] = []  # of reasoning, in the vendor's form
    extras: dict[str, Any] = {}  # fields of a call that chat completions do not define

    @property
    def text(self) -> str:
        """The text so far; for a call, its arguments so far."""
        return "".join(self.parts)

    def document(self) -> dict[str, Any]:
        """Return the item as clients read it."""
        if self.kind == "kept":
            return {**self.kept, "id": self.id}
        if self.is_custom:
            return {**self.extras, "id": self.id, "type": "custom_tool_call",
                    "call_id": self.call_id, "name": self.name, "input": self.text,
                    "status": self.status}  # fmt: skip
        if self.kind == "call":
            group = {"namespace": self.namespace} if self.namespace else {}
            return {**self.extras, "id": self.id, "type": "function_call", "call_id": self.call_id,
                    "name": self.name, **group, "arguments": self.text,
                    "status": self.status}  # fmt: skip
        if self.kind == "result":
            return {"id": self.id, "type": "function_call_output", "call_id": self.call_id,
                    "output": self.text, "status": self.status}  # fmt: skip
        if self.kind == "image":
            return {"id": self.id, "type": "image_generation_call", "result": self.text,
                    "status": self.status}  # fmt: skip
        content = [self.part()] if self.parts or self.annotations else []
        if self.kind == "reasoning":
            texts = {"summary": content if self.is_summary else [],
                     "content": [] if self.is_summary else content}  # fmt: skip
            return {"id": self.id, "type": "reasoning", **texts,
                    "status": self.status, **_describe_details(self.details)}  # fmt: skip
        phase = {"phase": self.phase} if self.phase else {}
        return {"id": self.id, "type": "message", "role": "assistant", "status": self.status,
                "content": content, **phase}  # fmt: skip

    def call_text(self, arguments: str) -> str:
        """Return the text of a call that has these arguments so far."""
        return read_input(arguments) if self.is_custom else arguments

    def part(self) -> dict[str, Any]:
        """Return the only content part of a message or of reasoning."""
        if self.kind == "reasoning":
            kind = "summary_text" if self.is_summary else "reasoning_text"
            return {"type": kind, "text": self.text}
        return {
            "type": "output_text",
            "text": self.text,
            "annotations": self.annotations,
            "logprobs": [],
        }


def new_item(record: Generation, kind: str, index: int) -> OutputItem:
    """Return an empty item. index: its place in the output."""
    item = OutputItem(kind, f"{_ID_PREFIXES[kind]}_{record.id}_{index}")
    item.is_summary = kind == "reasoning" and _wants_summary(record)
    return item


def _wants_summary(record: Generation) -> bool:
    """Return whether the client asked for summaries. It then shows no other text of reasoning."""
    reasoning = _object(record.request.metadata, "reasoning")
    return bool(reasoning.get("summary") or reasoning.get("generate_summary"))


def new_call(record: Generation, call: ToolCall, index: int) -> OutputItem:
    """Return the item of a tool call without its arguments. index: its place in the output."""
    tools = offered_tools(record)
    custom = is_custom(tools, call.name)
    item = new_item(record, "custom_call" if custom else "call", index)
    item.kind, item.is_custom = "call", custom
    names = split_name(tools, call.name)
    item.name, item.namespace = names["name"], names.get("namespace", "")
    item.call_id, item.extras = call.id, call.extras
    return item


def new_result(record: Generation, call: ToolCall, index: int) -> OutputItem:
    """Return the item of the result of a tool call. index: its place in the output."""
    item = new_item(record, "result", index)
    item.call_id, item.parts, item.status = call.id, [result_text(call.result)], "completed"
    return item


def new_image(record: Generation, file: Mapping[str, Any], index: int) -> OutputItem | None:
    """Return the item of an image that has its content, None for another file."""
    if not file.get("data") or not file["media_type"].startswith("image/"):
        return None
    item = new_item(record, "image", index)
    item.parts, item.status = [file["data"]], "completed"
    return item


def new_kept(record: Generation, upstream_item: dict[str, Any], index: int) -> OutputItem:
    """Return an item that passes through. Its id has the prefix that the upstream's id has."""
    prefix = _PREFIX.match(str(upstream_item.get("id")))
    id_ = f"{prefix[0] if prefix else 'item'}_{record.id}_{index}"
    return OutputItem("kept", id_, kept=upstream_item)


def to_annotation(annotation: Mapping[str, Any]) -> dict[str, Any]:
    """Return an annotation of chat completions in the form of Responses, where it is flat."""
    kind = annotation.get("type")
    fields = annotation.get(kind) if isinstance(kind, str) else None
    if not isinstance(fields, dict):
        return dict(annotation)
    defaults = {"title": "", "start_index": 0, "end_index": 0} if kind == "url_citation" else {}
    return {"type": kind, **defaults, **fields}


def _describe_details(details: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the fields of a reasoning item that a client must send back unchanged."""
    if not details:
        return {}
    encrypted = next((each["data"] for each in details if each.get("data")), None)
    return {"encrypted_content": encrypted, "reasoning_details": details}


def response_object(record: Generation, answer: AnswerState) -> dict[str, Any]:
    """Return the response object with everything that the answer has so far."""
    status = "completed" if answer.status == "done" else "incomplete"
    if not answer.status:
        status = "in_progress"
    output: list[dict[str, Any]] = []
    if answer.reasoning or answer.reasoning_details:
        item = new_item(record, "reasoning", len(output))
        item.parts, item.status = [answer.reasoning] if answer.reasoning else [], status
        item.details = answer.reasoning_details
        output.append(item.document())
    for kept in answer.kept_items.values():
        output.append(new_kept(record, kept, len(output)).document())
    if answer.text or answer.annotations:
        item = new_item(record, "message", len(output))
        item.parts, item.status = [answer.text], status
        item.annotations = [to_annotation(each) for each in answer.annotations]
        output.append(item.document())
    for call in answer.tool_calls:
        item = new_call(record, call, len(output))
        item.parts, item.status = [item.call_text(call.arguments)], status
        output.append(item.document())
        if call.result is not UNSET:
            output.append(new_result(record, call, len(output)).document())
    for file in answer.files:
        if (image := new_image(record, file, len(output))) is not None:
            output.append(image.document())
    return build_document(record, answer, output)


def build_document(
    record: Generation, answer: AnswerState, output: list[dict[str, Any]]
) -> dict[str, Any]:
    """Return the response object with the given output items."""
    request, end = record.request, answer.end
    reason = INCOMPLETE_REASONS.get(end.finish_reason or "") if answer.status == "done" else None
    status = _STATUS.get(answer.status) or ("in_progress" if answer.is_started else "queued")
    error = {"code": end.code, "message": end.message} if answer.status == "failed" else None
    has_usage = answer.status in ("done", "stopped")
    params, metadata = request.params, request.metadata
    return {
        "id": f"resp_{record.id}",
        "object": "response",
        "created_at": int(record.requested_at),
        "completed_at": _completed_at(record, end) if answer.status == "done" else None,
        "status": "incomplete" if reason else status,
        "background": bool(metadata.get("background")),
        "error": error,
        "incomplete_details": {"reason": reason} if reason else None,
        "instructions": metadata.get("instructions"),
        "max_output_tokens": params.get("max_tokens"),
        "max_tool_calls": metadata.get("max_tool_calls"),
        "metadata": _object(metadata, "metadata"),
        "model": request.model,
        "output": output,
        "parallel_tool_calls": params.get("parallel_tool_calls", True),
        "presence_penalty": _number(params, "presence_penalty", 0.0),
        "frequency_penalty": _number(params, "frequency_penalty", 0.0),
        "previous_response_id": metadata.get("previous_response_id"),
        "prompt_cache_key": params.get("prompt_cache_key"),
        "reasoning": {"effort": None, "summary": None, **_object(metadata, "reasoning")},
        "safety_identifier": params.get("safety_identifier"),
        "service_tier": params.get("service_tier") or "default",
        "store": metadata.get("store", True),
        "temperature": _number(params, "temperature", 1.0),
        "text": {"format": {"type": "text"}, **_object(metadata, "text")},
        "tool_choice": metadata.get("tool_choice") or "auto",
        "tools": [_describe_tool(tool) for tool in offered_tools(record)],
        "top_logprobs": 0,
        "top_p": _number(params, "top_p", 1.0),
        "truncation": "disabled",
        "usage": describe_usage(end.usage) if end.usage or has_usage else None,
    }


def _object(metadata: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return an object of the metadata, empty for any other value.

    Another API that started the generation may have given its own metadata such a name.
    """
    value = metadata.get(name)
    return value if isinstance(value, dict) else {}


def _number(params: Mapping[str, Any], name: str, default: float) -> Any:
    """Return a parameter; clients read its default as a number, not as null."""
    value = params.get(name)
    return default if value is None else value


def _describe_tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    """Return a tool with the fields that clients expect in each function."""
    if tool.get("type") != "function":
        return dict(tool)
    return {"description": None, "parameters": None, "strict": None, **tool}


def _completed_at(record: Generation, end: GenerationEvent) -> int:
    total = (end.seconds or {}).get("total")
    return int(record.requested_at + (total if isinstance(total, int | float) else 0))


def describe_usage(tokens: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return an upstream's token usage as Responses names it, zeros if it reported none.

    Some clients, such as version 5 of the AI SDK, refuse a complete response without numbers.
    """
    usage = usage_with_total(tokens or _NO_TOKENS) or _NO_TOKENS
    prompt, completion = usage.get("prompt_tokens_details"), usage.get("completion_tokens_details")
    prompt = prompt if isinstance(prompt, dict) else {}
    reasoning = completion.get("reasoning_tokens") if isinstance(completion, dict) else None
    return {
        "input_tokens": usage["prompt_tokens"],
        "input_tokens_details": {
            "cached_tokens": prompt.get("cached_tokens") or 0,
            "cache_write_tokens": prompt.get("cache_write_tokens") or 0,
        },
        "output_tokens": usage["completion_tokens"],
        "output_tokens_details": {"reasoning_tokens": reasoning or 0},
        "total_tokens": usage["total_tokens"],
    }
