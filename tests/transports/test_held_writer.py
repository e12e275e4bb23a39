"""The writer of a stream whose response has not begun."""

from __future__ import annotations

import asyncio

import pytest

from hub.transports.held_writer import HeldWriter
from tests.doubles import FakeWriter


@pytest.mark.parametrize("is_closed", [True, False])
def test_what_was_written_moves_to_the_socket(is_closed: bool) -> None:
    """The bytes and the end reach the other writer in order; nothing is written after the end."""
    held, writer = HeldWriter(8), FakeWriter()
    held.write(b"ab")
    assert held.try_send(b"cd") == 2
    if is_closed:
        held.close()
        held.write(b"late")
    held.move_to(writer)
    assert (writer.written, writer.is_closing()) == (b"abcd", is_closed)


def test_it_is_full_above_its_limit() -> None:
    """Further events then wait in the connection's outbox, which has its own limits."""
    held = HeldWriter(4)
    assert (held.is_drained, held.is_full) == (True, False)
    held.write(b"abcd")
    assert (held.is_drained, held.is_full) == (False, False)
    held.write(b"e")
    assert held.is_full


def test_abort_loses_what_waits() -> None:
    """An aborted stream is aborted on the socket too."""
    held, writer = HeldWriter(8), FakeWriter()
    held.write(b"ab")
    held.abort()
    held.move_to(writer)
    assert (writer.written, writer.aborted) == (b"", True)


async def test_waiting_for_a_change() -> None:
    """Each write and the end wake the waiter; after the end it never waits."""
    held = HeldWriter(8)
    for frames in (b"a", b"b", b""):
        waiting = asyncio.ensure_future(held.wait_change())
        await asyncio.sleep(0)
        assert not waiting.done()
        held.write(frames) if frames else held.close()
        await waiting
    await held.wait_change()
