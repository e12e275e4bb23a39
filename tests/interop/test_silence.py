"""OkHttp gives up after 10 s without a byte; the hub's heartbeats come every 8 s."""

from __future__ import annotations

import pytest

from tests.interop.conftest import Silence

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_heartbeats_keep_okhttp(silence: Silence) -> None:
    """After 11 s in which nothing happened an event comes on the same connection."""
    it = await silence.at_the_hub
    assert it.closed
    assert not it.ends
    assert len(it.of("hub.open")) == len(it.of("note")) == 1


async def test_without_them_it_leaves(silence: Silence) -> None:
    """From a server that is silent after its first event."""
    it = await silence.at_a_mute_server
    (how,) = it.ends
    assert "timeout" in how.lower()
