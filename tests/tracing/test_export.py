from __future__ import annotations

import socket
import subprocess
import sys
import time
from pathlib import Path

from opentelemetry.trace import format_trace_id

from hub.tracing.export import exporting
from tests.tracing.collector import collecting, values

IMPORTS = """
import sys
import hub.wiring.node, hub.wiring.worker, hub.cli.app
assert not [name for name in sys.modules if name.startswith("hub.tracing")]
"""


async def test_collector_gets_what_has_ended_at_the_latest_at_the_end() -> None:
    """With the service's name, instance and version."""
    async with collecting() as collector:
        async with exporting(
            collector.url + "/", sample_ratio=1.0, service="s", instance="n1", version="7"
        ) as tracer:
            tracer.start_span("one").end()
        assert collector.find("s", "one").name == "one"
        (resource,) = collector.resources
    said = values(resource)
    assert said["service.instance.id"] == "n1"
    assert said["service.version"] == "7"


async def test_ratio_is_of_the_traces_that_begin_here() -> None:
    """Decided by the trace's id, so that every process decides alike."""
    async with (
        collecting() as collector,
        exporting(
            collector.url, sample_ratio=0.25, service="s", instance="n1", version="7"
        ) as tracer,
    ):
        begun = [tracer.start_span("x") for _ in range(400)]
        for span in begun:
            low = format_trace_id(span.get_span_context().trace_id)[16:]
            assert span.is_recording() is (int(low, 16) < 2**64 // 4)
        assert any(span.is_recording() for span in begun)


async def test_collector_that_hangs_holds_the_end_up_for_seconds_only() -> None:
    """It takes the connection and never answers: the process ends all the same."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        async with exporting(
            url,
            sample_ratio=1.0,
            service="s",
            instance="n1",
            version="7",
            shutdown_timeout_seconds=0.2,
        ) as tracer:
            tracer.start_span("one").end()
            begun = time.monotonic()
        assert time.monotonic() - begun < 5


def test_off_imports_nothing() -> None:
    """A node and a worker without tracing do not load their part of it (redis-py loads its own)."""
    done = subprocess.run(
        [sys.executable, "-c", IMPORTS], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_extra_that_is_not_installed(tmp_path: Path) -> None:
    """One sentence and exit code 2, of a node and of a worker; nothing missed it until there."""
    text = "raise ModuleNotFoundError(\"No module named 'opentelemetry'\")\n"
    (tmp_path / "opentelemetry.py").write_text(text)
    env = {
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": str(tmp_path),
        "HUB_AUTH__DISABLED": "true",
        "HUB_REDIS__URL": "unix:///nowhere",
        "HUB_TRACING__ENDPOINT": "http://127.0.0.1:1",
    }
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "hub", command],
            env=env, cwd=tmp_path, stderr=subprocess.PIPE, text=True,
        )
        for command in ("serve", "worker")
    ]  # fmt: skip
    for process in processes:
        _, said = process.communicate(timeout=120)
        assert process.returncode == 2
        assert said.strip() == (
            "hub: tracing.endpoint needs OpenTelemetry, which cannot be used here "
            "(No module named 'opentelemetry'): "
            "install the hub with its extra otel (docs/tracing.md)"
        )
