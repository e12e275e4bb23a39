"""OkHttp times out after 10 s without data; the hub sends a heartbeat every 8 s."""

from __future__ import annotations

import pytest

from tests.interop.conftest import Silence

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_heartbeats_keep_okhttp(silence: Silence) -> None:
    """After 11 s without events, an event arrives on the same connection."""
    program = await silence.at_hub
    assert program.closed
    assert not program.ends
    assert len(program.named("hub.open")) == len(program.named("note")) == 1


async def test_okhttp_times_out_without_heartbeats(silence: Silence) -> None:
    """OkHttp reports a timeout with a server that is silent after its first event."""
    program = await silence.at_silent_server
    (how,) = program.ends
    assert "timeout" in how.lower()
