"""Requests that schemathesis generates from the OpenAPI documents, valid and invalid.

`FUZZ_EXAMPLES` is the number of requests of each kind per operation. Not covered: the content of a
stream (see tests/http/test_system_events.py), a WebSocket's upgrade (each such request is refused
with 426), and the probes of a worker, which have no parameters. test_fuzz.py breaks the protocol
itself.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest

from tests.described import described_operations
from tests.e2e.cluster import Cluster, create_cluster
from tests.security.test_fuzz import resident_mb

EXAMPLES: Final = int(os.environ.get("FUZZ_EXAMPLES", "2"))


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    """A node without authentication, so that requests reach the handlers, with an upstream but no
    worker. It runs in its own process: while hypothesis generates requests, nothing else in this
    process may use the module random.
    """
    async with create_cluster() as cluster:
        cluster.set("PUBLIC__DEMO_PAGE", "true")
        cluster.set("UPSTREAMS__SIM__BASE_URL", "http://127.0.0.1:9/v1")
        cluster.set("UPSTREAMS__SIM__DEFAULT_MODEL", "m")
        await cluster.start()
        yield cluster


def open_files(pid: int) -> int:
    """Return the number of open files and sockets of a process."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


@pytest.mark.slow
@pytest.mark.timeout(120 + 10 * EXAMPLES)
async def test_described_routes_keep_their_word(cluster: Cluster) -> None:
    """Responses are as described, none is a 5xx, invalid requests are refused, no file leaks."""
    from tests.security.response_checker import USER, ResponseChecker

    _, started = await cluster.start_generation(USER, "hi", "sim")
    ports = {"public": cluster.port, "internal": cluster.internal_port}
    checker = ResponseChecker(ports, started["generation"], EXAMPLES)
    before, before_mb = open_files(cluster.node.pid), resident_mb(cluster.node.pid)
    await asyncio.to_thread(checker.ask_all)
    print(f"{checker.statuses.total()} requests: {dict(checker.statuses)}")
    served = {(method, path) for name in ports for method, path, _ in described_operations(name)}
    assert checker.requested == served
    assert checker.statuses[200] > EXAMPLES
    assert checker.statuses[400] > EXAMPLES
    assert "request.failed" not in cluster.log("serve")
    async with asyncio.timeout(60):
        while open_files(cluster.node.pid) > before:
            await asyncio.sleep(0.1)
    assert resident_mb(cluster.node.pid) - before_mb < 40
    async with cluster.session.get(f"{cluster.internal_url}/readyz") as answer:
        assert (await answer.json())["connections"] == 0
