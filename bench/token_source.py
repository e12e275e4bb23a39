"""Publishes numbered, stamped events to many users through the broker, as workers do.

python -m bench.token_source URL USERS RATE SECONDS    paced; RATE 0: SECONDS events each, at once
"""

from __future__ import annotations

import asyncio
import sys
import time

import uvloop

from hub.brokers.redis import RedisBroker
from hub.brokers.redis.log import Retention
from hub.core.channel import user_channel
from hub.ports import Publication
from hub.redislink import open_link

_TICK_SECONDS = 0.002
_MOST_AT_ONCE = 2000


async def _main(url: str, users: int, rate: int, seconds: int) -> None:
    channels = [user_channel(f"u{n}") for n in range(users)]
    async with open_link(url, timeout_seconds=10) as link:
        broker = RedisBroker(link, Retention())

        def event(number: int) -> Publication:
            text = f'"T={time.monotonic_ns()};N={number // users};"'
            return Publication(channel=channels[number % users], name="token", data=text.encode())

        total = rate * seconds or users * seconds
        sent, begun = 0, time.monotonic()
        while sent < total:
            due = total if not rate else min(total, int((time.monotonic() - begun) * rate))
            due = min(due, sent + _MOST_AT_ONCE)
            await broker.publish([event(n) for n in range(sent, due)])
            sent = due
            await asyncio.sleep(0 if sent < total and not rate else _TICK_SECONDS)
    print(sent)


if __name__ == "__main__":
    uvloop.run(_main(sys.argv[1], *map(int, sys.argv[2:5])))
