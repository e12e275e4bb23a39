"""What this machine lets a node have: open files, a queue of arrivals, ports for proxies."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from hub.cli.doctor.result import CheckResult, ok, warn

_OTHER_FILES: Final = 200  # listeners, Redis, LLMs, log files
_WITHOUT_BOUND: Final = 18_000  # connections to be ready for where stream.max_connections is off
_LEAST_QUEUE: Final = 1024
_NET: Final = Path("/proc/sys/net")


def check_machine(max_connections: int | None) -> Iterator[CheckResult]:
    """Findings for a node that may hold so many connections. A service's own limits may differ
    from those of the shell in which this runs; the advice says so.
    """
    connections = max_connections or _WITHOUT_BOUND
    needed = connections + _OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < needed:
        raised = "" if hard == resource.RLIM_INFINITY or hard >= needed else ", as root"
        yield warn(
            "open files",
            f"a process started here may open {soft}, and {connections} connections need {needed}",
            f"ulimit -n {needed}{raised} (systemd: LimitNOFILE={needed}), "
            "or lower stream.max_connections",
        )
    else:
        yield ok("open files", f"enough for {connections} connections")
    yield from _arrivals()
    yield from _ports(connections)


def _arrivals() -> Iterator[CheckResult]:
    queue = _numbers("core/somaxconn")
    if queue and queue[0] < _LEAST_QUEUE:
        yield warn(
            "arrivals",
            f"the kernel queues {queue[0]} connections, clients that return at once are more",
            "sysctl -w net.core.somaxconn=4096",
        )


def _ports(connections: int) -> Iterator[CheckResult]:
    """A proxy on this machine takes one for each stream that it holds to one node."""
    ports = _numbers("ipv4/ip_local_port_range")
    if len(ports) == 2 and (count := ports[1] - ports[0] + 1) < connections:
        yield warn(
            "local ports",
            f"a proxy here can open {count} connections to a node that takes {connections}",
            'sysctl -w net.ipv4.ip_local_port_range="1024 65535", or more nodes',
        )


def _numbers(name: str) -> list[int]:
    try:
        return [int(word) for word in (_NET / name).read_text().split()]
    except OSError:
        return []  # not Linux
