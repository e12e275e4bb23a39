"""What every book of attendance must do: one suite over memory, Valkey and Redis."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from hub.backends.redis.topic_presence import RedisPresenceStore
from hub.core.channel import topic_channel
from hub.ports.topic_presence import PresenceChange, PresenceStore
from hub.testing.stores import MemoryPresenceStore

HALL = topic_channel("hall")


@pytest.fixture(params=["memory", "valkey", "redis"])
async def book(request: pytest.FixtureRequest, open_redis: Any) -> PresenceStore:
    """In memory, or in each server."""
    if request.param == "memory":
        return MemoryPresenceStore()
    return RedisPresenceStore((await open_redis(request.param)).link)


async def test_users_over_nodes(book: PresenceStore) -> None:
    """Joined with the first node, left with the last; saying it again changes nothing."""

    async def note(node: str, here: list[str], gone: list[str]) -> PresenceChange:
        return await book.update(HALL, node, here, gone, seconds=60)

    assert await note("n1", ["a", "b"], []) == (["a", "b"], [], 2)
    assert await note("n2", ["b", "c"], []) == (["c"], [], 3)
    assert await note("n1", ["a", "b"], []) == ([], [], 3)
    assert await note("n1", [], ["a", "b", "never"]) == ([], ["a"], 2)
    assert await note("n2", ["d"], ["b"]) == (["d"], ["b"], 2)
    assert await book.update(topic_channel("x"), "n1", [], [], seconds=60) == ([], [], 0)


async def test_entries_that_are_over(book: PresenceStore) -> None:
    """Leave when anybody looks; who was said again stays."""
    await book.update(HALL, "dead", ["a", "b"], [], seconds=0.2)
    await book.update(HALL, "n1", ["b"], [], seconds=60)
    left: list[str] = []
    async with asyncio.timeout(30):
        while not left:
            joined, gone, _ = await book.update(HALL, "n1", ["b"], [], seconds=60)
            left += gone
            assert joined == []
    assert left == ["a"]
    assert await book.update(HALL, "n1", ["b"], [], seconds=60) == ([], [], 1)
