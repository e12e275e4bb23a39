"""Cache-Control: what allows to use a response again, and for how long."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.core.cache_control import parse_cache_control


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("max-age=30", 30),
        ("private, max-age=30", 30),
        ("MAX-AGE=30", 30),
        ('max-age="30"', 30),
        ("max-age=30, max-age=30", 30),
        (" , max-age=30 ,", 30),
        ('ext="a, max-age=9", max-age=30', 30),
        ("max-age=99999999999999999999999999", 10**9),
        ("", None),
        ("max-age", None),
        ("max-age=", None),
        ("max-age=-1", None),
        ("max-age=0", None),
        ("max-age=1e3", None),
        ("max-age=30, max-age=60", None),
        ("max-age=30, no-store", None),
        ("No-Store, max-age=30", None),
        ('no-cache="set-cookie", max-age=30', None),
        ("no-cache, max-age=30", None),
        ("s-maxage=30", None),
        ('"max-age=30"', None),
        ('ext="max-age=30', None),
        ("x-max-age=30", None),
    ],
)
def test_age(text: str, seconds: float | None) -> None:
    """Only one well-formed max-age without no-store and no-cache allows it."""
    assert parse_cache_control(text) == seconds


@given(st.text(alphabet='max-age=no-store," \\30x'))
def test_any_text(text: str) -> None:
    """Any field gives a time or None, and no-store always forbids."""
    assert (parse_cache_control(text) or 1) > 0
    assert parse_cache_control(f"{text}, no-store") is None
