"""The ids of deliveries, and what becomes of a failed one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hub.core.channel import partition_of, user_channel
from hub.core.deliveries import (
    MAX_ERROR_CHARS,
    Dead,
    Done,
    Failed,
    Postponed,
    Retry,
    RetryPolicy,
    error_line,
    new_delivery_id,
    partition_of_delivery,
)
from tests.http.test_names import names

POLICY = RetryPolicy(min_seconds=2.0, max_seconds=60.0, max_age_seconds=1000.0)
ratios = st.floats(0, 1)


def test_ids_tell_the_partition() -> None:
    """Any process finds a delivery by its id, and no other text is an id."""
    for user in names(30):
        channel = user_channel(user)
        assert partition_of_delivery(new_delivery_id(channel)) == partition_of(channel)


@given(st.text())
def test_no_other_text_is_an_id(text: str) -> None:
    """A text from a URL is an id or None; nothing raises."""
    partition = partition_of_delivery(text)
    assert partition is None or 0 <= partition < 128


@given(st.text())
def test_errors_are_lines(text: str) -> None:
    """What a receiver answers becomes one short line that can be stored."""
    line = error_line(text)
    assert 1 <= len(line) <= MAX_ERROR_CHARS
    assert line.splitlines() == [line]
    line.encode()


@given(st.integers(0, 10**6), st.floats(0, 2000), ratios, st.floats(0, 1e300))
def test_delays_are_bounded(failures: int, age: float, jitter: float, requested: float) -> None:
    """A failed delivery is tried again within the largest delay, whatever is requested."""
    settlement = POLICY.decide(
        Failed("e", requested), failures=failures, age_seconds=age, jitter=jitter
    )
    if age >= POLICY.max_age_seconds:
        assert settlement == Dead("e")
    else:
        assert isinstance(settlement, Retry)
        assert 0 < settlement.delay_seconds <= POLICY.max_seconds
        assert age + settlement.delay_seconds <= POLICY.max_age_seconds + 1e-6


def test_delays_grow() -> None:
    """The delay doubles, is at least what the receiver asks for, and nothing else changes."""

    def decide(failures: int, requested: float = 0.0) -> object:
        return POLICY.decide(Failed("e", requested), failures=failures, age_seconds=0.0, jitter=1.0)

    assert [decide(n) for n in range(7)] == [Retry(each, "e") for each in (2, 4, 8, 16, 32, 60, 60)]
    assert decide(0, 30.0) == Retry(30.0, "e")
    for result in (Done(), Postponed(1.0), Dead("x")):
        assert POLICY.decide(result, failures=3, age_seconds=1.0, jitter=0.5) == result
