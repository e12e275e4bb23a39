"""Checks of this machine: the kernel limits that bound the number of connections of a node."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from hub.cli.doctor.probe import CheckResult, ok, warn

_OTHER_FILES: Final = 200  # listeners, connections to Redis and LLMs, log files
_DEFAULT_CONNECTIONS: Final = 18_000  # to be ready for when stream.max_connections is off
_MIN_LISTEN_BACKLOG: Final = 1024
_SYSCTL_DIRECTORY: Final = Path("/proc/sys/net")


def check_machine(max_connections: int | None) -> Iterator[CheckResult]:
    """Check the limits for a node with this number of connections; None means unlimited.

    A service may run with other limits than the shell in which this check runs. The advice
    therefore names the setting of systemd, too.
    """
    if sys.platform == "win32":
        return  # it has none of these limits
    import resource

    connections = max_connections or _DEFAULT_CONNECTIONS
    needed = connections + _OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < needed:
        as_root = "" if hard == resource.RLIM_INFINITY or hard >= needed else " as root"
        yield warn(
            "open files",
            f"a process may open {soft} files, and {connections} connections need {needed}",
            f"run ulimit -n {needed}{as_root} (systemd: LimitNOFILE={needed}), "
            "or lower stream.max_connections",
        )
    else:
        yield ok("open files", f"the limit is enough for {connections} connections")
    yield from _check_listen_backlog()
    yield from _check_local_ports(connections)


def _check_listen_backlog() -> Iterator[CheckResult]:
    backlog = _read_numbers("core/somaxconn")
    if backlog and backlog[0] < _MIN_LISTEN_BACKLOG:
        yield warn(
            "listen backlog",
            f"the kernel queues only {backlog[0]} new connections; when many clients reconnect at "
            "once, it drops the others",
            "run sysctl -w net.core.somaxconn=4096",
        )


def _check_local_ports(connections: int) -> Iterator[CheckResult]:
    """Check the port range: a proxy on this machine needs one port for each stream to a node."""
    ports = _read_numbers("ipv4/ip_local_port_range")
    if len(ports) == 2 and (count := ports[1] - ports[0] + 1) < connections:
        yield warn(
            "local ports",
            f"a proxy on this machine can open {count} connections to a node that accepts "
            f"{connections}",
            'run sysctl -w net.ipv4.ip_local_port_range="1024 65535", or start more nodes',
        )


def _read_numbers(name: str) -> list[int]:
    try:
        return [int(word) for word in (_SYSCTL_DIRECTORY / name).read_text().split()]
    except OSError:
        return []  # not Linux
