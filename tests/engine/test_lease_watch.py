"""The timer of a control stream: one read of the record at the end of the lease."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from hub.core.close_reason import CloseReason
from hub.core.external_producer import AttemptNotes, ExternalState, Progress
from hub.core.generation import Generation, Status
from hub.engine.external.lease_watch import LeaseWatch
from hub.errors import BrokerUnavailable
from tests.engine.external_kit import REQUEST


class OpenConnection:
    """A connection that is open until it is closed, with what it was sent."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.close_reason: CloseReason | None = None
        self._closed = asyncio.Event()

    async def wait_open(self) -> None: ...

    async def wait_closed(self) -> None:
        await self._closed.wait()

    def send_event(self, name: str, data: Any) -> None:
        self.sent.append(name)

    def close(self, reason: CloseReason) -> None:
        self.close_reason = reason
        self._closed.set()


def held(seconds: float, **more: Any) -> Generation:
    """Return a record whose lease holds for so long."""
    external = ExternalState(Progress(), AttemptNotes(), 5.0, seconds)
    record = Generation("g", "alice", REQUEST, status=Status.RUNNING, writer="w", external=external)
    return msgspec.structs.replace(record, **more)


@pytest.mark.parametrize(
    ("reads", "sent"),
    [
        ([held(0)], ["lease_lost"]),
        ([held(0.001), held(0.001), held(0)], ["lease_lost"]),
        ([held(0.001), BrokerUnavailable("gone"), held(0)], ["lease_lost"]),
        ([held(9, writer="other")], ["lease_lost"]),
        ([None], ["lease_lost"]),
        ([held(0, suspended="refund")], []),
        ([held(0, stop_requested_by="alice")], []),
        ([held(0, status=Status.DONE)], []),
    ],
)
async def test_end_of_a_lease(
    monkeypatch: pytest.MonkeyPatch, reads: list[Any], sent: list[str]
) -> None:
    """Each read that shows a renewed lease sets the timer again; the first other one ends it."""
    monkeypatch.setattr("hub.engine.external.lease_watch._RETRY_SECONDS", 0.001)
    connection: Any = OpenConnection()
    left = iter(reads)

    async def find(generation: str) -> Generation | None:
        read = next(left)
        if isinstance(read, Exception):
            raise read
        return read  # type: ignore[no-any-return]

    watch = LeaseWatch(find)
    watch.watch(connection, held(0.001))
    async with asyncio.timeout(60):
        while watch._background_tasks:
            await asyncio.sleep(0)
    assert connection.sent == sent
    assert connection.close_reason is (CloseReason.ENDED if sent else None)
    assert next(left, "all read") == "all read"


async def test_stream_that_ends_before_its_lease() -> None:
    """The timer of a stream that has ended reads nothing."""
    connection: Any = OpenConnection()

    async def find(generation: str) -> Generation | None:
        raise AssertionError

    watch = LeaseWatch(find)
    watch.watch(connection, held(900))
    await asyncio.sleep(0)
    connection.close(CloseReason.CLIENT_DISCONNECTED)
    async with asyncio.timeout(60):
        while watch._background_tasks:
            await asyncio.sleep(0)
    assert connection.sent == []
