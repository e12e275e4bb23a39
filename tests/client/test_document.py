"""Run every code block of docs/clients-python.md, in order, with a real `hub dev`."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hub.client import HubClient, SyncHubClient
from tests.docs.snippets import run_python
from tests.e2e.conftest import Dev

DOCUMENT = Path(__file__).parents[2] / "docs" / "clients-python.md"


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
    async with asyncio.timeout(30), HubClient(dev.url, user="alice") as hub:
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
