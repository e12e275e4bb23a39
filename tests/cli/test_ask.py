"""`hub ask` in a chat and in a topic, and the token for it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import jwt
import pytest
from typer.testing import CliRunner, Result

from hub.cli.app import app
from hub.core.fair_queue import Job
from hub.core.parts import Text
from tests.http.kit import Hub, running_hub
from tests.http.test_topic_answers import read_until, worker

SECRET = "s" * 64
Run = Callable[[Coroutine[Any, Any, Any]], Any]


@pytest.fixture
def run() -> Iterator[Run]:
    """Runs coroutines in another thread: a command has the main one, for its signal handlers."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield lambda work: asyncio.run_coroutine_threadsafe(work, loop).result(60)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.fixture
def hub(run: Run) -> Iterator[Hub]:
    """A node without authentication."""
    running = running_hub()
    yield run(running.__aenter__())
    run(running.__aexit__(None, None, None))


def ask(hub: Hub, *options: str) -> Result:
    url = f"http://127.0.0.1:{hub.port}"
    return CliRunner().invoke(app, ["ask", "alice", "why?", "--url", url, *options])


def test_busy_chat(hub: Hub, run: Run) -> None:
    """`reject` says which answer has not ended; `interrupt` stops it and prints the new one."""
    body = {"prompt": "a", "chat": "c", "upstream": "open", "model": "m"}
    _, first = run(hub.call("POST", "/generations?user=alice", json=body))
    run(hub.backend.queue.withdraw(Job(first["generation"], "alice", "open")))  # no worker gets it
    rejected = ask(hub, "--chat", "c", "--on-busy", "reject")
    assert first["generation"] in str(rejected.exception)
    assert "needs chat" in str(ask(hub, "--on-busy", "reject").exception)
    answering = worker(hub, Text("Because."))
    run(answering.__aenter__())
    answered = ask(hub, "--chat", "c", "--on-busy", "interrupt")
    run(answering.__aexit__(None, None, None))
    assert answered.exit_code == 0
    assert "Because." in answered.stdout  # the log of the node may come in between
    assert hub.backend.generations.records[first["generation"]].stop_requested_by == "alice"


def test_topic(hub: Hub, run: Run) -> None:
    """The asker sees the answer in the terminal, the followers of the topic in their streams."""
    answering = worker(hub, Text("Because."))
    followed = hub.stream("/sse/connect?user=bob&topics=room:1")
    run(answering.__aenter__())
    bob = run(followed.__aenter__())
    answered = ask(hub, "--topic", "room:1")
    events = run(read_until(bob, "generation.done"))
    run(followed.__aexit__(None, None, None))
    run(answering.__aexit__(None, None, None))
    assert "Because." in answered.stdout
    assert events[0][1]["user"] == "alice"
    assert "a topic name has" in str(ask(hub, "--topic", "room 1").exception)


def test_token_for_it() -> None:
    """`hub token --ask-topics` writes the claim."""
    arguments = ["token", "alice", "--topics", "a", "--ask-topics", "room:*,b"]
    printed = CliRunner().invoke(app, arguments, env={"HUB_AUTH__HMAC_SECRET": SECRET})
    claims = jwt.decode(printed.stdout.strip(), SECRET, algorithms=["HS256"])
    assert (claims["topics"], claims["ask_topics"]) == (["a"], ["room:*", "b"])
