"""Start the hub and comparable servers on the server processor, each as its users start it."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import msgspec

from bench.machine import LOAD_CORE, ROOT, SERVER_CORE, compile_program, run_process, wait_for_http
from hub.backends.embedded import embedded_command, embedded_url
from tests.topologies import free_ports


class Target(msgspec.Struct, frozen=True):
    """A server under load: its process, and the arguments that sse_load and pub_load need."""

    name: str
    pid: int
    port: int
    stream_path: str
    publish_port: int
    publish_path: str
    publish_body: str
    broker_url: str = ""
    broadcast_body: str = ""  # set if a broadcast needs another body
    broadcast_stream_path: str = ""
    broadcast_publish_path: str = ""

    def to_all(self) -> Target:
        """Return the same server, set up so that each event reaches every connection."""
        return msgspec.structs.replace(
            self,
            stream_path=self.broadcast_stream_path or self.stream_path,
            publish_path=self.broadcast_publish_path or self.publish_path,
            publish_body=self.broadcast_body or self.publish_body,
        )


@contextmanager
def run_broker() -> Iterator[str]:
    """Run Valkey on the load processor; yield its URL."""
    folder = Path(tempfile.mkdtemp(prefix="hub-bench-"))
    try:
        with run_process(LOAD_CORE, embedded_command(folder, keep=False)):
            deadline = time.monotonic() + 10
            while not (folder / "valkey.sock").exists() and time.monotonic() < deadline:
                time.sleep(0.01)
            yield embedded_url(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def read_broker_pid(url: str) -> int:
    """Return the process id of a broker of `run_broker`."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(url.removeprefix("unix://"))
        connection.sendall(b"INFO server\r\n")
        process_id = re.search(rb"process_id:(\d+)", connection.recv(1 << 16))
    assert process_id is not None
    return int(process_id[1])


@contextmanager
def run_node(
    broker_url: str, name: str = "hub", *, core: str = SERVER_CORE, **settings: str
) -> Iterator[Target]:
    """Run one node on a processor, in production settings but without authentication."""
    port, internal_port = free_ports(2)
    env = {
        "HUB_AUTH__DISABLED": "true",
        "HUB_REDIS__URL": broker_url,
        "HUB_PUBLIC__PORT": str(port),
        "HUB_INTERNAL__PORT": str(internal_port),
        "HUB_LOGS__FORMAT": "json",
        **settings,
    }
    with run_process(core, [sys.executable, "-m", "hub", "serve"], env) as process:
        wait_for_http(f"http://127.0.0.1:{internal_port}/readyz")
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
def run_hub(name: str = "hub", **settings: str) -> Iterator[Target]:
    """Run one node, and its broker on the load processor."""
    with run_broker() as url, run_node(url, name, **settings) as target:
        yield target


@contextmanager
def run_floor() -> Iterator[Target]:
    """Run a C loop that only calls send(): the lower bound for every server."""
    (port,) = free_ports(1)
    with run_process(SERVER_CORE, [compile_program("limit"), str(port)]) as process:
        wait_for_port(port)
        yield Target("C send() loop", process.pid, port, "/u%d", port, "/", "T=%T;N=%N;")


@contextmanager
def _run_python_peer(name: str, module: str) -> Iterator[Target]:
    (port,) = free_ports(1)
    command = [sys.executable, "-m", f"bench.peers.{module}", str(port)]
    with run_process(SERVER_CORE, command) as process:
        wait_for_http(f"http://127.0.0.1:{port}/")
        yield Target(name, process.pid, port, "/stream/u%d", port, "/publish", "T=%T;N=%N;")


def run_aiohttp_sse() -> AbstractContextManager[Target]:
    """Run aiohttp-sse with one queue per connection, as tutorials show it."""
    return _run_python_peer("aiohttp-sse, queues", "aiohttp_sse_queue")


def run_sse_starlette() -> AbstractContextManager[Target]:
    """Run sse-starlette on uvicorn with one queue per connection."""
    return _run_python_peer("sse-starlette, queues", "sse_starlette_queue")


def run_aiohttp_post() -> AbstractContextManager[Target]:
    """Run aiohttp with a route that parses JSON and answers, without publishing anything."""
    return _run_python_peer("aiohttp alone", "aiohttp_post")


def has_nchan() -> bool:
    """Return whether nginx and its Nchan module are installed (Debian: libnginx-mod-nchan)."""
    return bool(shutil.which("nginx") and list(Path("/usr").glob("lib/nginx/modules/*nchan*")))


@contextmanager
def run_nchan() -> Iterator[Target]:
    """Run Nchan in one nginx process with its memory store."""
    (port,) = free_ports(1)
    folder = Path(tempfile.mkdtemp(prefix="nchan-bench-"))
    text = (ROOT / "bench" / "c" / "nchan.conf").read_text()
    module = next(Path("/usr").glob("lib/nginx/modules/*nchan*"))
    config = folder / "nginx.conf"
    config.write_text(text.replace("@PORT@", str(port)).replace("@MODULE@", str(module)))
    with run_process(SERVER_CORE, ["nginx", "-p", str(folder), "-c", str(config)]) as process:
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
    """Wait until the port accepts connections."""
    probe = ["bash", "-c", f"until (exec 3<>/dev/tcp/127.0.0.1/{port}) 2>/dev/null; do :; done"]
    subprocess.run(probe, check=True, timeout=10)
