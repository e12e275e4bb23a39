"""Run every code block of docs/clients/python.md, in order, with a real `hub dev`."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hub_client import HubClient, SyncHubClient
from tests.docs.snippets import Substitutions, run_python, runnable_blocks
from tests.e2e.conftest import Dev

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "clients" / "python.md"
README = ROOT / "clients" / "python" / "README.md"


class StopReading(Exception):
    """Ends an iteration that has no end."""


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    """Run node, worker, Valkey and the simulated LLM."""
    running = Dev(tmp_path_factory.mktemp("dev"), "--tokens-per-second", "400").wait_until_ready()
    yield running
    running.stop()


async def test_every_block_runs(dev: Dev, capsys: pytest.CaptureFixture[str]) -> None:
    """The code blocks do what the text says."""
    text = DOCUMENT.read_text()
    text = text.replace("http://127.0.0.1:8080", dev.url)
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    blocks = [block.replace("http://127.0.0.1:8081", dev.internal_url) for block in blocks]
    shown: list[tuple[str, Any]] = []

    def show(name: str, data: Any) -> None:
        shown.append((name, data))
        raise StopReading

    dev.publish("alice", {"n": 1})
    names: dict[str, Any] = {"show": show, "log_in": None, "fetch_state": None}
    async with asyncio.timeout(60), HubClient(dev.url, user="alice") as hub:
        for block in blocks:
            names["hub"] = hub
            try:
                await run_python(block, names)
            except StopReading:
                pass
    assert shown == [("notification", {"n": 1})] * 2
    assert (names["answer"].status, names["joined"].status) == ("stopped", "stopped")
    assert names["answer"].current_text.startswith("1")
    assert (len(names["results"]), names["failed"]) == (2000, [])
    output = capsys.readouterr().out
    assert "Rayleigh" in output
    assert "stop {'" in output
    assert "not published" not in output
    assert isinstance(names["hub_sync"], SyncHubClient)
    names["hub_sync"].close()
    with SyncHubClient(dev.internal_url) as blocking:
        stored = await asyncio.to_thread(blocking.stored_events, "alice", limit=1000)
    orders = [event.data["order"] for event in stored.events if event.event == "order.shipped"]
    assert orders == [981, 982]


async def test_readme_runs(dev: Dev, capsys: pytest.CaptureFixture[str]) -> None:
    """The code of the package's README prints an answer and publishes an event."""
    # A user of its own: the document publishes to alice, and blocks her in the end.
    replace = Substitutions({8080: dev.port, 8081: dev.internal_port}, {"alice": "rhea"})
    for block in runnable_blocks(README, "python"):
        await run_python(replace.apply(block.code), {})
    assert "Rayleigh" in capsys.readouterr().out
    async with HubClient(dev.url, internal_url=dev.internal_url) as hub:
        stored = await hub.stored_events("rhea")
    assert stored.events[-1].data == {"title": "Your export is ready"}
