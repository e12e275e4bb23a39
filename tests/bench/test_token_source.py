"""The source of tokens publishes each of them once, and a refused command ends it."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import hiredis
import pytest

from bench.pipeline import Pipeline
from bench.servers import run_broker
from bench.token_source import publish_tokens, send_commands
from hub.backends.redis.client.connection import pack_command
from hub.backends.redis.keys import channel_keys
from hub.core.channel import user_channel


@pytest.mark.parametrize("rate", [0, 1000])
def test_each_user_gets_each_token(rate: int) -> None:
    """The log of each user has each number once, in order, with times that grow."""
    with run_broker() as url:
        result = publish_tokens(url, 3, rate, 4)
        with Pipeline(url) as pipeline:
            logs = [
                str(pipeline.call("XRANGE", channel_keys(user_channel(f"u{n}")).log, "-", "+"))
                for n in range(3)
            ]
    assert result["events"] == 12
    for log in logs:
        assert [int(each) for each in re.findall(r"N=(\d+);", log)] == [0, 1, 2, 3]
        times = [int(each) for each in re.findall(r"T=(\d+);", log)]
        assert times == sorted(times)
        assert times[0] > 0
        if rate:  # the times at which the tokens are due: 3 users later, 3 ms later
            assert {later - at for at, later in pairwise(times)} == {3_000_000}


def test_refused_command() -> None:
    """A command that the broker refuses is an error, not a fast answer."""
    with run_broker() as url, Pipeline(url) as pipeline:
        assert pipeline.call("SET", "text", "a") == b"OK"
        pipeline.send(b"*2\r\n$4\r\nINCR\r\n$4\r\ntext\r\n")
        with pytest.raises(hiredis.ReplyError, match="not an integer"):
            while pipeline.answered == 0:
                pipeline.receive()


def test_refused_token(tmp_path: Path) -> None:
    """The same for the program that sends the tokens."""
    commands = tmp_path / "commands"
    command = pack_command(["APPEND", "list", "0" * 19 + "#" * 7])
    commands.write_bytes(len(command).to_bytes(4, "little") + command)
    with run_broker() as url, Pipeline(url) as pipeline:
        pipeline.call("LPUSH", "list", "a")
        with pytest.raises(RuntimeError, match="the broker refuses a command: WRONGTYPE"):
            send_commands(url, commands, 0, 1)
