"""Random answers of the Responses API: the events that a server sends, item after item."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from hypothesis import strategies as st

_CHUNKS = st.lists(st.text(alphabet='aé\u2028"😀 ', min_size=1, max_size=3), max_size=4)
_PHASES = st.sampled_from([None, None, "commentary", "final_answer"])

ITEMS: st.SearchStrategy[tuple[str, Any]] = st.one_of(
    st.tuples(st.just("message"), st.tuples(_CHUNKS, st.booleans(), _PHASES)),
    st.tuples(st.just("message"), st.tuples(_CHUNKS, st.booleans(), _PHASES)),
    st.tuples(st.just("reasoning"), st.lists(_CHUNKS, min_size=1, max_size=2)),
    st.tuples(st.just("refusal"), _CHUNKS),
    st.tuples(st.just("function_call"), _CHUNKS),
    st.tuples(st.just("custom_tool_call"), _CHUNKS),
    st.tuples(st.just("web_search_call"), st.none()),
)
"""The kind of an item, and what it has: chunks of texts, an annotation, a phase."""


def build_events(items: Sequence[tuple[str, Any]], response_id: str = "resp_1") -> list[bytes]:
    """Return the events of an answer in the form of server-sent events, numbered from 0."""
    head: dict[str, Any] = {"id": response_id, "object": "response", "output": [], "usage": None}
    events: list[tuple[str, dict[str, Any]]] = [
        ("created", {"response": {**head, "status": "in_progress"}})
    ]
    output: list[dict[str, Any]] = []
    for index, (kind, content) in enumerate(items):
        item_events = _ITEM_EVENTS[kind](f"item_{index}", content)
        for name, fields in item_events:
            events.append((name, {"output_index": index, **fields}))
        output.append(events[-1][1]["item"])
    usage = {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}
    end = {**head, "status": "completed", "output": output, "usage": usage}
    events.append(("completed", {"response": end}))
    return [
        f"event: response.{name}\ndata: ".encode()
        + json.dumps({"type": f"response.{name}", "sequence_number": number, **fields}).encode()
        + b"\n\n"
        for number, (name, fields) in enumerate(events)
    ]


_Events = Iterator[tuple[str, dict[str, Any]]]


def _message(id_: str, content: tuple[list[str], bool, str | None]) -> _Events:
    chunks, is_annotated, phase = content
    annotation = {"type": "url_citation", "url": f"https://x/{id_}", "title": "x"}
    annotations = [annotation] if is_annotated else []
    head = {"type": "message", "id": id_, "role": "assistant"}
    head |= {"phase": phase} if phase else {}
    part = {"type": "output_text", "text": "".join(chunks), "annotations": annotations}
    indexes = {"item_id": id_, "content_index": 0}
    yield "output_item.added", {"item": {**head, "content": [], "status": "in_progress"}}
    yield "content_part.added", {**indexes, "part": {**part, "text": "", "annotations": []}}
    for chunk in chunks:
        yield "output_text.delta", {**indexes, "delta": chunk}
    for each in annotations:
        yield "output_text.annotation.added", {**indexes, "annotation": each}
    yield "output_text.done", {**indexes, "text": part["text"]}
    yield "content_part.done", {**indexes, "part": part}
    yield "output_item.done", {"item": {**head, "content": [part], "status": "completed"}}


def _refusal(id_: str, chunks: list[str]) -> _Events:
    head = {"type": "message", "id": id_, "role": "assistant"}
    part = {"type": "refusal", "refusal": "".join(chunks)}
    indexes = {"item_id": id_, "content_index": 0}
    yield "output_item.added", {"item": {**head, "content": []}}
    for chunk in chunks:
        yield "refusal.delta", {**indexes, "delta": chunk}
    yield "refusal.done", {**indexes, "refusal": part["refusal"]}
    yield "content_part.done", {**indexes, "part": part}
    yield "output_item.done", {"item": {**head, "content": [part]}}


def _reasoning(id_: str, parts: list[list[str]]) -> _Events:
    head = {"type": "reasoning", "id": id_, "summary": []}
    yield "output_item.added", {"item": head}
    summary = []
    for index, chunks in enumerate(parts):
        indexes = {"item_id": id_, "summary_index": index}
        for chunk in chunks:
            yield "reasoning_summary_text.delta", {**indexes, "delta": chunk}
        yield "reasoning_summary_text.done", {**indexes, "text": "".join(chunks)}
        summary.append({"type": "summary_text", "text": "".join(chunks)})
    yield "output_item.done", {"item": {**head, "summary": summary, "encrypted_content": "zz"}}


def _function_call(id_: str, chunks: list[str]) -> _Events:
    call = {"type": "function_call", "id": id_, "call_id": f"call_{id_}", "name": "f"}
    arguments = "".join(chunks)
    yield "output_item.added", {"item": {**call, "arguments": ""}}
    for chunk in chunks:
        yield "function_call_arguments.delta", {"item_id": id_, "delta": chunk}
    yield "function_call_arguments.done", {"item_id": id_, "arguments": arguments}
    yield "output_item.done", {"item": {**call, "arguments": arguments}}


def _custom_tool_call(id_: str, chunks: list[str]) -> _Events:
    call = {"type": "custom_tool_call", "id": id_, "call_id": f"call_{id_}", "name": "g"}
    yield "output_item.added", {"item": {**call, "input": ""}}
    for chunk in chunks:
        yield "custom_tool_call_input.delta", {"item_id": id_, "delta": chunk}
    yield "custom_tool_call_input.done", {"item_id": id_, "input": "".join(chunks)}
    yield "output_item.done", {"item": {**call, "input": "".join(chunks)}}


def _web_search(id_: str, content: None) -> _Events:
    item = {"type": "web_search_call", "id": id_, "status": "in_progress"}
    yield "output_item.added", {"item": item}
    yield "web_search_call.searching", {"item_id": id_}
    yield "output_item.done", {"item": {**item, "status": "completed"}}


_ITEM_EVENTS: dict[str, Any] = {
    "message": _message,
    "refusal": _refusal,
    "reasoning": _reasoning,
    "function_call": _function_call,
    "custom_tool_call": _custom_tool_call,
    "web_search_call": _web_search,
}
