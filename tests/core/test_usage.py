"""Which values of an upstream are counts of tokens."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.core.usage import MAX_TOKENS, read_count, read_usage


@pytest.mark.parametrize(
    ("value", "count"),
    [
        *[(0, 0), (3, 3), (3.0, 3), (1.5, 1), ("12", 12), (2**63 - 1, MAX_TOKENS)],
        *[(2**200, MAX_TOKENS), (1e300, MAX_TOKENS), ("9" * 5000, MAX_TOKENS)],
        *[(True, None), (False, None), (-1, None), (math.nan, None), ("", None), ("x", None)],
        *[([], None), ({}, None), (None, None)],
    ],
)
def test_counts(value: Any, count: int | None) -> None:
    """Numbers are counts up to the limit; a bool and a negative number are none."""
    assert read_count(value) == count


_ODD = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.integers())


@given(st.dictionaries(st.sampled_from(["prompt_tokens", "completion_tokens", "x"]), _ODD))
def test_any_usage(usage: dict[str, Any]) -> None:
    """The three counts are whole numbers that fit into 64 bits; other fields are unchanged."""
    tokens, odd = read_usage(usage)
    for name, value in tokens.items():
        if name == "x":
            assert value is usage["x"]
        else:
            assert type(value) is int
            assert 0 <= value <= MAX_TOKENS
    assert not tokens.keys() & set(odd)
    assert tokens.keys() | set(odd) | {n for n in usage if usage[n] is None} == usage.keys()
