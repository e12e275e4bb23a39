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
from typing import Final

import msgspec

from bench.machine import LOAD_CORE, ROOT, SERVER_CORE, compile_program, run_process, wait_for_http
from hub.backends.embedded import embedded_command, embedded_url
from tests.topologies import free_ports

STAMP: Final = "T=%T;N=%N;"


class Target(msgspec.Struct, frozen=True):
    """A server under load: its process, and the arguments that sse_load and pub_load need.

    batch_item, batch_around: one event of a batch, and the text before and after all of them with a
    `|` between. recovery_stream_path: a stream that begins with what its user has missed. stamp:
    how the body of a publish carries the stamp. broadcast_rate: events to 5,000 connections in a
    second that one processor sends in time.
    """

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
    publish_options: tuple[str, ...] = ()
    batch_path: str = ""
    batch_item: str = ""
    batch_around: str = ""
    recovery_stream_path: str = ""
    stamp: str = STAMP
    broadcast_rate: int = 10

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
            _wait_for_socket(folder / "valkey.sock")
            yield embedded_url(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _wait_for_socket(path: Path) -> None:
    """Wait until a Unix socket accepts connections. Raise OSError if it never does."""
    deadline = time.monotonic() + 60
    while True:
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(str(path))
                return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)


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
        "HUB_REDIS__TIMEOUT_SECONDS": "10",  # a broker that shares its processor may be slow
        **settings,
    }
    with run_process(core, [sys.executable, "-m", "hub", "serve"], env) as process:
        wait_for_http(f"http://127.0.0.1:{internal_port}/readyz", process=process)
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
            batch_path="/publish/batch",
            batch_item='{"to":{"user":"u%U"},"data":"T=%T;N=%N;"}',
            batch_around="[|]",
            recovery_stream_path="/sse/connect/u%d?cursor=start",
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
        yield Target("C send() loop", process.pid, port, "/u%d", port, "/", STAMP)


@contextmanager
def _run_python_peer(name: str, module: str) -> Iterator[Target]:
    (port,) = free_ports(1)
    command = [sys.executable, "-m", f"bench.peers.{module}", str(port)]
    with run_process(SERVER_CORE, command) as process:
        wait_for_http(f"http://127.0.0.1:{port}/", process=process)
        yield Target(
            name, process.pid, port, "/stream/u%d", port, "/publish", STAMP, broadcast_rate=2
        )


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


def read_nchan_version() -> str:
    """Return the version of Debian's package of Nchan and of nginx, as far as they are known."""
    nginx = subprocess.run(["nginx", "-v"], check=False, capture_output=True, text=True).stderr
    version = re.search(r"nginx/([\d.]+)", nginx)
    names = [f"nginx {version[1]}"] if version else []
    if shutil.which("dpkg-query"):
        query = ["dpkg-query", "-W", "-f", "${Version}", "libnginx-mod-nchan"]
        package = subprocess.run(query, check=False, capture_output=True, text=True).stdout
        names = [match[0] for match in [re.search(r"\d+\.[\d.]+", package)] if match] + names
    return ", ".join(names) or "unknown"


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
            STAMP,
            broadcast_stream_path="/sse/all",
            broadcast_publish_path="/pub/all",
        )


def wait_for_port(port: int) -> None:
    """Wait until the port accepts connections."""
    probe = ["bash", "-c", f"until (exec 3<>/dev/tcp/127.0.0.1/{port}) 2>/dev/null; do :; done"]
    subprocess.run(probe, check=True, timeout=60)
