"""A message of Anthropic's API: its fields, its stop reason, its token usage and its citations.

Source: docs.claude.com, "Messages" (API reference), "Handling stop reasons" and "Citations".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from hub.compat.answer_state import AnswerState
from hub.core.generation import Generation
from hub.core.usage import read_count

_STOP_REASONS: Final = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
    "refusal": "refusal",
}
"""Clients validate the reason strictly; a vendor's word that is not here becomes `end_turn`."""
_NO_USAGE: Final = {"input_tokens": 0, "output_tokens": 0}
_KEPT_USAGE: Final = (
    *("cache_creation_input_tokens", "cache_read_input_tokens", "cache_creation"),
    *("server_tool_use", "service_tier"),
)
"""The fields that only an upstream with Anthropic's API reports; they keep their names."""


def message_object(
    record: Generation,
    content: Sequence[dict[str, Any]] = (),
    *,
    end: Mapping[str, Any] | None = None,
    usage: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return a message. end: its stop reason, of a complete one (`stop_fields`)."""
    return {
        "id": f"msg_{record.id}",
        "type": "message",
        "role": "assistant",
        "model": record.request.model,
        "content": list(content),
        **(end or {"stop_reason": None, "stop_sequence": None}),
        "usage": usage or _NO_USAGE,
    }


def stop_fields(answer: AnswerState, reported: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return why a complete answer ended: its stop reason and stop sequence.

    reported: those of an upstream with Anthropic's API, where the hub has no word for the reason.
    The reason is `tool_use` exactly if the client has a tool to run, because clients act on that.
    """
    has_calls = any(call.name and call.run_by == "client" for call in answer.tool_calls)
    if reported is not None and not has_calls:
        return dict(reported)
    reason = _STOP_REASONS.get(answer.end.finish_reason or "stop", "end_turn")
    if reason in ("end_turn", "tool_use"):
        reason = "tool_use" if has_calls else "end_turn"
    return {"stop_reason": reason, "stop_sequence": None}


def to_usage(usage: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the token usage; the API requires both counts, so unknown ones are 0.

    `input_tokens` are those that no cache held. The fields of a vendor without a counterpart are
    left out.
    """
    given = usage or {}
    prompt = read_count(given.get("prompt_tokens")) or 0
    tokens: dict[str, Any] = {
        "input_tokens": prompt,
        "output_tokens": read_count(given.get("completion_tokens")) or 0,
        **{name: given[name] for name in _KEPT_USAGE if given.get(name) is not None},
    }
    cached = _detail(given, ("prompt_tokens_details", "input_tokens_details"), "cached_tokens")
    if cached and "cache_read_input_tokens" not in tokens:
        tokens["input_tokens"] = max(0, prompt - cached)
        tokens["cache_read_input_tokens"] = cached
    outputs = ("completion_tokens_details", "output_tokens_details")
    thinking = _detail(given, outputs, "reasoning_tokens") or _detail(
        given, outputs, "thinking_tokens"
    )
    if thinking:
        tokens["output_tokens_details"] = {"thinking_tokens": thinking}
    return tokens


def _detail(usage: Mapping[str, Any], groups: Sequence[str], name: str) -> int | None:
    for group in groups:
        details = usage.get(group)
        if isinstance(details, Mapping) and (count := read_count(details.get(name))):
            return count
    return None


def to_citation(annotation: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return a source of the answer as a citation, None if it has no counterpart."""
    citation = annotation.get("url_citation")
    if isinstance(citation, dict) and citation.get("url"):
        return {
            "type": "web_search_result_location",
            "url": citation["url"],
            "title": citation.get("title") or None,
            "cited_text": "",
            "encrypted_index": "",
        }
    is_anthropics = str(annotation.get("type")).endswith("_location")
    return dict(annotation) if is_anthropics else None
