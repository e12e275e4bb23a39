"""Publish tokens through the event log, as workers do.

The commands are those of RedisEventLog. They are packed in advance, and a C program sends them, so
that the publisher takes little of the processor that it shares with the broker and the readers. The
time stamp of a token is the time at which it was due, not the time at which it was sent; this
avoids coordinated omission.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Final, cast

from bench.load import Row
from bench.machine import LOAD_CORE, compile_program, pin_to_core
from bench.pipeline import Pipeline
from hub.backends.redis.client import RedisClient, ScriptCall
from hub.backends.redis.client.connection import pack_command
from hub.backends.redis.events import RedisEventLog
from hub.core.channel import user_channel
from hub.ports.events import Publication
from hub.settings import Settings
from hub.wiring.backend import build_retention

_DATA: Final = b'"T=%b;N=%b;"' % (b"0" * 19, b"#" * 7)
"""The program replaces the zeros by the time and the hashes by the number of the token."""


def publish_tokens(url: str, users: int, rate: int, each: int) -> Row:
    """Publish `each` tokens to each of the users, round robin; return how many, and the rate.

    url: the broker's. rate: tokens in a second, in total; 0: as fast as the broker accepts them.
    Raise RuntimeError if the broker refuses a command.
    """
    with Pipeline(url) as pipeline:
        run_id = read_run_id(pipeline)
        log = open_log()
        calls = [_build_call(log, user) for user in range(users)]
        pipeline.call("SCRIPT", "LOAD", calls[0].script.body)
    with tempfile.NamedTemporaryFile(prefix="hub-bench-") as file:
        for call in calls:
            command = pack_call(call, run_id)
            file.write(len(command).to_bytes(4, "little") + command)
        file.flush()
        return send_commands(url, Path(file.name), rate, each)


def send_commands(url: str, commands: Path, rate: int, rounds: int) -> Row:
    """Send prepared commands; see bench/c/token_load.c. Raise RuntimeError."""
    socket = url.removeprefix("unix://")
    program = [compile_program("token_load"), "-s", socket, "-f", str(commands)]
    completed = subprocess.run(
        pin_to_core(LOAD_CORE, [*program, "-R", str(rate), "-n", str(rounds)]),
        check=False,
        capture_output=True,
        text=True,
    )
    if completed.returncode:
        raise RuntimeError(completed.stderr.strip())
    result: Row = json.loads(completed.stdout)
    return result


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
    return log.publish_call([Publication(channel=user_channel(f"u{user}"), name="t", data=_DATA)])
