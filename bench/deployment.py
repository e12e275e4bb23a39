"""A whole deployment on this machine: Valkey Cluster, nodes behind one port, workers, an LLM."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final
from urllib.error import HTTPError

import msgspec

from bench.machine import (
    OUTPUT,
    compile_program,
    cpu_seconds,
    resident_kb,
    run_process,
    wait_for_http,
)
from bench.servers import wait_for_port
from hub.backends.redis.keys import hash_tag
from hub.core.channel import PARTITIONS
from tests.topologies import ClusterOfThree, free_ports, valkey_binary

# The Cluster of the tests gives up a server after 0.8 s without an answer, and the hub a command
# after 1.5 s. Here all processes share the processors, so a server may be slow to answer although
# nothing is wrong with it.
_CLUSTER_TIMEOUT_MS: Final = 30_000
_REDIS_TIMEOUT_SECONDS: Final = 10
_START_TIMEOUT_SECONDS: Final = 300.0
_POST_TIMEOUT_SECONDS: Final = 60.0
_STOP_TIMEOUT_SECONDS: Final = 120.0  # nodes that still close some ten thousand connections
_LISTENING: Final = "0A"  # include/net/tcp_states.h


class Use(msgspec.Struct, frozen=True):
    """The CPU seconds that each kind of process has used so far."""

    nodes: float
    workers: float
    shards: float

    def since(self, before: Use) -> Use:
        """Return the difference."""
        return Use(
            self.nodes - before.nodes, self.workers - before.workers, self.shards - before.shards
        )


class Deployment:
    """The processes under load, and what one can do to them.

    port: the public port that all nodes share. supervisor: the process of `hub serve --workers N`.
    """

    def __init__(
        self,
        cluster: ClusterOfThree,
        supervisor: subprocess.Popen[bytes],
        workers: Sequence[subprocess.Popen[bytes]],
        port: int,
        internal_port: int,
    ) -> None:
        self.cluster = cluster
        self.port = port
        self._supervisor = supervisor
        self._workers = workers
        self._internal_port = internal_port
        self._exited_seconds = 0.0  # CPU of nodes that were killed

    def check_running(self) -> None:
        """Raise RuntimeError if the supervisor or a worker has exited."""
        for process in (self._supervisor, *self._workers):
            if process.poll() is not None:
                raise RuntimeError(
                    f"process {process.pid} has exited with {process.returncode}: see {OUTPUT}"
                )

    def nodes(self) -> list[int]:
        """Return the process ids of the nodes that run now."""
        supervisor = self._supervisor.pid
        path = Path(f"/proc/{supervisor}/task/{supervisor}/children")
        return [int(pid) for pid in path.read_text().split()]

    def use(self) -> Use:
        """Return the CPU time that nodes, workers and the masters of the Cluster have used."""
        return Use(
            nodes=self._exited_seconds + sum(map(cpu_seconds, self.nodes())),
            workers=sum(cpu_seconds(worker.pid) for worker in self._workers),
            shards=sum(cpu_seconds(server.process.pid) for server in self.cluster.masters),
        )

    def node_kb(self) -> int:
        """Return the resident memory of all nodes in kB."""
        return sum(map(resident_kb, self.nodes()))

    def shard_kb(self) -> int:
        """Return the resident memory of the masters of the Cluster in kB."""
        return sum(resident_kb(server.process.pid) for server in self.cluster.masters)

    def broadcast(self, number: int) -> None:
        """Publish an event to all users, with its number and the time."""
        data = f"T={time.monotonic_ns()};B={number};"
        body = {"to": {"all": True}, "data": data, "id": f"broadcast-{number}"}
        _post(f"http://127.0.0.1:{self._internal_port}/publish", body)

    def start_answer(self, user: int) -> None:
        """Start an answer of a user."""
        url = f"http://127.0.0.1:{self.port}/generations?user=u{user}"
        _post(url, {"prompt": "Count slowly, in words.", "id": f"answer-{user}"})

    def kill_node(self) -> int:
        """Kill one node (SIGKILL), which the supervisor replaces; return its process id."""
        pid = self.nodes()[0]
        self._exited_seconds += cpu_seconds(pid)
        os.kill(pid, signal.SIGKILL)
        while pid in self.nodes():
            time.sleep(0.01)  # its time would count twice until the supervisor has noticed
        return pid

    def move_slots(self, partitions: int) -> int:
        """Move the slots of some partitions to the next server, with CLUSTER MIGRATESLOTS.

        Return how many keys moved with them.
        """
        moved = 0
        for partition in itertools.islice(range(PARTITIONS), partitions):
            slot = int(self.cluster.masters[0].ask("CLUSTER", "KEYSLOT", hash_tag(partition)))
            source = self.cluster.owner(slot)
            index = self.cluster.masters.index(source)
            target = self.cluster.masters[(index + 1) % len(self.cluster.masters)]
            moved += source.ask("CLUSTER", "COUNTKEYSINSLOT", slot)
            self.cluster.migrate_slot(slot, source, target)
        return moved


@contextmanager
def run_deployment(
    *, nodes: int, workers: int, answers: int, parts_per_second: float, parts: int
) -> Iterator[Deployment]:
    """Run all processes during the block.

    answers: how many answers the workers can relay at once. The LLM (bench/c/llm.c) streams each of
    them in numbered parts.
    """
    llm_port, port, internal_port = free_ports(3)
    with ExitStack() as stack:
        cluster = ClusterOfThree(valkey_binary())
        stack.callback(cluster.close)
        # Valkey lets a slot move only after a replica has agreed within 2 s; a busy one does not.
        cluster.replica.kill()
        for server in cluster.masters:
            server.ask("CONFIG", "SET", "cluster-node-timeout", _CLUSTER_TIMEOUT_MS)
        llm = [compile_program("llm"), str(llm_port), str(parts_per_second), str(parts)]
        stack.enter_context(run_process(None, llm))
        wait_for_port(llm_port)
        env = {
            "HUB_AUTH__DISABLED": "true",
            "HUB_REDIS__URL": cluster.url,
            "HUB_PUBLIC__PORT": str(port),
            "HUB_INTERNAL__PORT": str(internal_port),
            "HUB_LOGS__FORMAT": "json",
            "HUB_REDIS__TIMEOUT_SECONDS": str(_REDIS_TIMEOUT_SECONDS),
            "HUB_UPSTREAMS__SIM__BASE_URL": f"http://127.0.0.1:{llm_port}/v1",
            "HUB_UPSTREAMS__SIM__DEFAULT_MODEL": "m",
            "HUB_DEFAULT_UPSTREAM": "sim",
            "HUB_WORKER__CONCURRENCY": str(answers // workers + 1),
        }
        hub = [sys.executable, "-m", "hub"]
        supervisor = stack.enter_context(
            run_process(
                None,
                [*hub, "serve", "--workers", str(nodes)],
                env,
                OUTPUT / "rehearsal-nodes.log",
                stop_seconds=_STOP_TIMEOUT_SECONDS,
            )
        )
        worker_processes = [
            stack.enter_context(
                run_process(None, [*hub, "worker"], env, OUTPUT / f"rehearsal-worker-{n}.log")
            )
            for n in range(workers)
        ]
        deployment = Deployment(cluster, supervisor, worker_processes, port, internal_port)
        wait_for_http(f"http://127.0.0.1:{internal_port}/readyz", _START_TIMEOUT_SECONDS)
        wait_for_nodes(deployment, nodes)
        yield deployment


def wait_for_nodes(deployment: Deployment, nodes: int) -> None:
    """Wait until this number of nodes listens on the public port. Raise TimeoutError."""
    deadline = time.monotonic() + _START_TIMEOUT_SECONDS
    while count_listeners(deployment.port) < nodes:
        if time.monotonic() > deadline:
            raise TimeoutError(f"fewer than {nodes} nodes listen after {_START_TIMEOUT_SECONDS} s")
        time.sleep(0.1)


def count_listeners(port: int) -> int:
    """Return how many sockets of IPv4 listen on a port."""
    count = 0
    with Path("/proc/net/tcp").open() as table:
        next(table)
        for line in table:
            _, local, _, state, *_ = line.split()
            if state != _LISTENING:
                break  # the kernel lists the others after these, and there may be 200,000
            count += int(local.rpartition(":")[2], 16) == port
    return count


def _post(url: str, body: object) -> None:
    """Send a request, again until it is accepted. Its `id` makes it happen once."""
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    deadline = time.monotonic() + _POST_TIMEOUT_SECONDS
    while True:
        try:
            urllib.request.urlopen(request, timeout=_POST_TIMEOUT_SECONDS).close()
            return
        except OSError as error:  # the node was killed, or it answers 503 because it is busy
            is_final = isinstance(error, HTTPError) and error.code != 503
            if is_final or time.monotonic() > deadline:
                raise
            time.sleep(0.2)
