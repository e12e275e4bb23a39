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

from hub.cli.doctor.broker import check_broker
from hub.cli.doctor.keys import check_keys
from hub.cli.doctor.listeners import check_listeners
from hub.cli.doctor.machine import check_machine
from hub.cli.doctor.proxy import check_proxy
from hub.cli.doctor.result import CheckResult
from hub.cli.doctor.target import ProbeTarget
from hub.cli.doctor.upstreams import check_upstreams
from hub.settings import Settings

__all__ = ["CheckResult", "ProbeTarget", "check_proxy", "run_checks"]

_PROBE_SECONDS = 3.0


async def run_checks(settings: Settings) -> list[CheckResult]:
    """All findings on the set-up, in the order in which they are best mended."""
    findings = [*check_keys(settings), *await check_broker(settings)]
    findings += check_machine(settings.stream.max_connections)
    timeout = aiohttp.ClientTimeout(total=_PROBE_SECONDS)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        listeners, upstreams = await asyncio.gather(
            check_listeners(session, settings), check_upstreams(session, settings.upstreams)
        )
    return [*findings, *listeners, *upstreams]
