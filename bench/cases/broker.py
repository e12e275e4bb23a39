"""P5b: the broker's CPU time for each event, apart from every server."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

from bench import load, servers
from bench.load import Row
from bench.machine import cpu_seconds
from bench.peers.centrifugo import run_centrifugo
from bench.peers.programs import PROGRAMS
from bench.pipeline import Pipeline
from bench.servers import Target, read_broker_pid
from bench.token_source import open_log, pack_call, read_run_id
from hub.backends.redis.client.connection import pack_command
from hub.core.channel import user_channel
from hub.ports.events import Publication

_USERS: Final = 1920
_PER_CALL: Final = (1, 64)
_EVENTS: Final = 50 * _USERS
_WINDOW: Final = 2000  # max events without a reply
_DATA: Final = b'"T=1234567890123456789;N=1234567;"'

# What any log that outlives its publisher does: number, append, expire and publish. Every event has
# a key for its number, one for its log, and the name of its channel.
_MINIMAL: Final = b"""
for n = 1, #ARGV do
  local number, log, channel = KEYS[3 * n - 2], KEYS[3 * n - 1], KEYS[3 * n]
  local offset = redis.call('INCR', number)
  redis.call('XADD', log, 'MAXLEN', '~', 10000, '0-' .. offset, 'd', ARGV[n])
  redis.call('PEXPIRE', log, 3600000)
  redis.call('PUBLISH', channel, ARGV[n])
end
return #ARGV
"""


def broker() -> list[Row]:
    """P5b: broker CPU per event, nobody subscribed: a minimal script, the hub, Centrifugo.

    The commands of the minimal script and of the hub are packed in advance and sent without waiting
    for each reply. "Over HTTP" means through a server, from 64 publishers or in batches of 64.
    """
    rows = []
    for per_call in _PER_CALL:
        with servers.run_broker() as url, Pipeline(url) as pipeline:
            pipeline.call("SCRIPT", "LOAD", _MINIMAL)
            calls = [_pack_minimal(users) for users in _groups(per_call)]
            rows.append(_measure(url, pipeline, "minimal script", per_call, calls))
    for per_call in _PER_CALL:
        with servers.run_broker() as url, Pipeline(url) as pipeline:
            log, run_id = open_log(), read_run_id(pipeline)
            published = [
                log.publish_call(
                    [
                        Publication(channel=user_channel(f"u{n}"), name="t", data=_DATA)
                        for n in users
                    ]
                )
                for users in _groups(per_call)
            ]
            pipeline.call("SCRIPT", "LOAD", published[0].script.body)
            calls = [pack_call(call, run_id) for call in published]
            rows.append(_measure(url, pipeline, "hub", per_call, calls))
    with servers.run_hub("hub, over HTTP") as target:
        rows += [_measure_over_http(target, per_call) for per_call in _PER_CALL]
    if "centrifugo" in PROGRAMS:
        with servers.run_broker() as url, run_centrifugo(url) as target:
            rows += [_measure_over_http(target, per_call) for per_call in _PER_CALL]
    return rows


def _groups(per_call: int) -> list[Sequence[int]]:
    return [range(first, first + per_call) for first in range(0, _USERS, per_call)]


def _pack_minimal(users: Sequence[int]) -> bytes:
    keys = [f"{kind}:u{n}" for n in users for kind in ("number", "log", "channel")]
    sha = hashlib.sha1(_MINIMAL, usedforsecurity=False).hexdigest()
    return pack_command(["EVALSHA", sha, len(keys), *keys, *[_DATA] * len(users)])


def _measure(url: str, pipeline: Pipeline, name: str, per_call: int, calls: Sequence[bytes]) -> Row:
    pid, window = read_broker_pid(url), _WINDOW // per_call
    sent, total = 0, _EVENTS // per_call
    before = cpu_seconds(pid)
    while pipeline.answered < total:
        count = min(window // 4, window - (sent - pipeline.answered), total - sent)
        if count > 0:
            pipeline.send(b"".join(calls[n % len(calls)] for n in range(sent, sent + count)))
            sent += count
        pipeline.receive()
    return _row(name, per_call, cpu_seconds(pid) - before, total * per_call)


def _measure_over_http(target: Target, per_call: int) -> Row:
    options = ("-U", str(_USERS), "-d", "3", "-c", "64" if per_call == 1 else "4")
    pid, batch = read_broker_pid(target.broker_url), per_call if per_call > 1 else 0
    before = cpu_seconds(pid)
    posts = load.publish(target, *options, batch=batch)
    return _row(target.name, per_call, cpu_seconds(pid) - before, posts["ok"] * per_call)


def _row(server: str, per_call: int, used: float, events: int) -> Row:
    return {
        "server": server,
        "events in a call": per_call,
        "broker µs per event": used / max(1, events) * 1e6,
        "events": events,
    }
