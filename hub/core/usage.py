"""Token counts as upstreams report them: which values are counts, and their limit."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

MAX_TOKENS: Final = 2**63 - 1
"""The largest count that is stored. Greater counts, and sums beyond it, become this number."""

MAX_MODELS_PER_DAY: Final = 100
"""The number of model names that are counted for one user on one day."""

MAX_MODEL_CHARS: Final = 128
"""The length of the longest model name that is counted under its own name."""

OTHER_MODELS: Final = "other"
"""The name under which all further and longer model names are counted. Where an upstream accepts
any model, users choose the names, and the totals of a day would have no bound.
"""

_COUNTS: Final = frozenset({"prompt_tokens", "completion_tokens", "total_tokens"})


def read_count(value: object) -> int | None:
    """Return a count of tokens, None for a value that is none: a bool, a negative number, a list.

    A fraction is cut off. A text of digits is the number that they write; another text is no count.
    """
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value[:20])
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if math.isnan(value) or value < 0:
        return None
    return MAX_TOKENS if value >= MAX_TOKENS else int(value)


def read_usage(usage: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return the usage with whole numbers as counts, and the names of counts that are none.

    Null is left out. Fields other than the three counts are kept as they are.
    """
    tokens, odd = {}, []
    for name, value in usage.items():
        if name not in _COUNTS:
            tokens[name] = value
        elif value is not None:
            count = read_count(value)
            if count is None:
                odd.append(name)
            else:
                tokens[name] = count
    return tokens, odd


def add_usage(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Return the usage of two answers together.

    Numbers are added, also those of nested objects. Of any other value, that of `second` counts. If
    only one of the two has `total_tokens`, that of the other one is the sum of its counts.
    """
    if ("total_tokens" in first) is not ("total_tokens" in second):
        first, second = _with_total(first), _with_total(second)
    return {**first, **{name: _add(first.get(name), value) for name, value in second.items()}}


def _with_total(usage: Mapping[str, Any]) -> Mapping[str, Any]:
    prompt, completion = usage.get("prompt_tokens"), usage.get("completion_tokens")
    if "total_tokens" in usage or not _is_number(prompt) or not _is_number(completion):
        return usage
    return {**usage, "total_tokens": _add(prompt, completion)}


def _add(first: Any, second: Any) -> Any:
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        return add_usage(first, second)
    if _is_number(first) and _is_number(second):
        total = first + second
        return min(total, MAX_TOKENS) if isinstance(total, int) else total
    return first if second is None else second


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


class UsageCount:
    """The usage of one answer that several streams report.

    Within one stream, the fields of a later report replace those of an earlier one. The streams
    are added up.
    """

    def __init__(self) -> None:
        self._ended: dict[str, Any] = {}  # the sum of the streams that have ended
        self._open: dict[object, dict[str, Any]] = {}  # by stream

    def report(self, stream: object, tokens: Mapping[str, Any]) -> None:
        """Take a report of a stream."""
        self._open[stream] = {**self._open.get(stream, {}), **read_usage(tokens)[0]}

    def end(self, stream: object) -> None:
        """Forget a stream that reports nothing more; its usage remains in the total."""
        if stream in self._open:
            self._ended = add_usage(self._ended, self._open.pop(stream))

    @property
    def total(self) -> dict[str, Any]:
        """The usage of all streams."""
        total = self._ended
        for tokens in self._open.values():
            total = add_usage(total, tokens)
        return total
