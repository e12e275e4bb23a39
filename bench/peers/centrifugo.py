"""Run Centrifugo as a server of event streams: unidirectional SSE, history, positions, recovery."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from bench.machine import SERVER_CORE, run_process, wait_for_http
from bench.peers.programs import PROGRAMS
from bench.servers import Target
from tests.topologies import free_ports

_KEY: Final = "key-of-the-benchmark"
# A log of the hub keeps as much (`log.user` in the settings).
_HISTORY: Final = {"history_size": 10_000, "history_ttl": "1h"}


@contextmanager
def run_centrifugo(broker_url: str | None, *, core: str = SERVER_CORE) -> Iterator[Target]:
    """Run one process of Centrifugo, with its memory engine (None) or with this Redis.

    Clients connect without a token, as they do at the hub. A connection has one channel: its own or
    the one of all. Publishing goes through the HTTP API; batches run in parallel.
    """
    (port,) = free_ports(1)
    folder = Path(tempfile.mkdtemp(prefix="centrifugo-bench-"))
    config = folder / "config.json"
    config.write_text(json.dumps(_configure(port, broker_url)))
    try:
        with run_process(core, [PROGRAMS["centrifugo"].path, "--config", str(config)]) as process:
            wait_for_http(f"http://127.0.0.1:{port}/health", process=process)
            yield Target(
                "Centrifugo, Redis" if broker_url else "Centrifugo, memory",
                process.pid,
                port,
                _stream("u%d", {}),
                port,
                "/api/publish",
                '{"channel":"u%U","data":"T=%T;N=%N;"}',
                broker_url or "",
                broadcast_body='{"channel":"all","data":"T=%T;N=%N;"}',
                broadcast_stream_path=_stream("all", {}),
                publish_options=("-H", f"X-API-Key: {_KEY}", "-V", '"error"'),
                batch_path="/api/batch",
                batch_item='{"publish":{"channel":"u%U","data":"T=%T;N=%N;"}}',
                batch_around='{"parallel":true,"commands":[|]}',
                recovery_stream_path=_stream("u%d", {"recover": True}),
                broadcast_rate=5,
            )
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _configure(port: int, broker_url: str | None) -> dict[str, Any]:
    engine = {"type": "redis", "redis": {"address": broker_url}} if broker_url else {}
    return {
        "http_server": {"address": "127.0.0.1", "port": port},
        "log": {"level": "error"},
        "usage_stats": {"disabled": True},
        "health": {"enabled": True},
        "http_api": {"key": _KEY},
        "client": {"insecure": True},
        "uni_sse": {"enabled": True},
        "channel": {
            "without_namespace": {**_HISTORY, "force_positioning": True, "force_recovery": True}
        },
        "engine": engine,
    }


def _stream(channel: str, options: dict[str, Any]) -> str:
    """Return the path of a stream of one channel. A `%d` in the channel is the user's number."""
    connect = quote(json.dumps({"subs": {"CHANNEL": options}}), safe="").replace("%", "%%")
    return f"/connection/uni_sse?cf_connect={connect.replace('CHANNEL', channel)}"
