"""Run the standalone Mercure hub, with its transport in memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import jwt

from bench.machine import SERVER_CORE, run_process
from bench.peers.programs import PROGRAMS
from bench.servers import Target, wait_for_port
from tests.topologies import free_ports

_KEY: Final = "a-key-of-the-benchmark-of-32-bytes"
_PATH: Final = "/.well-known/mercure"
_STAMP: Final = "T%%3D%T%%3BN%%3D%N%%3B"  # T=…;N=…; as a field of a form


@contextmanager
def run_mercure() -> Iterator[Target]:
    """Run Mercure: anonymous subscribers, publishers with a token.

    The program is the server that `cmd/mercure` of its repository builds with the tag
    `deprecated_server`; it takes its settings from the environment, unlike the one for Caddy.
    """
    (port,) = free_ports(1)
    env = {
        "ADDR": f"127.0.0.1:{port}",
        "ALLOW_ANONYMOUS": "1",
        "JWT_KEY": _KEY,
        "TRANSPORT_URL": "local://local",
        "WRITE_TIMEOUT": "0s",
    }
    token = jwt.encode({"mercure": {"publish": ["*"]}}, _KEY, algorithm="HS256")
    with run_process(SERVER_CORE, [PROGRAMS["mercure"].path], env) as process:
        wait_for_port(port)
        yield Target(
            "Mercure",
            process.pid,
            port,
            f"{_PATH}?topic=u%d",
            port,
            _PATH,
            f"topic=u%U&data={_STAMP}",
            broadcast_body=f"topic=all&data={_STAMP}",
            broadcast_stream_path=f"{_PATH}?topic=all",
            publish_options=(
                *("-H", f"Authorization: Bearer {token}"),
                *("-C", "application/x-www-form-urlencoded"),
            ),
            stamp=_STAMP,
            broadcast_rate=5,
        )
