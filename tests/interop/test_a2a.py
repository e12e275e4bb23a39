"""Agents of `a2a-sdk` behind a real hub: 1.0 over JSON-RPC and HTTP+JSON, and 0.3."""

from __future__ import annotations

import asyncio
import itertools
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from hub.core.folded_parts import FoldedParts
from tests.e2e.cluster import ENDS, Cluster, GenerationEvents, Process, create_cluster
from tests.faults import FaultProxy
from tests.interop.programs import ROOT, script_command
from tests.topologies import free_ports

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(180)]
WORDS = "".join(f"w{n} " for n in range(8))
UPSTREAMS = {"streaming": "/streaming", "polling": "/polling", "rest": "/rest", "old": ""}
_numbers = itertools.count(1)


class Agents:
    """Programs with agents, behind proxies that break connections, and a hub in front of them."""

    def __init__(self, cluster: Cluster, worker: Process) -> None:
        self.cluster = cluster
        self.worker = worker
        self.proxies: dict[str, FaultProxy] = {}
        self._urls: dict[str, str] = {}

    def add(self, upstream: str, proxy: FaultProxy, url: str) -> None:
        """Add an agent. url: that of its program."""
        self.proxies[upstream], self._urls[upstream] = proxy, url

    async def counts(self, upstream: str) -> dict[str, Any]:
        """Return what the program of an agent has counted."""
        async with self.cluster.session.get(f"{self._urls[upstream]}/counts") as response:
            counts: dict[str, Any] = await response.json()
            return counts

    async def release(self, answer: Answer, count: int) -> None:
        """Let the gated task of an answer go on by so many steps."""
        url = f"{self._urls[answer.upstream]}/release"
        for _ in range(count):
            async with self.cluster.session.post(url, params={"prompt": answer.prompt}):
                pass

    async def replace_worker(self) -> None:
        """Kill the worker when another one is ready."""
        worker, self.worker = self.worker, await self.cluster.start_ready_worker()
        worker.send_signal(signal.SIGKILL)
        await worker.wait()

    async def wait(self, reached: Callable[[], Awaitable[bool]]) -> None:
        async with asyncio.timeout(60):
            while not await reached():
                await asyncio.sleep(0.02)

    async def ask(self, upstream: str, prompt: str, **fields: Any) -> Answer:
        """Start an answer for a new user. Questions `gated` and `late` get a gate of their own."""
        number = next(_numbers)
        user = f"user-{number}"
        prompt = f"{prompt} {number}" if prompt in ("gated", "late") else prompt
        body = {"prompt": prompt, "upstream": upstream, **fields}
        url = f"{self.cluster.url}/generations?user={user}"
        async with self.cluster.session.post(url, json=body) as response:
            assert response.status == 202, await response.text()
            return Answer(self.cluster, user, await response.json(), upstream, prompt)


class Answer:
    """An answer that a user has asked for."""

    def __init__(
        self,
        cluster: Cluster,
        user: str,
        started: dict[str, Any],
        upstream: str = "",
        prompt: str = "",
    ) -> None:
        self._cluster = cluster
        self.user, self.upstream, self.prompt = user, upstream, prompt
        self._cursor = started["cursor"]
        self.url = f"{cluster.url}/generations/{started['generation']}?user={user}"

    async def read(self) -> GenerationEvents:
        """Return all events up to the end."""
        events = await self._cluster.read_generation(self.user, self._cursor)
        names = [name for name, _ in events]
        assert sum(name in ENDS for name in names) == 1
        return events

    async def record(self) -> dict[str, Any]:
        async with self._cluster.session.get(self.url) as response:
            record: dict[str, Any] = await response.json()
            return record

    async def has_text(self, text: str) -> bool:
        return bool((await self.record())["text"].startswith(text))

    async def give(self, key: str, value: str) -> None:
        """Give the value of an input."""
        url = self.url.replace("?", f"/inputs/{key}?")
        async with self._cluster.session.post(url, json={"value": value}) as response:
            assert response.status == 200, await response.text()

    async def stop(self) -> None:
        async with self._cluster.session.delete(self.url) as response:
            assert response.status in (200, 202), response.status


def text_of(events: GenerationEvents) -> str:
    folded = FoldedParts()
    for event in events:
        folded.apply(*event)
    return folded.text


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def agents() -> AsyncIterator[Agents]:
    async with AsyncExitStack() as stack:
        cluster = await stack.enter_async_context(create_cluster())
        cluster.set("WORKER__LEASE_SECONDS", "2")
        cluster.set("GENERATIONS__FLUSH_SECONDS", 0.001)
        ports = dict(zip(("a2a_agent", "a2a_agent_03"), free_ports(2), strict=True))
        for program, port in ports.items():
            await _start_program(stack, cluster.session, program, port)
        proxies = {}
        for upstream, path in UPSTREAMS.items():
            port = ports["a2a_agent_03" if upstream == "old" else "a2a_agent"]
            proxy = await stack.enter_async_context(FaultProxy(("127.0.0.1", port)))
            proxies[upstream] = proxy, f"http://127.0.0.1:{port}"
            cluster.set(f"UPSTREAMS__{upstream}__KIND", "a2a")
            cluster.set(f"UPSTREAMS__{upstream}__BASE_URL", proxy.url + path)
            cluster.set(f"UPSTREAMS__{upstream}__MAX_RUNNING", 1)
        await cluster.start()
        agents = Agents(cluster, await cluster.start_ready_worker())
        for upstream, (proxy, url) in proxies.items():
            agents.add(upstream, proxy, url)
        yield agents


async def _start_program(
    stack: AsyncExitStack, session: aiohttp.ClientSession, program: str, port: int
) -> None:
    command = script_command(program, str(port))
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT)

    async def end() -> None:
        process.kill()
        await process.wait()

    stack.push_async_callback(end)
    async with asyncio.timeout(60):
        while True:
            try:
                async with session.get(f"http://127.0.0.1:{port}/counts"):
                    return
            except aiohttp.ClientError:
                await asyncio.sleep(0.05)


@pytest.mark.parametrize("upstream", UPSTREAMS)
async def test_an_answer(agents: Agents, upstream: str) -> None:
    """The pieces of an artifact are the text; the agent has one task."""
    before = await agents.counts(upstream)
    events = await (await agents.ask(upstream, "words")).read()
    assert events[-1][0] == "generation.done"
    assert text_of(events) == WORDS
    assert (await agents.counts(upstream))["executed"] == before["executed"] + 1


async def test_parts(agents: Agents) -> None:
    """Data and files of artifacts, and the status, are parts of the answer."""
    answer = await agents.ask("streaming", "parts")
    await answer.read()
    record = await answer.record()
    assert [(part["type"], part.get("name")) for part in record["parts"]] == [
        ("status", None), ("text", None), ("data", "report"), ("file", None), ("file", "b.png"),
        ("text", None),
    ]  # fmt: skip
    assert record["text"] == "See:\n\nDone."
    assert record["parts"][2]["value"] == {"rows": 2}
    assert record["parts"][3]["url"] == "https://example.org/a.pdf"


@pytest.mark.parametrize(
    ("prompt", "text", "end"),
    [
        ("message", "Hello.", "generation.done"),
        ("replace", "right", "generation.done"),
        ("fail", "", "generation.failed"),
        ("reject", "", "generation.failed"),
        ("auth", "", "generation.failed"),
        ("raise", "", "generation.failed"),
    ],
)
async def test_other_ends(agents: Agents, prompt: str, text: str, end: str) -> None:
    """Messages, rewritten artifacts and the ends that are failures; none is asked for twice."""
    before = await agents.counts("streaming")
    events = await (await agents.ask("streaming", prompt)).read()
    assert (events[-1][0], text_of(events)) == (end, text)
    if end == "generation.failed":
        code = "upstream_interrupted" if prompt == "auth" else "upstream_error"
        assert events[-1][1]["code"] == code
        assert events[-1][1]["retryable"] is (prompt in ("fail", "raise"))
    assert (await agents.counts("streaming"))["executed"] == before["executed"] + 1


@pytest.mark.parametrize("upstream", ["streaming", "rest", "old"])
async def test_a_stop_cancels_the_task(agents: Agents, upstream: str) -> None:
    """The agent sees it; the readers' end does not wait for the agent."""
    before = await agents.counts(upstream)
    answer = await agents.ask(upstream, "gated")
    await agents.release(answer, 2)
    await agents.wait(lambda: answer.has_text("w0 w1 "))
    await answer.stop()
    events = await answer.read()
    assert events[-1][0] == "generation.stopped"

    async def is_canceled() -> bool:
        counts = await agents.counts(upstream)
        return bool(counts["canceled"] == before["canceled"] + 1)

    await agents.wait(is_canceled)


async def test_a_stop_before_the_task_is_known(agents: Agents) -> None:
    """The agent's task is canceled as soon as it has an id."""
    before = await agents.counts("streaming")

    async def is_executed() -> bool:
        return bool((await agents.counts("streaming"))["executed"] == before["executed"] + 1)

    async def is_canceled() -> bool:
        return bool((await agents.counts("streaming"))["canceled"] == before["canceled"] + 1)

    answer = await agents.ask("streaming", "late")
    await agents.wait(is_executed)
    await answer.stop()
    assert (await answer.read())[-1][0] == "generation.stopped"
    await agents.release(answer, 1)
    await agents.wait(is_canceled)


@pytest.mark.parametrize("upstream", ["streaming", "rest", "old"])
async def test_a_broken_connection(agents: Agents, upstream: str) -> None:
    """The task is followed again: the agent has one task, and each text arrives once."""
    before = await agents.counts(upstream)
    answer = await agents.ask(upstream, "gated")
    for n in range(3):
        await agents.release(answer, 2)
        text = "".join(f"w{each} " for each in range(2 * n + 2))
        await agents.wait(partial(answer.has_text, text))
        agents.proxies[upstream].reset_all()
    await agents.release(answer, 2)
    events = await answer.read()
    assert text_of(events) == WORDS
    assert (await agents.counts(upstream))["executed"] == before["executed"] + 1
    assert not any(name in ("generation.restarted", "generation.continued") for name, _ in events)


async def test_a_chat_is_one_context(agents: Agents) -> None:
    """A later prompt goes to the agent's context, and alone."""
    first = await agents.ask("streaming", "words first", chat="c")
    await first.read()
    messages = [
        {"role": "user", "content": "words first"},
        {"role": "assistant", "content": WORDS},
        {"role": "user", "content": "words second"},
    ]
    body = {"messages": messages, "upstream": "streaming", "chat": "c"}
    url = f"{agents.cluster.url}/generations?user={first.user}"
    async with agents.cluster.session.post(url, json=body) as response:
        second = Answer(agents.cluster, first.user, await response.json())
    await second.read()
    counts = await agents.counts("streaming")
    assert counts["prompts"][-2:] == ["words first", "words second"]
    assert len(set(counts["contexts"][-2:])) == 1


@pytest.mark.parametrize("upstream", ["streaming", "polling", "rest"])
@pytest.mark.parametrize("is_lost", [False, True])
async def test_an_input(agents: Agents, upstream: str, is_lost: bool) -> None:
    """The value is the task's next message, also of another worker. Others run meanwhile."""
    answer = await agents.ask(upstream, "ask")
    await agents.wait(partial(_is_suspended, answer))
    assert text_of(await (await agents.ask(upstream, "words")).read()) == WORDS
    (part,) = [part for part in (await answer.record())["parts"] if part["type"] == "input"]
    assert part["prompt"] == "Which colour?"
    if is_lost:
        await agents.replace_worker()
    await answer.give(part["input"], "blue")
    events = await answer.read()
    assert (events[-1][0], text_of(events)) == ("generation.done", "You said blue.")
    assert (await answer.record())["attempt"] == 2
    counts = await agents.counts(upstream)
    assert counts["prompts"][-3:] == ["ask", "words", "blue"]
    assert counts["contexts"][-3] == counts["contexts"][-1]


async def test_a_stop_while_an_answer_is_suspended(agents: Agents) -> None:
    """The node ends the answer, and a worker cancels the task."""
    before = await agents.counts("streaming")
    answer = await agents.ask("streaming", "ask")
    await agents.wait(partial(_is_suspended, answer))
    await answer.stop()
    assert (await answer.read())[-1][0] == "generation.stopped"

    async def is_canceled() -> bool:
        return bool((await agents.counts("streaming"))["canceled"] == before["canceled"] + 1)

    await agents.wait(is_canceled)


async def _is_suspended(answer: Answer) -> bool:
    return bool((await answer.record())["status"] == "suspended")


@pytest.mark.parametrize("upstream", ["streaming", "rest", "old"])
async def test_a_worker_is_killed(agents: Agents, upstream: str) -> None:
    """Another worker follows the task: the agent has one, and each text arrives once."""
    before = await agents.counts(upstream)
    answer = await agents.ask(upstream, "gated")
    await agents.release(answer, 3)
    await agents.wait(lambda: answer.has_text("w0 w1 w2 "))
    await agents.replace_worker()
    await agents.release(answer, 5)
    events = await answer.read()
    names = [name for name, _ in events]
    assert names[-1] == "generation.done"
    assert names.count("generation.continued") == 1
    assert "generation.restarted" not in names
    assert text_of(events) == WORDS
    assert (await agents.counts(upstream))["executed"] == before["executed"] + 1
