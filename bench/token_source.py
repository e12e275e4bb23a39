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
import socket
import sys
import time
from itertools import islice
from types import SimpleNamespace
from typing import cast

from hub.backends.redis.client import RedisClient
from hub.backends.redis.client.connection import pack_command
from hub.backends.redis.events import RedisEventLog
from hub.core.channel import user_channel
from hub.ports.events import Publication
from hub.settings import Settings
from hub.wiring.backend import build_retention

_TIME, _NUMBER = b"0" * 19, b"#" * 7
_WINDOW = 4000  # max unanswered commands
_LINES_PER_REPLY = 2  # the length of the text, and the text


def main() -> None:
    """Parse the command line, publish, and print the rate."""
    url, users, rate, each = sys.argv[1], *map(int, sys.argv[2:5])
    broker = socket.socket(socket.AF_UNIX)
    broker.connect(url.removeprefix("unix://"))
    broker.sendall(pack_command(["INFO", "server"]))
    run_id = broker.recv(1 << 16).partition(b"run_id:")[2][:10].decode()
    log = RedisEventLog(
        cast(RedisClient, SimpleNamespace(sharded=False)), build_retention(Settings())
    )
    templates = [_template(log, run_id, user) for user in range(users)]
    broker.setblocking(False)
    total, sent, lines = users * each, 0, 0
    started_ns = time.monotonic_ns() + 50_000_000
    step_ns = 1_000_000_000 // rate if rate else 0
    events = ((n, template) for n in range(each) for template in templates)
    while (answered := lines // _LINES_PER_REPLY) < total:
        due = total
        if rate:
            due = min(total, max(0, (time.monotonic_ns() - started_ns) // step_ns))
        count = min(due - sent, _WINDOW - (sent - answered), 500)
        if count > 0:
            now_ns = time.monotonic_ns()
            block = []
            for n, (head, middle, tail) in islice(events, count):
                at_ns = started_ns + sent * step_ns if rate else now_ns
                block.append(b"%b%019d%b%07d%b" % (head, at_ns, middle, n, tail))
                sent += 1
            broker.setblocking(True)
            broker.sendall(b"".join(block))
            broker.setblocking(False)
        try:
            lines += broker.recv(1 << 20).count(b"\n")
        except BlockingIOError:
            time.sleep(0.0005)
    seconds = (time.monotonic_ns() - started_ns) / 1e9
    print(json.dumps({"events": total, "per_s": round(total / seconds)}))


def _template(log: RedisEventLog, run_id: str, user: int) -> tuple[bytes, bytes, bytes]:
    """Return the command that publishes one token: the bytes around its time and its number."""
    data = b'"T=%b;N=%b;"' % (_TIME, _NUMBER)
    call = log.publish_call([Publication(channel=user_channel(f"u{user}"), name="t", data=data)])
    arguments = ["EVALSHA", call.script.sha, len(call.keys), *call.keys, run_id, *call.arguments]
    head, _, remaining = pack_command(arguments).partition(_TIME)
    middle, _, tail = remaining.partition(_NUMBER)
    return head, middle, tail


if __name__ == "__main__":
    main()
