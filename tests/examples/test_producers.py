"""The examples of processes that produce answers outside of the hub's worker."""

from __future__ import annotations

import asyncio
import importlib.util
import shutil
import subprocess
import time
from types import ModuleType
from typing import Any

import httpx
import pytest

from tests.conftest import missing
from tests.examples.sites import EXAMPLES, Sites


@pytest.fixture
def backend(running: Sites, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module of the FastAPI example."""
    monkeypatch.setenv("HUB_URL_OF_BACKENDS", running.hub.internal_url)
    spec = importlib.util.spec_from_file_location("backend", EXAMPLES / "fastapi_answers.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def snapshot(running: Sites, generation: str, user: str) -> Any:
    return running.hub.call("GET", f"/generations/{generation}?user={user}")


async def ask(backend: ModuleType, user: str) -> str:
    """Ask the backend, and return the id of the answer once it has posted all of it."""
    transport = httpx.ASGITransport(app=backend.app)
    async with (
        backend.app.router.lifespan_context(backend.app),
        httpx.AsyncClient(transport=transport, base_url="http://shop") as client,
    ):
        response = await client.post(f"/ask?user={user}", json={"prompt": "Hi!"})
    assert response.status_code == 202
    return str(response.json()["generation"])


async def test_fastapi(running: Sites, backend: ModuleType) -> None:
    """The user gets the status and the whole text, and the answer is done."""
    answer = snapshot(running, await ask(backend, "fay"), "fay")
    assert (answer["status"], answer["model"]) == ("done", "own")
    assert [part["type"] for part in answer["parts"]] == ["status", "text"]
    assert answer["text"] == "You asked: Hi! This text comes from the backend itself. "


async def test_fastapi_stopped(
    running: Sites, backend: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stop ends the answer, and the backend asks its LLM no further."""
    reached: list[int] = []

    async def ask_llm(prompt: str) -> Any:
        for n in range(100):
            reached.append(n)
            if n == 1:
                (generation,) = active(running, "fran")
                path = f"/generations/{generation}?user=fran"
                await asyncio.to_thread(running.hub.call, "DELETE", path)
            yield f"{n} "
            await asyncio.sleep(0.01)

    monkeypatch.setattr(backend, "ask_llm", ask_llm)
    answer = snapshot(running, await ask(backend, "fran"), "fran")
    assert (answer["status"], answer["by"]) == ("stopped", "fran")
    assert len(reached) < 100


def active(running: Sites, user: str) -> list[str]:
    """Return the ids of the user's answers that run."""
    generations = running.hub.call("GET", f"/generations?user={user}")["generations"]
    return [each["generation"] for each in generations if each["status"] == "running"]


def test_node(running: Sites) -> None:
    """The tool call with its result, the source and the text arrive in order."""
    with start_node(running, "nils") as program:
        output, errors = program.communicate(timeout=60)
    assert program.returncode == 0, errors
    assert output.startswith("wrote ")
    answer = snapshot(running, output.split()[-1], "nils")
    assert answer["status"] == "done"
    assert [part["type"] for part in answer["parts"]] == ["status", "tool_call", "source", "text"]
    assert answer["parts"][1]["result"] == {"number": 981, "state": "returned"}
    assert answer["text"] == "Order 981 is back. Your money follows [1]."


def test_node_stopped(running: Sites) -> None:
    """A stop ends the answer and the work of the agent."""
    with start_node(running, "nora") as program:
        deadline = time.monotonic() + 60
        while not (running_ids := active(running, "nora")) and time.monotonic() < deadline:
            time.sleep(0.01)
        running.hub.call("DELETE", f"/generations/{running_ids[0]}?user=nora")
        output, errors = program.communicate(timeout=60)
    assert (program.returncode, output) == (0, "stopped by nora\n"), errors
    assert snapshot(running, running_ids[0], "nora")["status"] == "stopped"


def start_node(running: Sites, user: str) -> subprocess.Popen[str]:
    node = shutil.which("node")
    if node is None:
        missing("node")
    return subprocess.Popen(
        [node, EXAMPLES / "node-producer" / "producer.mjs", user],
        env={"HUB_URL_OF_BACKENDS": running.hub.internal_url},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
