"""What every benchmark needs of the machine: programs, processors, the CPU time of a process."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
BUILT = ROOT / ".cache" / "bench"
PROFILES: list[str] = []  # what is to be profiled: nothing, or everything
SERVER_CORE, LOAD_CORE = "0", "1"
_TICKS = os.sysconf("SC_CLK_TCK")


def built(name: str) -> str:
    """The load generator or the floor, compiled from bench/c."""
    source, binary = ROOT / "bench" / "c" / f"{name}.c", BUILT / name
    if not binary.exists() or binary.stat().st_mtime < source.stat().st_mtime:
        BUILT.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cc", "-O2", "-w", "-o", str(binary), str(source)], check=True)
    return str(binary)


def pinned(core: str, command: Sequence[str]) -> list[str]:
    """The command on one processor, where the machine can do that."""
    return ["taskset", "-c", core, *command] if shutil.which("taskset") else list(command)


@contextmanager
def running(
    core: str, command: Sequence[str], env: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A process for the length of the block."""
    process = subprocess.Popen(
        pinned(core, command),
        env={**os.environ, **(env or {})},
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def cpu_seconds(pid: int) -> float:
    """What a process has used, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def resident_kb(pid: int) -> int:
    """What a process holds in memory, in kB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])


def wait_for(url: str, seconds: float = 20.0) -> None:
    """Returns when something answers there."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            urllib.request.urlopen(url, timeout=1).close()
            return
        except urllib.error.HTTPError:
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def load(*words: str) -> dict[str, Any]:
    """Runs a load generator on the load's processor; gives the JSON line at its end."""
    return finished(start_load(*words))


def start_load(name: str, *words: str) -> subprocess.Popen[str]:
    """The same, under way."""
    is_c = (ROOT / "bench" / "c" / f"{name}.c").exists()
    command = [built(name)] if is_c else [sys.executable, "-m", f"bench.{name}"]
    return subprocess.Popen(
        pinned(LOAD_CORE, [*command, *words]),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def finished(process: subprocess.Popen[str]) -> dict[str, Any]:
    """What a load generator has to say at its end."""
    output, _ = process.communicate()
    found: dict[str, Any] = json.loads(output.splitlines()[-1])
    return found


@contextmanager
def profiled(pid: int, name: str, seconds: int) -> Iterator[None]:
    """With --profile, a flame graph of a Python process while the block lasts (py-spy)."""
    if not PROFILES or "python" not in Path(f"/proc/{pid}/comm").read_text():
        yield
        return
    graph = BUILT / f"flame-{name.replace(' ', '-').replace(',', '')}.svg"
    options = ["--format", "flamegraph", "--rate", "200", "--native", "--duration", str(seconds)]
    command = ["py-spy", "record", *options, "--output", str(graph), "--pid", str(pid)]
    recorder = subprocess.Popen(
        [str(Path(sys.executable).with_name(command[0])), *command[1:]],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        recorder.wait(seconds + 30)
        print(f"flame graph: {graph}")
