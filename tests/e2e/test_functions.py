"""Your own code as the answer: the guide's function in `hub dev`, and `hub worker --app`."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.docs.snippets import DOCS, ROOT, find_blocks
from tests.e2e.conftest import Dev
from tests.e2e.test_dev import follow, run, wait_for
from tests.forked_hub import hub_program

GUIDE = DOCS / "guides" / "functions.md"
README = ROOT / "README.md"
STUBBORN = """
import asyncio, os, time

@app.producer()
async def stubborn(run: Run):
    yield str(os.getpid())
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            pass

@app.producer()
def blocks(run):
    yield str(os.getpid())
    time.sleep(60)

@app.producer(retries=1)
async def steered(run: Run):
    yield f"{run.attempt}: "
    while True:
        for message in run.steering():
            yield message.text
            if message.text == "die;" and run.attempt == 1:
                await asyncio.sleep(0.1)
                os._exit(1)
            if message.text == "end":
                return
        await asyncio.sleep(0.01)
"""


def read_blocks(language: str) -> list[str]:
    return [block.code for block in find_blocks(GUIDE) if block.language == language]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the function of the guide, and functions that do not stop."""
    folder = tmp_path_factory.mktemp("functions")
    (folder / "answers.py").write_text(read_blocks("python")[0] + STUBBORN)
    return folder


@pytest.fixture(scope="module")
def dev(folder: Path) -> Iterator[Dev]:
    """`hub dev --app answers:app --reload` in that folder."""
    dev = Dev(folder, "--app", "answers:app", "--reload", cwd=folder)
    try:
        yield dev.wait_until_ready()
    finally:
        dev.stop()


async def test_function_of_the_guide_answers(dev: Dev) -> None:
    """The first function is the default upstream; `hub ask` and a snapshot show its parts."""
    assert "support, stubborn, blocks, steered of answers:app, your own code" in dev.output
    printed = run(dev, "ask", "alice", "How do I get a refund?")
    assert printed.returncode == 0, printed.stderr
    assert "Refunds take five days." in printed.stdout
    started = dev.call("POST", "/generations?user=alice", {"prompt": "refund"})
    await follow(dev, "alice", lambda e: e.name == "generation.done", started["cursor"])
    snapshot = dev.call("GET", f"/generations/{started['generation']}?user=alice")
    kinds = [part["type"] for part in snapshot["parts"]]
    assert kinds == ["status", "source", "text"]


def test_readme_has_the_same_function() -> None:
    """What a newcomer copies from the README is the function that these tests run."""
    blocks = {block.code for block in find_blocks(README) if block.code.startswith("# answers.py")}
    assert blocks == {read_blocks("python")[0]}


@pytest.mark.parametrize("function", ["stubborn", "blocks"])
async def test_stop_of_a_function_that_does_not_stop(dev: Dev, function: str) -> None:
    """The answer ends as stopped while its function still runs."""
    body = {"prompt": "x", "upstream": function}
    started = dev.call("POST", "/generations?user=stan", body)
    path = f"/generations/{started['generation']}?user=stan"
    events = await follow(
        dev,
        "stan",
        lambda e: (
            (e.name == "generation.delta" and not dev.call("DELETE", path))
            or e.name in {"generation.stopped", "generation.done", "generation.failed"}
        ),
        started["cursor"],
    )
    assert events[-1].name == "generation.stopped"


async def test_messages_for_a_running_function(dev: Dev) -> None:
    """They reach the function at once, and its next attempt gets all of them again."""
    started = dev.call("POST", "/generations?user=stella", {"prompt": "x", "upstream": "steered"})
    path = f"/generations/{started['generation']}/steer?user=stella"
    texts = iter(["one;", "die;", "end"])

    seen = ""
    sent = 0

    def on_event(event: Any) -> bool:
        nonlocal seen, sent
        data = json.loads(event.data)
        if event.name == "generation.restarted":
            seen = ""
        seen += data.get("text", "")
        for n, needed in enumerate(("1: ", "1: one;", "2: one;die;")):
            if sent == n and seen == needed:
                sent += 1
                assert dev.call("POST", path, {"message": next(texts)}) == {"n": n}
        return event.name in {"generation.done", "generation.failed"}

    events = await follow(dev, "stella", on_event, started["cursor"])
    assert events[-1].name == "generation.done"
    assert seen == "2: one;die;end"


async def test_changed_file_is_loaded_again(dev: Dev, folder: Path) -> None:
    """With --reload, the next answer is that of the changed file."""
    file = folder / "answers.py"
    file.write_text(file.read_text().replace('"five "', '"six "'))
    wait_for(lambda: "six days" in run(dev, "ask", "alice", "refund").stdout)


def test_worker_requires_the_declaration(folder: Path) -> None:
    """`hub worker --app` names the lines to add; with the guide's lines it is content."""
    env = {**os.environ, "HUB_REDIS__URL": "redis://127.0.0.1:1", "HUB_AUTH__DISABLED": "true"}
    command = [hub_program(), "worker", "--app", "answers:app"]
    refused = subprocess.run(
        command, cwd=folder, env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert refused.returncode == 2
    lines = '[upstreams.support]\nkind = "function"\ntarget = "answers:app"\nmax_running = 20'
    assert lines in refused.stderr
    declared = folder / "hub.toml"
    others = "".join(
        f'[upstreams.{name}]\nkind = "function"\ntarget = "answers:app"\n'
        for name in ("stubborn", "blocks", "steered")
    )
    declared.write_text("\n".join(read_blocks("toml")) + others)
    accepted = subprocess.run(
        [*command, "--config", str(declared)],
        cwd=folder, env=env, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert accepted.returncode == 3, accepted.stderr  # only Redis is missing


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (("--app", "answers"), "the target of a function is module:name"),
        (("--app", "nothing_here:app"), "there is no module nothing_here"),
        (("--app", "os:sep"), "neither an App nor a function"),
        (("--reload",), "--reload needs --app"),
    ],
)
def test_app_that_cannot_be_loaded(args: tuple[str, ...], expected: str, tmp_path: Path) -> None:
    """`hub dev` says in one sentence what is wrong, with exit code 2."""
    done = subprocess.run(
        [hub_program(), "dev", *args],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert expected in done.stderr
    assert "Traceback" not in done.stderr
