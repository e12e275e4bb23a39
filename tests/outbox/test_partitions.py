"""Partitions as ranges of buckets."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hub.outbox.partitions import BUCKETS, fair_share, partition_buckets


@given(st.integers(1, BUCKETS))
def test_each_bucket_has_one_partition(partitions: int) -> None:
    """Every bucket belongs to one partition, and the partitions differ by one bucket at most."""
    buckets = [partition_buckets(n, partitions) for n in range(partitions)]
    assert [bucket for each in buckets for bucket in each] == list(range(BUCKETS))
    assert len({len(each) for each in buckets}) <= 2
    assert all(buckets)


@given(st.integers(1, BUCKETS), st.integers(1, 100))
def test_shares_cover_all_partitions(partitions: int, consumers: int) -> None:
    """If each consumer takes its share, no partition is left; no share is larger than needed."""
    assert fair_share(partitions, consumers) * consumers >= partitions
    assert (fair_share(partitions, consumers) - 1) * consumers < partitions
