"""Real agent servers behind the hub: PydanticAI with AG-UI and as a chat, and the AI SDK in Node.

A question goes in, parts come out; a stop reaches the server; a reload joins.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

import pytest
import pytest_asyncio

from hub_client import HubClient
from hub_client.errors import AnswerFailed
from tests.conftest import missing
from tests.e2e.cluster import Cluster, Process, create_cluster
from tests.interop.programs import JS, ROOT

pytestmark = pytest.mark.asyncio(loop_scope="module")

AGENTS: Final = (
    "weather",
    "frontend",
    "slow",
    "echo",
    "failing",
    "parts",
    "confirm",
    "refunds",
    "cart",
)
PNG: Final = "data:image/png;base64,aGk="
CONFIRM: Final = {
    "type": "function",
    "function": {"name": "confirm", "parameters": {"type": "object", "properties": {}}},
}
_TIMEOUT_SECONDS: Final = 60.0
_ENDS: Final = ("done", "failed", "stopped")
SERVERS: Final = {  # the kind, the program, and the path of an agent
    "agui": ("ag_ui", "python", "/agents/{}/"),
    "chat": ("ai_sdk", "python", "/chats/{}"),
    "node": ("ai_sdk", "node", "/api/{}"),
}
each_server = pytest.mark.parametrize("server", sorted(SERVERS))


class Lines:
    """The lines that a program prints."""

    def __init__(self, output: asyncio.StreamReader) -> None:
        self._output = output

    async def next(self) -> str:
        """Wait for the next line."""
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            return (await self._output.readline()).decode().strip()


class Agents:
    """A hub in front of the servers. printed: what each program prints, by its name."""

    worker: Process

    def __init__(self, cluster: Cluster, printed: dict[str, Lines]) -> None:
        self.cluster = cluster
        self.url = cluster.url
        self.session = cluster.session
        self.printed = printed

    async def replace_processes(self) -> None:
        """Kill the worker and the node, and start others; the node keeps its port."""
        for process in (self.worker, self.cluster.node):
            process.kill()
            await process.wait()
        self.cluster.node = await self.cluster.start_node(port=self.cluster.port)
        self.worker = await self.cluster.start_ready_worker()

    async def wait_for(self, url: str, status: str) -> Any:
        """Wait until an answer of dora has a status; return its snapshot."""
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            while True:
                async with self.session.get(f"{url}?user=dora") as response:
                    snapshot = await response.json()
                if snapshot["status"] == status:
                    return snapshot
                assert snapshot["status"] not in _ENDS, snapshot
                await asyncio.sleep(0.05)

    async def ask(self, upstream: str, prompt: Any, **options: Any) -> Any:
        """Return the parts of an answer, its reason and its usage."""
        async with HubClient(self.url, user=f"user-of-{upstream}") as hub:
            answer = await hub.ask(prompt, upstream=upstream, **options)
            await answer.text()
            return answer.parts, answer.finish_reason, answer.usage


@asynccontextmanager
async def _program(*command: str) -> AsyncIterator[tuple[int, Lines]]:
    """Run a server; yield its port and its lines."""
    process = await asyncio.create_subprocess_exec(
        *command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, cwd=ROOT
    )
    assert process.stdout is not None
    lines = Lines(process.stdout)
    try:
        yield int(await lines.next()), lines
    finally:
        process.kill()
        await process.wait()


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def agents() -> AsyncIterator[Agents]:
    """Run a node, a worker and the servers."""
    node = shutil.which("node")
    if node is None or not (JS / "node_modules").is_dir():
        missing("Node.js, with the packages that scripts/test installs for tests/interop,")
    commands = {
        "python": (sys.executable, "-m", "tests.interop.python.pydantic_ai_agents"),
        "node": (node, str(JS / "ui_message_server.mjs")),
    }
    async with AsyncExitStack() as stack:
        cluster = await stack.enter_async_context(create_cluster())
        ports, printed = {}, {}
        for name, command in commands.items():
            ports[name], printed[name] = await stack.enter_async_context(_program(*command))
        for server, (kind, program, path) in SERVERS.items():
            for agent in AGENTS:
                variable = f"UPSTREAMS__{server}_{agent}"
                url = f"http://127.0.0.1:{ports[program]}{path.format(agent)}"
                cluster.set(f"{variable}__KIND", kind)
                cluster.set(f"{variable}__BASE_URL", url)
                cluster.set(f"{variable}__RETRIES", 0)
                cluster.set(f"{variable}__MAX_RUNNING", 1)
        await cluster.start()
        running = Agents(cluster, printed)
        running.worker = await cluster.start_ready_worker()
        yield running


@each_server
async def test_steps_and_tools(agents: Agents, server: str) -> None:
    """Reasoning, text, the call of a tool that the agent runs, and its result arrive in order."""
    parts, reason, usage = await agents.ask(f"{server}_weather", "What is the weather?")
    assert reason == "stop"
    shown = [part for part in parts if part["type"] not in ("step", "data", "source")]
    assert [part["type"] for part in shown] == ["reasoning", "text", "tool_call", "text"]
    assert [part["text"] for part in shown if "text" in part] == [
        "Which weather?",
        "Let me look. ",
        "It is clear in Köln.",
    ]
    call = shown[2]
    assert (call["name"], call["run_by"], call["is_error"]) == ("weather", "producer", False)
    assert json.loads(call["arguments"]) == {"city": "Köln"}
    assert call["result"] == {"city": "Köln", "sky": "clear"}
    if server != "chat":  # PydanticAI reports no usage in a UI message stream
        assert usage["prompt_tokens"] > 0
        assert usage["completion_tokens"] > 0
    if server == "node":
        sources = [part for part in parts if part["type"] == "source"]
        assert [(each["url"], each["title"]) for each in sources] == [
            ("https://sky.example", "Sky")
        ]


@pytest.mark.parametrize("upstream", ["agui_frontend", "node_confirm"])
async def test_tool_of_the_client(agents: Agents, upstream: str) -> None:
    """The client runs the tool, and the next request brings the agent its result."""
    ask: dict[str, Any] = {"params": {"tools": [CONFIRM]}, "chat": "c1"}
    parts, reason, _ = await agents.ask(upstream, "Do it", **ask)
    (call,) = [part for part in parts if part["type"] == "tool_call"]
    assert (call["name"], call["run_by"], reason) == ("confirm", "client", "tool_calls")
    function = {"name": call["name"], "arguments": call["arguments"]}
    messages = [
        {"role": "user", "content": "Do it"},
        {
            "role": "assistant",
            "tool_calls": [{"id": call["id"], "type": "function", "function": function}],
        },
        {"role": "tool", "tool_call_id": call["id"], "content": "yes"},
    ]
    parts, reason, _ = await agents.ask(upstream, messages, **ask)
    assert reason == "stop"
    text = "".join(part["text"] for part in parts if part["type"] == "text")
    assert text.replace('"', "") == "The client says yes."


@each_server
async def test_conversation(agents: Agents, server: str) -> None:
    """The agent gets the whole conversation with its pictures, and the id of the chat."""
    picture = {"type": "image_url", "image_url": {"url": PNG}}
    messages = [
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "two"},
        {"role": "user", "content": [{"type": "text", "text": "three"}, picture]},
    ]
    parts, _, _ = await agents.ask(f"{server}_echo", messages, chat="chat-7")
    sent = json.loads(next(part["text"] for part in parts if part["type"] == "text"))
    if server == "node":
        roles = [["user", ["one"]], ["assistant", ["two"]], ["user", ["three", "image/png"]]]
        assert sent == ["chat-7", *roles]
    else:
        assert sent == ["one", ["three", "image/png"]]


async def test_state_of_an_ag_ui_client(agents: Agents) -> None:
    """The agent of PydanticAI has the client's state in its StateDeps, and the client's tools."""
    run = {
        "threadId": "cart",
        "runId": "r1",
        "messages": [{"id": "m1", "role": "user", "content": "What do I buy?"}],
        "state": {"items": ["tea", "milk"]},
        "context": [{"description": "page", "value": "cart"}],
        "tools": [{"name": "pay", "description": "", "parameters": {"type": "object"}}],
        "forwardedProps": {"upstream": "agui_cart", "region": "eu"},
    }
    async with agents.session.post(f"{agents.url}/v1/agui?user=erin", json=run) as response:
        lines = (await response.text()).splitlines()
    events = [json.loads(line[6:]) for line in lines if line.startswith("data: ")]
    text = "".join(e["delta"] for e in events if e["type"] == "TEXT_MESSAGE_CONTENT")
    assert events[-1]["type"] == "RUN_FINISHED"
    assert json.loads(text) == ["tea, milk", ["pay"]]


@each_server
async def test_failure(agents: Agents, server: str) -> None:
    """An error in the middle is a failure with the words of the server, and the text stays."""
    async with HubClient(agents.url, user="bob") as hub:
        answer = await hub.ask("hi", upstream=f"{server}_failing")
        with pytest.raises(AnswerFailed, match="memory") as caught:
            await answer.text()
    assert caught.value.code == "upstream_error"
    assert answer.current_text == "Half of "


async def test_parts_of_an_application(agents: Agents) -> None:
    """Status, data, files and sources are there, although the route sends no `finish`."""
    parts, reason, _ = await agents.ask("node_parts", "hi")
    assert reason == "stop"
    assert parts == [
        {"type": "status", "text": "Searching"},
        {"type": "data", "name": "order", "value": {"number": 981}, "id": "o"},
        {"type": "file", "data": "aGk=", "media_type": "image/png"},
        {"type": "source", "url": "https://shop.example/tea", "title": "Tea", "id": "s"},
        {"type": "text", "text": "Tea."},
    ]


@each_server
async def test_reload_and_stop(agents: Agents, server: str) -> None:
    """A second reader joins the running answer, and a stop closes the connection to the agent."""
    async with HubClient(agents.url, user="carol") as hub:
        answer = await hub.ask("count", upstream=f"{server}_slow")
        async for _ in answer:
            if "3 " in answer.current_text:
                break
        async with hub.join(answer.id) as joined:
            async for _ in joined:
                if "6 " in joined.current_text:
                    break
            assert joined.current_text.startswith("0 1 2 3 4 5 6 ")
            await joined.stop()
            text = await joined.text()
        assert await answer.text() == text
        assert (answer.status, joined.status) == ("stopped", "stopped")
    assert await agents.printed[SERVERS[server][1]].next() == "stopped"


async def decide(agents: Agents, url: str, snapshot: Any, decision: str) -> None:
    """Give the decision for which an answer of dora waits."""
    (key,) = [part["input"] for part in snapshot["parts"] if part["type"] == "input"]
    given = {"value": decision}
    async with agents.session.post(f"{url}/inputs/{key}?user=dora", json=given) as response:
        assert response.status == 200, await response.text()


@each_server
async def test_approval(agents: Agents, server: str) -> None:
    """Answers that wait for a decision leave the one place to others, and go on with it."""
    upstream = f"{server}_refunds"
    async with HubClient(agents.url, user="dora") as hub:
        answers = {}
        for decision in ("approve", "deny"):
            answers[decision] = await hub.ask("refund it", upstream=upstream)
        for answer in answers.values():
            await agents.wait_for(f"{agents.url}/generations/{answer.id}", "suspended")
        for decision, answer in answers.items():
            url = f"{agents.url}/generations/{answer.id}"
            waiting = await agents.wait_for(url, "suspended")
            call, request = [p for p in waiting["parts"] if p["type"] in ("tool_call", "input")]
            assert (request["tool_call"], request["state"]) == (call["id"], "waiting")
            assert request["options"] == ["approve", "deny"]
            assert 80_000 < request["expires_at"] - time.time() < 86_401
            await decide(agents, url, waiting, decision)
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                await answer.text()
            ended = await agents.wait_for(url, "done")
            shown = [p for p in ended["parts"] if p["type"] in ("tool_call", "input", "text")]
            assert [part["type"] for part in shown] == ["tool_call", "input", "text"]
            result = json.dumps(shown[0]["result"]) + shown[2]["text"]
            assert (answer.status, answer.finish_reason) == ("done", "stop")
            assert (shown[1]["value"], ended["attempt"]) == (decision, 2)
            assert ("refunded 40 euros" in result) is (decision == "approve")


async def test_stop_while_a_decision_is_open(agents: Agents) -> None:
    """A stop ends an answer that is suspended, and its input is cancelled."""
    async with HubClient(agents.url, user="dora") as hub:
        answer = await hub.ask("refund it", upstream="agui_refunds")
        url = f"{agents.url}/generations/{answer.id}"
        await agents.wait_for(url, "suspended")
        await answer.stop()
        ended = await agents.wait_for(url, "stopped")
    assert [part["state"] for part in ended["parts"] if part["type"] == "input"] == ["cancelled"]


@pytest.mark.parametrize("server", ["agui", "node"])
async def test_processes_lost_while_a_decision_is_open(agents: Agents, server: str) -> None:
    """Worker and node are killed; others take the decision, and the agent is not asked again."""
    async with HubClient(agents.url, user="dora") as hub:
        answer = await hub.ask("refund it", upstream=f"{server}_refunds")
        url = f"{agents.url}/generations/{answer.id}"
        await agents.wait_for(url, "suspended")
        await agents.replace_processes()
        waiting = await agents.wait_for(url, "suspended")
        await decide(agents, url, waiting, "approve")
        ended = await agents.wait_for(url, "done")
    shown = [part for part in ended["parts"] if part["type"] in ("tool_call", "input", "text")]
    assert [part["type"] for part in shown] == ["tool_call", "input", "text"]
    assert shown[1]["value"] == "approve"
    assert ended["attempt"] == 2
