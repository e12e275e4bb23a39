"""Which values of an upstream are counts of tokens."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.core.usage import MAX_TOKENS, UsageCount, add_usage, read_count, read_usage


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


_COUNTS = st.integers(0, 10**6)
_REPORTS = st.fixed_dictionaries(
    {"prompt_tokens": _COUNTS, "completion_tokens": _COUNTS},
    optional={
        "total_tokens": _COUNTS,
        "prompt_tokens_details": st.fixed_dictionaries({}, optional={"cached_tokens": _COUNTS}),
        "cost": st.floats(0, 1),
    },
)


@given(st.lists(_REPORTS, max_size=5))
def test_streams_add_up(reports: list[dict[str, Any]]) -> None:
    """Counts of several streams are added, also nested ones, whether the streams have ended."""
    usage = UsageCount()
    for n, report in enumerate(reports):
        usage.report(n, {"prompt_tokens": 1})
        usage.report(n, report)
        if n % 2:
            usage.end(n)
    total = usage.total
    for name in ("prompt_tokens", "completion_tokens"):
        assert total.get(name, 0) == sum(report[name] for report in reports)
    details = [report.get("prompt_tokens_details", {}) for report in reports]
    cached = sum(each.get("cached_tokens", 0) for each in details)
    assert total.get("prompt_tokens_details", {}).get("cached_tokens", 0) == cached
    assert total.get("cost", 0) == pytest.approx(sum(report.get("cost", 0) for report in reports))


def test_later_report_of_a_stream_replaces_the_earlier_one() -> None:
    """A stream reports its usage so far again and again; after its end, nothing changes it."""
    usage = UsageCount()
    usage.report("a", {"prompt_tokens": 5, "completion_tokens": 1})
    usage.report("a", {"completion_tokens": 3})
    usage.end("a")
    usage.end("a")
    usage.report("b", {"prompt_tokens": 1})
    assert usage.total == {"prompt_tokens": 6, "completion_tokens": 3}


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ({}, {"prompt_tokens": 1}, {"prompt_tokens": 1}),
        (
            {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
            {"prompt_tokens": 4, "completion_tokens": 5},
            {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12},
        ),
        (
            {"prompt_tokens": 1, "completion_tokens": 2},
            {"prompt_tokens": 4, "completion_tokens": 5, "total_tokens": 9},
            {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12},
        ),
        ({"prompt_tokens": MAX_TOKENS}, {"prompt_tokens": 1}, {"prompt_tokens": MAX_TOKENS}),
        ({"a": True, "b": "x", "c": 1}, {"a": False, "b": "y", "c": None},
         {"a": False, "b": "y", "c": 1}),
        ({"details": {"a": 1}}, {"details": 5}, {"details": 5}),
    ],
)  # fmt: skip
def test_sum_of_two_reports(
    first: dict[str, Any], second: dict[str, Any], expected: dict[str, Any]
) -> None:
    """Totals stay sums where one report has none, and what is no number is not added."""
    assert add_usage(first, second) == expected
