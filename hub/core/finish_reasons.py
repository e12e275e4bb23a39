"""Why an answer ended: the words of all vendors as those of OpenAI's chat completions.

Strict clients know only `stop`, `length`, `tool_calls` and `content_filter`; the hub adds
`refusal`. A word that no rule here knows stays as it is in the hub's events.
"""

from __future__ import annotations

import re
from typing import Final

FAILED: Final = "error"
"""The reason of an answer that the vendor did not complete: it is a failure, not an end."""

_WORDS: Final = {
    "stop": "stop eos eos_token eos_found end_turn end_of_turn end end_of_text eot stop_sequence"
    " stop_sequences stop_string stop_word stop_token stop_token_id stopped_by_stop_sequence"
    " pause_turn complete completed done finish finished normal success natural_stop",
    "length": "length max_tokens max_token max_output_tokens max_new_tokens max_length"
    " max_completion_tokens model_length token_limit output_limit length_limit truncated"
    " context_length context_length_exceeded context_window_exceeded"
    " model_context_window_exceeded",
    "tool_calls": "tool_calls tool_call tool_use function_call function_calls",
    "content_filter": "content_filter content_filtered content_filter_violation sensitive safety"
    " recitation blocklist blocked prohibited_content spii image_safety guardrail_intervened"
    " guardrail moderation",
    "refusal": "refusal refused",
    FAILED: "error errored failed failure abort aborted cancel cancelled canceled interrupted"
    " network_error server_error internal_error insufficient_system_resource overloaded timeout"
    " malformed_function_call unexpected_tool_call malformed_response",
    "": "null none unspecified unknown_unspecified not_finished in_progress incomplete_stream",
}
_REASONS: Final = {word: reason for reason, words in _WORDS.items() for word in words.split()}
_HUMP: Final = re.compile(r"(?<=[a-z])(?=[A-Z])")


def latest_reason(known: str | None, new: str) -> str | None:
    """Return the reason of an answer whose upstream reports one again; `new` may be empty.

    A `stop` that follows another reason only says that nothing more comes.
    """
    return known if not new or (new == "stop" and known) else new


def normalise_finish_reason(word: str) -> str:
    """Return the reason for a vendor's word.

    Return "" for a word that says that the answer is not finished, `FAILED` for a failure, and an
    unknown word unchanged.
    """
    key = _HUMP.sub("_", word.strip()).lower().replace("-", "_").replace(" ", "_")
    key = key.removeprefix("finish_reason_").removeprefix("stop_reason_")
    kind, _, cause = key.partition(":")  # Gemini: `content_filter: PROHIBITED_CONTENT`
    known = (_REASONS[each] for each in (key, cause.strip("_"), kind) if each in _REASONS)
    return next(known, word.strip()) if key else ""
