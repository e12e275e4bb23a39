"""Does Redis or Valkey answer, from near enough, and is it the one that is meant?

How it is set is judged by broker_settings.py, from what each server says of itself here.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from typing import Final

from hub.backends.redis.client import RedisClient, open_client
from hub.backends.redis.keys import hash_tag
from hub.cli.doctor.broker_settings import Server, check_server
from hub.cli.doctor.result import CheckResult, fail, ok, warn
from hub.core.channel import PARTITIONS
from hub.errors import BrokerUnavailable
from hub.settings import Settings

_PINGS: Final = 15
_NEAR_MS: Final = 5.0
_MOST_CLOCK_SECONDS: Final = 2.0
_READ: Final = ("client-output-buffer-limit",)  # what INFO does not say
_HARMLESS: Final = "redis.call('EXISTS', KEYS[1]) return redis.call(ARGV[1], KEYS[1], '')"


async def check_broker(settings: Settings) -> list[CheckResult]:
    """The findings on every server of the topology."""
    place, findings = settings.redis.url_without_password, list[CheckResult]()
    try:
        async with open_client(
            settings.redis.url, timeout_seconds=settings.redis.timeout_seconds
        ) as link:
            servers = {link.server_of(n): n for n in range(PARTITIONS)}
            for each, partition in servers.items():
                named = place if len(servers) == 1 else str(each)
                server = await _read(link, partition, named)
                findings += check_server(server, max_body_bytes=settings.publish.max_body_bytes)
                findings += [*await _permission(link, partition), *await _delay(link, partition)]
    except (BrokerUnavailable, ValueError) as error:
        return [*findings, fail("broker", f"{place}: {error}", _advice(str(error)))]
    return findings


def _advice(reason: str) -> str:
    if any(word in reason.lower() for word in ("auth", "password", "wrongpass")):
        return "name user and password in redis.url: redis://user:password@host:6379"
    return "start Redis 7+ or Valkey 8+, and name it in redis.url (HUB_REDIS__URL)"


async def _read(link: RedisClient, partition: int, place: str) -> Server:
    text = (await link.call(partition, "INFO")).decode()
    info = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    config: dict[str, str] | None = {}
    try:
        words = [word.decode() for word in await link.call(partition, "CONFIG", "GET", *_READ)]
        config = dict(zip(words[::2], words[1::2], strict=True))
    except BrokerUnavailable:
        config = None  # as managed services do, and ACLs
    return Server(place, info, config)


async def _permission(link: RedisClient, partition: int) -> list[CheckResult]:
    """Whether this login may do what everything rests on: scripts that read and announce."""
    announce = "SPUBLISH" if link.sharded else "PUBLISH"
    try:
        await link.call(partition, "EVAL", _HARMLESS, 1, f"{hash_tag(partition)}:doctor", announce)
    except BrokerUnavailable as error:
        advice = "ACL SETUSER … ~{hub:* &{hub:* +@all -@admin, or another login in redis.url"
        return [fail("broker permissions", str(error), advice)]
    return []


async def _delay(link: RedisClient, partition: int) -> Iterator[CheckResult]:
    """How far away it is, and what its clock says meanwhile."""
    took, ahead = list[float](), list[float]()
    for _ in range(_PINGS):
        begun, begun_wall = time.perf_counter(), time.time()
        seconds, microseconds = await link.call(partition, "TIME")
        took.append(time.perf_counter() - begun)
        middle = begun_wall + took[-1] / 2
        ahead.append(int(seconds) + int(microseconds) / 1e6 - middle)
    return _judged(statistics.median(took) * 1000, max(took) * 1000, statistics.median(ahead))


def _judged(median_ms: float, most_ms: float, ahead_seconds: float) -> Iterator[CheckResult]:
    delay = f"a command takes {median_ms:.1f} ms, {most_ms:.1f} ms at most"
    if median_ms > _NEAR_MS:
        advice = "bring nodes and broker nearer to each other: each publish waits for it"
        yield warn("broker delay", delay, advice)
    else:
        yield ok("broker delay", delay)
    if abs(ahead_seconds) > _MOST_CLOCK_SECONDS:
        which = "ahead of" if ahead_seconds > 0 else "behind"
        yield warn(
            "clock",
            f"the broker's clock is {abs(ahead_seconds):.0f} s {which} this machine's",
            "run a time service on both (chrony, systemd-timesyncd): tokens and logs expire by it",
        )
    else:
        yield ok("clock", "the broker's agrees with this machine's")
