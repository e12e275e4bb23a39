"""Start processes on a chosen processor, and read their CPU time and memory (Linux)."""

from __future__ import annotations

import json
import os
import select
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
OUTPUT = ROOT / ".cache" / "bench"
PROFILES: list[str] = []  # not empty: record flame graphs
SERVER_CORE, LOAD_CORE = "0", "1"
_TICKS = os.sysconf("SC_CLK_TCK")


def compile_program(name: str) -> str:
    """Compile bench/c/NAME.c if it has changed; return the path of the program."""
    source, binary = ROOT / "bench" / "c" / f"{name}.c", OUTPUT / name
    if not binary.exists() or binary.stat().st_mtime < source.stat().st_mtime:
        OUTPUT.mkdir(parents=True, exist_ok=True)
        # Another process may compile the same program, or run it already.
        unfinished = binary.with_suffix(f".{os.getpid()}")
        subprocess.run(["cc", "-O2", "-w", "-o", str(unfinished), str(source)], check=True)
        unfinished.replace(binary)
    return str(binary)


def pin_to_core(core: str | None, command: Sequence[str]) -> list[str]:
    """Return the command pinned to one processor; unchanged for None and without taskset."""
    if core is None or not shutil.which("taskset"):
        return list(command)
    return ["taskset", "-c", core, *command]


@contextmanager
def run_process(
    core: str | None,
    command: Sequence[str],
    env: dict[str, str] | None = None,
    log: Path | None = None,
    stop_seconds: float = 10.0,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process during the block, on one processor or (None) on all of them.

    log: the file for its output; None drops the output. stop_seconds: how long it may take to end.
    """
    with (log or Path(os.devnull)).open("wb") as output:
        process = subprocess.Popen(
            pin_to_core(core, command),
            env={**os.environ, **(env or {})},
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(stop_seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process in seconds, user plus system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def resident_kb(pid: int) -> int:
    """Return the resident memory of a process in kB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])


def wait_for_http(
    url: str, seconds: float = 60.0, process: subprocess.Popen[bytes] | None = None
) -> None:
    """Wait until the URL answers with any status. Raise OSError if it does not.

    process: the server. Raise RuntimeError if it exits.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            urllib.request.urlopen(url, timeout=1).close()
            return
        except urllib.error.HTTPError:
            return
        except OSError:
            if process is not None and process.poll() is not None:
                raise RuntimeError(
                    f"{process.args!r} has exited with {process.returncode}"
                ) from None
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def run_load(name: str, *args: str) -> dict[str, Any]:
    """Run a load generator on the load processor; return the JSON object that it prints last."""
    return read_result(start_load(name, *args))


def start_load(name: str, *args: str) -> subprocess.Popen[str]:
    """Start a load generator on the load processor."""
    is_c = (ROOT / "bench" / "c" / f"{name}.c").exists()
    command = [compile_program(name)] if is_c else [sys.executable, "-m", f"bench.{name}"]
    return subprocess.Popen(
        pin_to_core(LOAD_CORE, [*command, *args]),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def wait_for_result(process: subprocess.Popen[str], seconds: float = 30.0) -> None:
    """Wait until a load generator has printed its result, or for so long."""
    assert process.stdout is not None
    select.select([process.stdout], [], [], seconds)


def read_result(process: subprocess.Popen[str]) -> dict[str, Any]:
    """Wait for the end of a load generator; return the JSON object that it printed last."""
    output, _ = process.communicate()
    result: dict[str, Any] = json.loads(output.splitlines()[-1])
    return result


@contextmanager
def profile(pid: int, name: str, seconds: int) -> Iterator[None]:
    """With --profile, record a flame graph of a Python process during the block (py-spy)."""
    if not PROFILES or "python" not in Path(f"/proc/{pid}/comm").read_text():
        yield
        return
    graph = OUTPUT / f"flame-{name.replace(' ', '-').replace(',', '')}.svg"
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
