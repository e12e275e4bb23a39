"""What `hub doctor` looks at: findings, each with what to do about it.

keys        are there keys, and can they be guessed
machine     descriptors, queues and ports of this machine
broker      Redis or Valkey: version, memory, persistence, delay, clock
listeners   what answers on the hub's two ports
upstreams   do the LLM endpoints answer
front       with --url: what a proxy before the nodes does to each way of streaming
"""

from __future__ import annotations

import asyncio

import aiohttp

from hub.cli.examination.broker import examine_broker
from hub.cli.examination.finding import Finding
from hub.cli.examination.front import examine_front
from hub.cli.examination.keys import examine_keys
from hub.cli.examination.listeners import examine_listeners
from hub.cli.examination.machine import examine_machine
from hub.cli.examination.upstreams import examine_upstreams
from hub.cli.examination.visit import Visit
from hub.settings import Settings

__all__ = ["Finding", "Visit", "examine", "examine_front"]

_PROBE_SECONDS = 3.0


async def examine(settings: Settings) -> list[Finding]:
    """All findings on the set-up, in the order in which they are best mended."""
    findings = [*examine_keys(settings), *await examine_broker(settings)]
    findings += examine_machine(settings.stream.max_connections)
    timeout = aiohttp.ClientTimeout(total=_PROBE_SECONDS)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        listeners, upstreams = await asyncio.gather(
            examine_listeners(session, settings), examine_upstreams(session, settings.upstreams)
        )
    return [*findings, *listeners, *upstreams]
