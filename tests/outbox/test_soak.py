"""A short form of `scripts/soak outbox`."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest

from tests.conftest import temporary_folder
from tests.soak.outbox import OutboxSoak


@pytest.mark.slow
@pytest.mark.xdist_group("postgres")
async def test_soak_of_the_outbox() -> None:
    """While PostgreSQL, its sessions, the consumers and the broker are killed, every committed row
    is published once, in the order of its writer, and no other.
    """
    async with AsyncExitStack() as stack:
        folder = temporary_folder("outbox", stack)
        folder.chmod(0o755)
        soak = OutboxSoak(folder, seed=1, log=print)
        await soak.run(7.0, writers=3, consumers=2, pause=0.5)
    assert soak.problems == []
    assert soak.counts["rows published"] > 0
    assert soak.counts["fault: PostgreSQL killed"] > 0
