"""Publish tokens through the event log, as workers do.

Usage: python -m bench.token_source URL USERS RATE EACH

Each of the USERS receives EACH events, round robin, at RATE events a second in total (0: as fast
as the broker accepts them). The commands are those of RedisEventLog. They are packed in advance, so
that the publisher uses little CPU itself. The time stamp of an event is the time at which it was
due, not the time at which it was sent; this avoids coordinated omission. The program prints one
line of JSON.
"""

from __future__ import annotations

import json
import sys
import time
from itertools import islice
from types import SimpleNamespace
from typing import cast

from bench.pipeline import Pipeline
from hub.backends.redis.client import RedisClient, ScriptCall
from hub.backends.redis.client.connection import pack_command
from hub.backends.redis.events import RedisEventLog
from hub.core.channel import user_channel
from hub.ports.events import Publication
from hub.settings import Settings
from hub.wiring.backend import build_retention

_TIME, _NUMBER = b"0" * 19, b"#" * 7
_WINDOW = 4000  # max unanswered commands


def main() -> None:
    """Parse the command line, publish, and print the rate."""
    url, users, rate, each = sys.argv[1], *map(int, sys.argv[2:5])
    with Pipeline(url) as pipeline:
        run_id = read_run_id(pipeline)
        log = open_log()
        calls = [_build_call(log, user) for user in range(users)]
        pipeline.call("SCRIPT", "LOAD", calls[0].script.body)
        templates = [_split(pack_call(call, run_id)) for call in calls]
        total, sent = users * each, 0
        started_ns = time.monotonic_ns() + 50_000_000
        step_ns = 1_000_000_000 // rate if rate else 0
        events = ((n, template) for n in range(each) for template in templates)
        while pipeline.answered < total:
            due = total
            if rate:
                due = min(total, max(0, (time.monotonic_ns() - started_ns) // step_ns))
            count = min(due - sent, _WINDOW - (sent - pipeline.answered), 500)
            if count > 0:
                now_ns = time.monotonic_ns()
                block = []
                for n, (head, middle, tail) in islice(events, count):
                    at_ns = started_ns + sent * step_ns if rate else now_ns
                    block.append(b"%b%019d%b%07d%b" % (head, at_ns, middle, n, tail))
                    sent += 1
                pipeline.send(b"".join(block))
            pipeline.receive()
    seconds = (time.monotonic_ns() - started_ns) / 1e9
    print(json.dumps({"events": total, "per_s": round(total / seconds)}))


def open_log() -> RedisEventLog:
    """Return an event log that only builds calls, with the retention of the default settings."""
    client = cast(RedisClient, SimpleNamespace(sharded=False))
    return RedisEventLog(client, build_retention(Settings()))


def read_run_id(pipeline: Pipeline) -> str:
    """Return the id of the broker's run, as a call of the event log needs it."""
    info: bytes = pipeline.call("INFO", "server")
    return info.partition(b"run_id:")[2][:10].decode()


def pack_call(call: ScriptCall, run_id: str) -> bytes:
    """Return the command of a call."""
    arguments = ["EVALSHA", call.script.sha, len(call.keys), *call.keys, run_id, *call.arguments]
    return pack_command(arguments)


def _build_call(log: RedisEventLog, user: int) -> ScriptCall:
    """Return the call that publishes one token of a user."""
    data = b'"T=%b;N=%b;"' % (_TIME, _NUMBER)
    return log.publish_call([Publication(channel=user_channel(f"u{user}"), name="t", data=data)])


def _split(command: bytes) -> tuple[bytes, bytes, bytes]:
    """Return the bytes around the time and the number of a command."""
    head, _, remaining = command.partition(_TIME)
    middle, _, tail = remaining.partition(_NUMBER)
    return head, middle, tail


if __name__ == "__main__":
    main()
