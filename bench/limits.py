"""Say before a large run begins what this machine lacks for it."""

from __future__ import annotations

import math
import resource
from pathlib import Path
from typing import Final

import msgspec

_OTHER_FILES: Final = 300  # of a process: listeners, the broker, answers of endpoints
_SPREAD: Final = 1.1  # the kernel gives one process up to a tenth more streams than another
_KB_PER_STREAM: Final = 24  # both ends: sockets of the kernel, node and receiver
_KB_PER_PROCESS: Final = 120 * 1024
_KB_SPARE: Final = 1024 * 1024


class Machine(msgspec.Struct, frozen=True):
    """The limits of a machine. local_ports: ports for outgoing connections of one address."""

    open_files: int
    all_open_files: int
    local_ports: int
    available_kb: int

    @classmethod
    def read(cls) -> Machine:
        """Return the limits of this machine; the limit of open files is raised as far as allowed.

        Processes that start later inherit the raised limit.
        """
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        first, last = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
        memory = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        return cls(
            open_files=hard,
            all_open_files=int(Path("/proc/sys/fs/file-max").read_text()),
            local_ports=last - first + 1,
            available_kb=int(memory["MemAvailable"].split()[0]),
        )


def find_shortage(
    machine: Machine, *, streams: int, nodes: int, streams_per_receiver: int
) -> str | None:
    """Return one sentence that says what is too small; None if the machine has enough.

    streams_per_receiver: the streams that one process of the receivers holds at most.
    """
    when_one_is_killed = math.ceil(streams / max(1, nodes - 1) * _SPREAD)
    files = max(when_one_is_killed, min(streams, streams_per_receiver)) + _OTHER_FILES
    needed_kb = streams * _KB_PER_STREAM + (nodes + 8) * _KB_PER_PROCESS + _KB_SPARE
    what = f"{streams:,} connections on {nodes} nodes need"
    advice = "raise it, or use a smaller number with --connections"
    if machine.open_files < files:
        return (
            f"{what} {files:,} open files per process, and the hard limit (ulimit -Hn) is "
            f"{machine.open_files:,}: {advice}."
        )
    if machine.all_open_files < 2 * streams + files:
        return (
            f"{what} {2 * streams + files:,} open files in all, and the limit (fs.file-max) is "
            f"{machine.all_open_files:,}: {advice}."
        )
    if machine.local_ports < min(streams, streams_per_receiver):
        return (
            f"{what} {streams_per_receiver:,} local ports per address, and "
            f"net.ipv4.ip_local_port_range has {machine.local_ports:,}: {advice}."
        )
    if machine.available_kb < needed_kb:
        return (
            f"{what} about {needed_kb / 1024 / 1024:.1f} GiB of memory, and "
            f"{machine.available_kb / 1024 / 1024:.1f} GiB are available: end other programs, or "
            "use a smaller number with --connections."
        )
    return None
