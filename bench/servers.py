"""The hub and its peers, each started as its users start it, on the server's processor."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec

from bench.machine import LOAD_CORE, ROOT, SERVER_CORE, built, running, wait_for
from hub.brokers.embedded import embedded_command, embedded_url
from tests.topologies import free_ports


class Target(msgspec.Struct, frozen=True):
    """A server under load: its process, and how sse_load and pub_load talk to it."""

    name: str
    pid: int
    port: int
    stream_path: str
    publish_port: int
    publish_path: str
    publish_body: str
    broker_url: str = ""


@contextmanager
def hub(name: str = "hub", **settings: str) -> Iterator[Target]:
    """One node and its Valkey; the broker shares the load's processor. Everything is on."""
    folder = Path(tempfile.mkdtemp(prefix="hub-bench-"))
    port, internal_port = free_ports(2)
    env = {
        "HUB_AUTH__OPEN": "true",
        "HUB_REDIS__URL": embedded_url(folder),
        "HUB_PUBLIC__PORT": str(port),
        "HUB_INTERNAL__PORT": str(internal_port),
        "HUB_LOGS__FORMAT": "json",
        **settings,
    }
    with ExitStack() as parts:
        parts.enter_context(running(LOAD_CORE, embedded_command(folder, keep=False)))
        command = [sys.executable, "-m", "hub", "serve"]
        while not (folder / "valkey.sock").exists():
            pass
        node = parts.enter_context(running(SERVER_CORE, command, env))
        wait_for(f"http://127.0.0.1:{internal_port}/readyz")
        yield Target(
            name,
            node.pid,
            port,
            "/sse/connect/u%d",
            internal_port,
            "/publish",
            '{"to":{"user":"u%U"},"data":"T=%T;N=%N;"}',
            embedded_url(folder),
        )


@contextmanager
def floor() -> Iterator[Target]:
    """A C loop that only calls send(): what no server can beat."""
    (port,) = free_ports(1)
    with running(SERVER_CORE, [built("limit"), str(port)]) as process:
        wait_for_port(port)
        yield Target("C send() loop", process.pid, port, "/u%d", port, "/", "T=%T;N=%N;")


@contextmanager
def aiohttp_sse_queue() -> Iterator[Target]:
    """What tutorials show: aiohttp-sse, a queue per connection."""
    (port,) = free_ports(1)
    command = [sys.executable, str(ROOT / "bench" / "aiohttp_sse_queue.py"), str(port)]
    with running(SERVER_CORE, command) as process:
        wait_for(f"http://127.0.0.1:{port}/")
        yield Target(
            "aiohttp-sse, queues", process.pid, port, "/stream/u%d", port, "/publish", "T=%T;N=%N;"
        )


def has_nchan() -> bool:
    """Whether nginx with its Nchan module is installed (Debian: libnginx-mod-nchan)."""
    return bool(shutil.which("nginx") and list(Path("/usr").glob("lib/nginx/modules/*nchan*")))


@contextmanager
def nchan() -> Iterator[Target]:
    """Nchan in nginx, memory store, one process."""
    (port,) = free_ports(1)
    folder = Path(tempfile.mkdtemp(prefix="nchan-bench-"))
    text = (ROOT / "bench" / "load" / "nchan.conf").read_text()
    module = next(Path("/usr").glob("lib/nginx/modules/*nchan*"))
    config = folder / "nginx.conf"
    config.write_text(text.replace("@PORT@", str(port)).replace("@MODULE@", str(module)))
    with running(SERVER_CORE, ["nginx", "-p", str(folder), "-c", str(config)]) as process:
        wait_for_port(port)
        yield Target("Nchan", process.pid, port, "/sub/u%d", port, "/pub/u%U", "T=%T;N=%N;")


def wait_for_port(port: int) -> None:
    """Returns when something listens."""
    probe = ["bash", "-c", f"until (exec 3<>/dev/tcp/127.0.0.1/{port}) 2>/dev/null; do :; done"]
    subprocess.run(probe, check=True, timeout=10)
