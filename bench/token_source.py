"""Publishes tokens through the log as workers do: python -m bench.token_source URL USERS RATE EACH

Each of USERS gets EACH events, in turns, RATE a second for all together (0: as fast as the broker
takes them). The commands are those of RedisLog, packed beforehand, so that the source costs little
beside what it measures; the time in an event is when it was due, not when it left (no coordinated
omission). Prints one line of JSON.
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
from hub.backends.redis.events import RedisEventLog, Retention
from hub.core.channel import user_channel
from hub.ports.events import Publication

_TIME, _NUMBER = b"0" * 19, b"#" * 7
_WINDOW = 4000  # commands that may be unanswered
_REPLY = b"*4\r\n"


def main() -> None:
    """Reads the command line, publishes, and says how it went."""
    url, users, rate, each = sys.argv[1], *map(int, sys.argv[2:5])
    broker = socket.socket(socket.AF_UNIX)
    broker.connect(url.removeprefix("unix://"))
    broker.sendall(pack_command(["INFO", "server"]))
    run = broker.recv(1 << 16).partition(b"run_id:")[2][:10].decode()
    log = RedisEventLog(cast(RedisClient, SimpleNamespace(sharded=False)), Retention())
    templates = [_template(log, run, user) for user in range(users)]
    broker.setblocking(False)
    total, sent, answered = users * each, 0, 0
    begun_ns = time.monotonic_ns() + 50_000_000
    step_ns = 1_000_000_000 // rate if rate else 0
    turns = ((n, template) for n in range(each) for template in templates)
    while answered < total:
        due = total
        if rate:
            due = min(total, max(0, (time.monotonic_ns() - begun_ns) // step_ns))
        count = min(due - sent, _WINDOW - (sent - answered), 500)
        if count > 0:
            now_ns = time.monotonic_ns()
            block = []
            for n, (head, middle, tail) in islice(turns, count):
                at_ns = begun_ns + sent * step_ns if rate else now_ns
                block.append(b"%b%019d%b%07d%b" % (head, at_ns, middle, n, tail))
                sent += 1
            broker.setblocking(True)
            broker.sendall(b"".join(block))
            broker.setblocking(False)
        try:
            answered += broker.recv(1 << 20).count(_REPLY)
        except BlockingIOError:
            time.sleep(0.0005)
    seconds = (time.monotonic_ns() - begun_ns) / 1e9
    print(json.dumps({"events": total, "per_s": round(total / seconds)}))


def _template(log: RedisEventLog, run: str, user: int) -> tuple[bytes, bytes, bytes]:
    """The command that publishes one token to this user, around its time and its number."""
    data = b'"T=%b;N=%b;"' % (_TIME, _NUMBER)
    call = log.publish_call([Publication(channel=user_channel(f"u{user}"), name="t", data=data)])
    words = ["EVALSHA", call.script.sha, len(call.keys), *call.keys, run, *call.args]
    head, _, rest = pack_command(words).partition(_TIME)
    middle, _, tail = rest.partition(_NUMBER)
    return head, middle, tail


if __name__ == "__main__":
    main()
