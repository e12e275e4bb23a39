"""P11: what keeping an event in an inbox costs the broker."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from bench import servers
from bench.load import Row
from hub.backends.redis.client.client import RedisClient
from hub.backends.redis.keys import inbox_keys
from hub.core.channel import Channel, topic_channel, user_channel
from hub.core.inbox import InboxOptions
from hub.ports.backend import Backend
from hub.ports.events import Publication
from hub.settings import Settings
from hub.wiring.backend import open_backend

_USERS: Final = 2000
_ROUNDS: Final = 10  # the kinds take turns, so that all have the same weather
_PER_ROUND: Final = 3200
_PER_CALL: Final = 64
_DATA: Final = b'{"title":"Your export is ready","body":"981 rows","url":"/exports/981","n":%d}'
_KEPT: Final = InboxOptions(category="exports")

_LARGE: Final = topic_channel("large")
_LARGE_USERS: Final = 100_000

_Kind = Callable[[int], Publication]


def inbox() -> list[Row]:
    """P11: events that are kept in inboxes, beside the same events that are not."""
    with servers.run_broker() as url:
        return asyncio.run(_measure(url))


def _user(prefix: str, n: int, users: int = _USERS) -> Channel:
    return user_channel(f"{prefix}{n % users}")


def _event(channel: Channel, n: int, kept: InboxOptions | None = None) -> Publication:
    return Publication(channel=channel, name="export.ready", data=_DATA % n, inbox=kept)


_KINDS: Final[dict[str, _Kind]] = {
    "to a user": lambda n: _event(_user("p", n), n),
    "to a user, a new item": lambda n: _event(_user("i", n), n, _KEPT),
    "to a user, replaces an item": lambda n: _event(
        _user("k", n), n, InboxOptions(key=f"export-{n % 7}")
    ),
    "to a user, a full inbox": lambda n: _event(_user("f", n, 10), n, _KEPT),
    "to a topic": lambda n: _event(topic_channel(f"p{n % 10}"), n),
    "to a topic, a new item": lambda n: _event(topic_channel(f"i{n % 10}"), n, _KEPT),
    "to a topic of 100,000 users, a new item": lambda n: _event(_LARGE, n, _KEPT),
}


async def _measure(url: str) -> list[Row]:
    settings = Settings.model_validate({"redis": {"url": url}})
    async with open_backend(settings, ["default"]) as backend:
        client: RedisClient = backend.events._client  # type: ignore[attr-defined]
        await _subscribe(client)
        numbers, appended = dict.fromkeys(_KINDS, 0), dict.fromkeys(_KINDS, 0)
        seconds = dict.fromkeys(_KINDS, 0.0)
        for kind in _KINDS:  # inboxes with as many items as they may have, and warm scripts
            await _publish(backend, kind, numbers, _PER_ROUND)
        for _ in range(_ROUNDS):
            for kind in _KINDS:
                before, entries = await _cpu_seconds(client), await _entries(client)
                await _publish(backend, kind, numbers, _PER_ROUND)
                seconds[kind] += await _cpu_seconds(client) - before
                appended[kind] += await _entries(client) - entries
        rows = []
        for kind in _KINDS:
            base = "to a topic" if kind.startswith("to a topic") else "to a user"
            rows.append(
                {
                    "publishing": kind,
                    "broker µs per event": seconds[kind] / (_ROUNDS * _PER_ROUND) * 1e6,
                    "× without inbox": seconds[kind] / seconds[base],
                    "entries per event": appended[kind] / (_ROUNDS * _PER_ROUND),
                    "bytes per item": await _bytes_per_item(client, _KINDS[kind], numbers[kind]),
                }
            )
        return rows


async def _publish(backend: Backend, kind: str, numbers: dict[str, int], count: int) -> None:
    first, numbers[kind] = numbers[kind], numbers[kind] + count
    for n in range(first, first + count, _PER_CALL):
        batch = [_KINDS[kind](each) for each in range(n, n + _PER_CALL)]
        await backend.events.publish(batch)


async def _subscribe(client: RedisClient) -> None:
    """Store that many users have a topic in their inboxes, as their subscriptions do."""
    keys = inbox_keys(_LARGE)
    name = client.name(keys.subscribers)
    for first in range(0, _LARGE_USERS, 1000):
        members = [part for n in range(first, first + 1000) for part in (10**14, f"user-{n}")]
        await client.call(keys.partition, "ZADD", name, *members)


async def _entries(client: RedisClient) -> int:
    """Return how many entries of streams the broker has written: events and items."""
    stats = (await client.call(0, "INFO", "commandstats")).decode()
    match = re.search(r"cmdstat_xadd:calls=(\d+)", stats)
    return int(match[1]) if match else 0


async def _cpu_seconds(client: RedisClient) -> float:
    """Return the CPU time that the broker has used."""
    lines = (await client.call(0, "INFO", "cpu")).decode().splitlines()
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    return float(fields["used_cpu_user"]) + float(fields["used_cpu_sys"])


async def _bytes_per_item(client: RedisClient, kind: _Kind, published: int) -> float:
    """Return the memory of the inboxes of a kind for each item that they hold; 0 without one."""
    channels = {kind(n).channel for n in range(max(0, published - 200), published)}
    sizes = [await _size(client, channel) for channel in channels]
    items = sum(count for count, _ in sizes)
    return sum(size for _, size in sizes) / items if items else 0.0


async def _size(client: RedisClient, channel: Channel) -> tuple[int, int]:
    """Return the number of items in the inbox of a channel, and its bytes."""
    keys = inbox_keys(channel)
    names: Sequence[str] = [client.name(key) for key in (keys.state, keys.items)]
    used: Iterable[Any] = [
        await client.call(keys.partition, "MEMORY", "USAGE", name, "SAMPLES", "0") for name in names
    ]
    count = await client.call(keys.partition, "XLEN", names[1])
    return count, sum(each or 0 for each in used)
