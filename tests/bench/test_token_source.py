"""The source of tokens publishes each of them once, and a refused command ends it."""

from __future__ import annotations

import json
import subprocess
import sys

import hiredis
import pytest

from bench.machine import ROOT
from bench.pipeline import Pipeline
from bench.servers import run_broker
from hub.backends.redis.keys import channel_keys
from hub.core.channel import user_channel


def test_each_user_gets_each_token() -> None:
    """The log of each user has as many events as were asked for, and the program counts them."""
    with run_broker() as url:
        command = [sys.executable, "-m", "bench.token_source", url, "3", "0", "4"]
        completed = subprocess.run(
            command, cwd=ROOT, check=True, stdout=subprocess.PIPE, timeout=60
        )
        with Pipeline(url) as pipeline:
            logs = [channel_keys(user_channel(f"u{n}")).log for n in range(3)]
            assert [pipeline.call("XLEN", log) for log in logs] == [4, 4, 4]
    assert json.loads(completed.stdout)["events"] == 12


def test_refused_command() -> None:
    """A command that the broker refuses is an error, not a fast answer."""
    with run_broker() as url, Pipeline(url) as pipeline:
        assert pipeline.call("SET", "text", "a") == b"OK"
        pipeline.send(b"*2\r\n$4\r\nINCR\r\n$4\r\ntext\r\n")
        with pytest.raises(hiredis.ReplyError, match="not an integer"):
            while pipeline.answered == 0:
                pipeline.receive()
