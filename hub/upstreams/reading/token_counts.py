"""Token counts as agents report them: those of AG-UI and of the AI SDK.

Source: @ag-ui/core, `TokenUsage`; ai-sdk.dev, `LanguageModelUsage` of the versions 5 to 7.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

_COUNTS: Final = {
    "inputTokens": "prompt_tokens",
    "outputTokens": "completion_tokens",
    "totalTokens": "total_tokens",
}
# OpenAI's name, and the names of the count in the usage or in an object of it.
_PROMPT_DETAILS: Final = {
    "cached_tokens": ("cachedInputTokens", ("inputTokenDetails", "cacheReadTokens")),
    "cache_write_tokens": (
        "cacheWriteInputTokens",
        ("inputTokenDetails", "cacheWriteTokens"),
    ),
}
_COMPLETION_DETAILS: Final = {
    "reasoning_tokens": ("reasoningTokens", ("outputTokenDetails", "reasoningTokens")),
}


def convert_counts(usage: object) -> dict[str, Any]:
    """Return the counts under OpenAI's names, empty for a value without any of them."""
    if not isinstance(usage, dict):
        return {}
    counts = {
        openai_name: usage[name]
        for name, openai_name in _COUNTS.items()
        if usage.get(name) is not None
    }
    counts |= {name: usage[name] for name in _COUNTS.values() if usage.get(name) is not None}
    for field, names in (
        ("prompt_tokens_details", _PROMPT_DETAILS),
        ("completion_tokens_details", _COMPLETION_DETAILS),
    ):
        own = usage.get(field)
        details = dict(own) if isinstance(own, dict) else _find_details(usage, names)
        if details:
            counts[field] = details
    return counts


def _find_details(usage: Mapping[str, Any], names: Mapping[str, Any]) -> dict[str, Any]:
    details = {}
    for name, (flat, (group, inner)) in names.items():
        nested = usage.get(group)
        value = usage.get(flat) or (nested.get(inner) if isinstance(nested, dict) else None)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            details[name] = value
    return details
