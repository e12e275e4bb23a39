"""Which rows a consumer reads.

The database puts each recipient into one of `BUCKETS` buckets. A partition is a range of buckets.
A consumer locks every bucket of its partitions, so that two consumers with different settings of
`outbox.partitions`, for example during a deployment, never read the same rows.
"""

from __future__ import annotations

from typing import Final

BUCKETS: Final = 64
_LOCK_SPACE: Final = 0x487542  # the first 24 bits of the keys, which have 64 bits


def partition_buckets(partition: int, partitions: int) -> list[int]:
    """Return the buckets of a partition. partition: from 0. partitions: how many there are."""
    return [bucket for bucket in range(BUCKETS) if bucket * partitions // BUCKETS == partition]


def lock_base(table: int) -> int:
    """Return the key of the advisory lock of the first bucket of a table; the keys of the others
    follow, and then the key that all consumers share. table: its object id in PostgreSQL.
    """
    return _LOCK_SPACE << 40 | table << 8


def fair_share(partitions: int, consumers: int) -> int:
    """Return how many partitions one of several consumers takes at most."""
    return -(-partitions // max(1, consumers))
