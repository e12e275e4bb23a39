"""The checks of `hub doctor`. Each returns results that say what is wrong and how to fix it.

Without --url, run_checks looks at the set-up:
keys        are there keys, and are they hard to guess
broker      Redis or Valkey: version, memory, persistence, permissions, latency, clock
machine     the limits of this machine: open files, listen backlog, local ports
endpoints   what responds on the hub's two ports
workers     does a worker serve the queue of each upstream
upstreams   do the upstreams respond, accept their keys and have the models
guards      do the endpoints that check answers respond with a verdict
outbox      PostgreSQL: version, tables, privileges, pooler, and what waits there
push        the keys of push notifications, here and on the node; the extra for workers

With --url, check_proxy looks at the way from a client through the proxy to a node:
proxy_connection   TLS, the status and the headers of the response
proxy_stream       the event stream: buffering, timeouts, heartbeats
proxy_transports   WebSocket and long polling

hub/cli/inspect_commands.py has the command line and the output.
"""

from __future__ import annotations

import asyncio
import ssl

import aiohttp

from hub.cli.doctor.broker import check_broker
from hub.cli.doctor.endpoints import check_listeners
from hub.cli.doctor.guards import check_guards
from hub.cli.doctor.keys import check_keys
from hub.cli.doctor.machine import check_machine
from hub.cli.doctor.outbox import check_outbox
from hub.cli.doctor.probe import CheckResult, ProbeTarget
from hub.cli.doctor.proxy_connection import CONNECT_TIMEOUT_SECONDS, check_connection
from hub.cli.doctor.proxy_stream import check_stream
from hub.cli.doctor.proxy_transports import check_poll, check_websocket
from hub.cli.doctor.push import check_push
from hub.cli.doctor.upstreams import check_upstreams
from hub.cli.doctor.workers import check_workers
from hub.settings import Settings

__all__ = ["CheckResult", "ProbeTarget", "check_proxy", "run_checks"]

_RESPONSE_TIMEOUT_SECONDS = 3.0


async def run_checks(settings: Settings) -> list[CheckResult]:
    """Check the set-up. The results are in the order in which problems are best fixed."""
    results = [*check_keys(settings), *await check_broker(settings)]
    results += check_machine(settings.stream.max_connections)
    timeout = aiohttp.ClientTimeout(total=_RESPONSE_TIMEOUT_SECONDS)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        listeners, upstreams, guards, outbox, push = await asyncio.gather(
            check_listeners(session, settings),
            check_upstreams(session, settings.upstreams),
            check_guards(session, settings.upstreams),
            check_outbox(settings),
            check_push(session, settings),
        )
    results += [*listeners, *upstreams, *guards, *outbox, *push]
    return [*results, *await check_workers(settings)]


async def check_proxy(target: ProbeTarget, *, ca_file: str | None = None) -> list[CheckResult]:
    """Check what a client sees through the proxy: TLS first, then all transports at once.

    ca_file: certificates to trust instead of those of the machine.
    """
    connection = await check_connection(target.url, ssl.create_default_context(cafile=ca_file))
    if any(result.status == "fail" for result in connection):
        return connection
    context = ssl.create_default_context(cafile=ca_file)
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=context, limit=0),
        auto_decompress=False,
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_SECONDS),
        headers=target.headers,
    ) as session:
        stream, *others = await asyncio.gather(
            check_stream(session, target),
            check_websocket(session, target),
            check_poll(session, target),
        )
    if any(result.check == "proxy" for result in stream):
        others = []  # no hub responds: the other checks would report the same again
    return [*connection, *stream, *(result for results in others for result in results)]
