"""Set-ups of servers that several files of tests use."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.topologies import ClusterOfThree, valkey_binary


@pytest.fixture(scope="session")
def shared_cluster() -> Iterator[ClusterOfThree]:
    """A Cluster that no test breaks; its tests are of the xdist group `cluster`."""
    cluster = ClusterOfThree(valkey_binary())
    yield cluster
    cluster.close()
