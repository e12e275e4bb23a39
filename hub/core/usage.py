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
