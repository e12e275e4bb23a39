from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.grpc.kit import Kit, grpc_kit


@pytest.fixture
async def kit() -> AsyncIterator[Kit]:
    """A hub with tokens and keys, and a client of each of its listeners."""
    async with grpc_kit() as kit:
        yield kit
