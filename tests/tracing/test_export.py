from __future__ import annotations

import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from opentelemetry.trace import format_trace_id

from hub.tracing.export import exporting
from tests.tracing.collector import collecting, values

IMPORTS = """
import sys
import hub.wiring.node, hub.wiring.worker, hub.cli.app
assert not [name for name in sys.modules if name.startswith("hub.tracing")]
"""


async def test_remaining_spans_are_sent_at_the_end() -> None:
    """The resource has the name, the instance and the version of the service."""
    async with collecting() as collector:
        async with exporting(
            collector.url + "/", sample_ratio=1.0, service="s", instance="n1", version="7"
        ) as tracer:
            tracer.start_span("one").end()
        assert collector.find("s", "one").name == "one"
        (resource,) = collector.resources
    resource_attributes = values(resource)
    assert resource_attributes["service.instance.id"] == "n1"
    assert resource_attributes["service.version"] == "7"


async def test_ratio_counts_for_traces_that_begin_here() -> None:
    """The trace id decides, so that every process decides the same."""
    async with (
        collecting() as collector,
        exporting(
            collector.url, sample_ratio=0.25, service="s", instance="n1", version="7"
        ) as tracer,
    ):
        started = [tracer.start_span("x") for _ in range(400)]
        for span in started:
            low = format_trace_id(span.get_span_context().trace_id)[16:]
            assert span.is_recording() is (int(low, 16) < 2**64 // 4)
        assert any(span.is_recording() for span in started)


async def test_collector_that_hangs_delays_the_end_by_the_timeout_only() -> None:
    """The process ends although the collector accepts the connection and never answers."""
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
            started_at = time.monotonic()
        assert time.monotonic() - started_at < 5


@pytest.mark.slow
def test_tracing_that_is_off_imports_nothing() -> None:
    """A node and a worker without tracing do not load hub.tracing."""
    done = subprocess.run(
        [sys.executable, "-c", IMPORTS], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
def test_extra_that_is_not_installed(tmp_path: Path) -> None:
    """A node and a worker end with one sentence and exit code 2."""
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
        _, stderr = process.communicate(timeout=120)
        assert process.returncode == 2
        assert stderr.strip() == (
            "hub: tracing.endpoint needs OpenTelemetry, which cannot be used here "
            "(No module named 'opentelemetry'): "
            "install ssehub[otel] (docs/guides/tracing.md)"
        )
