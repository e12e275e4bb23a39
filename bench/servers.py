"""The hub and its peers, each started as its users start it, on the server's processor."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import msgspec

from bench.machine import LOAD_CORE, ROOT, SERVER_CORE, built, running, wait_for
from hub.backends.embedded import embedded_command, embedded_url
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
    broadcast_body: str = ""  # what reaches everybody, where that is another body
    broadcast_stream_path: str = ""
    broadcast_publish_path: str = ""

    def to_all(self) -> Target:
        """The same server, its streams and publishes set so that each event reaches everybody."""
        return msgspec.structs.replace(
            self,
            stream_path=self.broadcast_stream_path or self.stream_path,
            publish_path=self.broadcast_publish_path or self.publish_path,
            publish_body=self.broadcast_body or self.publish_body,
        )


@contextmanager
def broker() -> Iterator[str]:
    """A Valkey on the load's processor; gives its URL."""
    folder = Path(tempfile.mkdtemp(prefix="hub-bench-"))
    try:
        with running(LOAD_CORE, embedded_command(folder, keep=False)):
            deadline = time.monotonic() + 10
            while not (folder / "valkey.sock").exists() and time.monotonic() < deadline:
                time.sleep(0.01)
            yield embedded_url(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def node(
    broker_url: str, name: str = "hub", *, core: str = SERVER_CORE, **settings: str
) -> Iterator[Target]:
    """One node on a processor. Everything is on but tokens: the load has none."""
    port, internal_port = free_ports(2)
    env = {
        "HUB_AUTH__DISABLED": "true",
        "HUB_REDIS__URL": broker_url,
        "HUB_PUBLIC__PORT": str(port),
        "HUB_INTERNAL__PORT": str(internal_port),
        "HUB_LOGS__FORMAT": "json",
        **settings,
    }
    with running(core, [sys.executable, "-m", "hub", "serve"], env) as process:
        wait_for(f"http://127.0.0.1:{internal_port}/readyz")
        yield Target(
            name,
            process.pid,
            port,
            "/sse/connect/u%d",
            internal_port,
            "/publish",
            '{"to":{"user":"u%U"},"data":"T=%T;N=%N;"}',
            broker_url,
            '{"to":{"all":true},"data":"T=%T;N=%N;"}',
        )


@contextmanager
def hub(name: str = "hub", **settings: str) -> Iterator[Target]:
    """One node and its broker, which shares the load's processor."""
    with broker() as url, node(url, name, **settings) as target:
        yield target


@contextmanager
def floor() -> Iterator[Target]:
    """A C loop that only calls send(): what no server can beat."""
    (port,) = free_ports(1)
    with running(SERVER_CORE, [built("limit"), str(port)]) as process:
        wait_for_port(port)
        yield Target("C send() loop", process.pid, port, "/u%d", port, "/", "T=%T;N=%N;")


@contextmanager
def _python_peer(name: str, module: str) -> Iterator[Target]:
    (port,) = free_ports(1)
    command = [sys.executable, "-m", f"bench.peers.{module}", str(port)]
    with running(SERVER_CORE, command) as process:
        wait_for(f"http://127.0.0.1:{port}/")
        yield Target(name, process.pid, port, "/stream/u%d", port, "/publish", "T=%T;N=%N;")


def aiohttp_sse_queue() -> AbstractContextManager[Target]:
    """What tutorials show: aiohttp-sse, a queue per connection."""
    return _python_peer("aiohttp-sse, queues", "aiohttp_sse_queue")


def sse_starlette_queue() -> AbstractContextManager[Target]:
    """The same on ASGI: sse-starlette on uvicorn."""
    return _python_peer("sse-starlette, queues", "sse_starlette_queue")


def aiohttp_post() -> AbstractContextManager[Target]:
    """aiohttp alone: takes JSON and answers, and does nothing with it."""
    return _python_peer("aiohttp alone", "aiohttp_post")


def has_nchan() -> bool:
    """Whether nginx with its Nchan module is installed (Debian: libnginx-mod-nchan)."""
    return bool(shutil.which("nginx") and list(Path("/usr").glob("lib/nginx/modules/*nchan*")))


@contextmanager
def nchan() -> Iterator[Target]:
    """Nchan in nginx, memory store, one process."""
    (port,) = free_ports(1)
    folder = Path(tempfile.mkdtemp(prefix="nchan-bench-"))
    text = (ROOT / "bench" / "c" / "nchan.conf").read_text()
    module = next(Path("/usr").glob("lib/nginx/modules/*nchan*"))
    config = folder / "nginx.conf"
    config.write_text(text.replace("@PORT@", str(port)).replace("@MODULE@", str(module)))
    with running(SERVER_CORE, ["nginx", "-p", str(folder), "-c", str(config)]) as process:
        wait_for_port(port)
        yield Target(
            "Nchan",
            process.pid,
            port,
            "/sub/u%d",
            port,
            "/pub/u%U",
            "T=%T;N=%N;",
            broadcast_stream_path="/sse/all",
            broadcast_publish_path="/pub/all",
        )


def wait_for_port(port: int) -> None:
    """Returns when something listens."""
    probe = ["bash", "-c", f"until (exec 3<>/dev/tcp/127.0.0.1/{port}) 2>/dev/null; do :; done"]
    subprocess.run(probe, check=True, timeout=10)
