"""The upstream of an agent: connections break, and each task runs once with each text once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import web

from hub.core.durable import AskInput, Checkpoint, Restart, ResumePoint, StreamOutput
from hub.core.folded_parts import FoldedParts
from hub.core.generation import GenerationRequest, Message
from hub.core.generation_context import GenerationContext
from hub.core.inputs import StoredInput
from hub.core.part_events import to_event
from hub.core.parts import Finished, Part
from hub.engine.generations.input_events import expired, received
from hub.errors import UpstreamError
from hub.http.server import ListenAddress, listen
from hub.upstreams.a2a.upstream import A2aUpstream
from hub.upstreams.http.client import UpstreamTimeouts
from hub.upstreams.http.endpoint import EndpointOptions
from hub.upstreams.http.request_rules import RequestRules
from tests.defaults import upstream_timeouts

REQUEST = GenerationRequest([Message("user", "hi")], upstream="agent", model="agent")
CONTEXT = GenerationContext(user="alice", generation="g1", attempt=1)
ASKABLE = msgspec.structs.replace(CONTEXT, inputs={})
WORDS = ("one ", "two ", "three ", "four")
TEXT = "".join(WORDS)
METHODS = {
    "SendStreamingMessage": "stream", "message/stream": "stream",
    "SendMessage": "send", "message/send": "send",
    "SubscribeToTask": "subscribe", "tasks/resubscribe": "subscribe",
    "GetTask": "get", "tasks/get": "get",
    "CancelTask": "cancel", "tasks/cancel": "cancel",
}  # fmt: skip


class Agent:
    """An agent whose task has a word for each event. The state of the task is a number of events.

    version, binding, can_stream: those of its card. cut: after how many events the stream of the
    message breaks. missed: how many events happen until somebody reads the task again. repeats:
    how many events of the task that was read follow it once more. has_card: whether it has one.
    """

    def __init__(
        self,
        *,
        version: str = "1.0",
        binding: str = "JSONRPC",
        can_stream: bool = True,
        cut: int | None = None,
        missed: int = 0,
        repeats: int = 0,
        has_card: bool = True,
        end: str = "completed",
    ) -> None:
        self.version, self.binding = version, binding
        self.can_stream, self.has_card = can_stream, has_card
        self.cut, self.missed, self.repeats = cut, missed, repeats
        self.operations: list[str] = []
        self.messages: list[dict[str, Any]] = []
        self.headers: list[Any] = []
        self.happened = 0
        self.end = end
        self.error: dict[str, Any] | None = None  # of `subscribe`
        self.words = ""  # beside the last state
        self.hold: asyncio.Event | None = None  # before the first word of a stream

    def state(self, name: str) -> str:
        return name if self.version == "0.3" else "TASK_STATE_" + name.upper().replace("-", "_")

    def status(self) -> dict[str, Any]:
        is_over = self.happened > len(WORDS)
        words = {"messageId": "m", "parts": [{"kind": "text", "text": self.words}]}
        message = {"message": words} if is_over and self.words else {}
        return {"state": self.state(self.end if is_over else "working"), **message}

    def task(self) -> dict[str, Any]:
        parts = [{"kind": "text", "text": word} for word in WORDS[: self.happened]]
        artifacts = [{"artifactId": "a", "parts": parts}] if parts else []
        return self._mark(
            "task", {"id": "t/1", "contextId": "c", "status": self.status(), "artifacts": artifacts}
        )

    def event(self, n: int) -> dict[str, Any]:
        """Return the event with this number: a word, or the end."""
        ids = {"taskId": "t/1", "contextId": "c"}
        if n == len(WORDS):
            return self._wrap("status-update", "statusUpdate", {**ids, "status": self.status()})
        artifact = {"artifactId": "a", "parts": [{"kind": "text", "text": WORDS[n]}]}
        update = {**ids, "artifact": artifact, "append": n > 0}
        return self._wrap("artifact-update", "artifactUpdate", update)

    def _mark(self, kind: str, value: dict[str, Any]) -> dict[str, Any]:
        return {"kind": kind, **value} if self.version == "0.3" else value

    def _wrap(self, kind: str, name: str, value: dict[str, Any]) -> dict[str, Any]:
        return self._mark(kind, value) if self.version == "0.3" else {name: value}

    async def card(self, request: web.Request) -> web.Response:
        if not self.has_card:
            raise web.HTTPNotFound
        url = "http://elsewhere.invalid/rpc"
        if self.version == "0.3":
            card: dict[str, Any] = {"url": url, "protocolVersion": "0.3.0"}
        else:
            interface = {"url": url, "protocolBinding": self.binding, "protocolVersion": "1.0"}
            card = {"supportedInterfaces": [interface]}
        return web.json_response({**card, "capabilities": {"streaming": self.can_stream}})

    async def rpc(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.headers.append(request.headers)
        return await self.answer(request, METHODS[body["method"]], body["params"])

    async def rest(self, request: web.Request) -> web.StreamResponse:
        if "well-known" in request.path:
            return web.Response(text="<html>", content_type="text/html")  # a page for any path
        operation = request.path.rpartition(":")[2] if ":" in request.path else "get"
        body = await request.json() if request.method == "POST" else {}
        return await self.answer(request, operation, body)

    async def answer(
        self, request: web.Request, operation: str, params: dict[str, Any]
    ) -> web.StreamResponse:
        self.operations.append(operation)
        if operation in ("stream", "send"):
            self.messages.append(params["message"])
        if operation == "subscribe" and self.error is not None:
            return web.json_response({"jsonrpc": "2.0", "id": 1, "error": self.error})
        if operation in ("stream", "subscribe"):
            return await self._stream(request, is_first=operation == "stream")
        if operation == "cancel":
            self.happened, self.end = len(WORDS) + 1, "canceled"
        elif operation == "get":
            self.happened = min(self.happened + 1, len(WORDS) + 1)
        task = self.task()
        is_wrapped = operation == "send" and self.version == "1.0"
        return web.json_response(self._envelope({"task": task} if is_wrapped else task))

    def _envelope(self, result: dict[str, Any]) -> dict[str, Any]:
        return result if self.binding == "HTTP+JSON" else {"jsonrpc": "2.0", "result": result}

    async def _stream(self, request: web.Request, *, is_first: bool) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)

        async def send(result: dict[str, Any]) -> None:
            data = json.dumps(self._envelope(result))
            await response.write(f"data: {data}\n\n".encode())

        if not is_first:
            self.happened = min(self.happened + self.missed, len(WORDS))
        task = self.task()
        if not (is_first and self.cut == 0):
            await send(task if self.version == "0.3" else {"task": task})
        if self.hold is not None:
            await self.hold.wait()
        first = self.happened - (0 if is_first else min(self.repeats, self.happened))
        for n in range(first, len(WORDS) + 1):
            if is_first and self.cut is not None and n - first >= self.cut:
                assert request.transport is not None
                request.transport.abort()
                return response
            self.happened = max(self.happened, n + 1)
            await send(self.event(n))
        return response


@asynccontextmanager
async def serving(
    agent: Agent, path: str = "", *, timeouts: UpstreamTimeouts | None = None
) -> AsyncIterator[A2aUpstream]:
    """Serve the agent, and yield the upstream for it."""
    app = web.Application()
    app.router.add_get("/.well-known/agent-card.json", agent.card)
    app.router.add_post("/rpc", agent.rpc)
    app.router.add_route("*", "/rpc/{path:.*}", agent.rest)
    async with (
        listen(
            app,
            ListenAddress("127.0.0.1", 0, "x"),
            cancel_handlers=True,
            shutdown_timeout_seconds=0.1,
        ) as port,
        aiohttp.ClientSession() as session,
    ):
        yield A2aUpstream(
            "agent",
            session,
            EndpointOptions(
                base_url=f"http://127.0.0.1:{port}{path}",
                headers={"Authorization": "Bearer secret-key"},
                rules=RequestRules(),
                timeouts=timeouts or upstream_timeouts(),
                proxy=None,
                verify_tls=True,
            ),
            body={},
            max_event_bytes=2**20,
            poll_seconds=0.0,
        )


async def read(
    upstream: A2aUpstream,
    checkpoint: Checkpoint | None = None,
    context: GenerationContext = CONTEXT,
) -> list[StreamOutput]:
    async with aclosing(upstream.resumable_stream(REQUEST, context, checkpoint)) as stream:
        return [each async for output in stream for each in output]


def fold(output: Sequence[StreamOutput], folded: FoldedParts | None = None) -> FoldedParts:
    folded = folded or FoldedParts()
    for each in output:
        if isinstance(each, Restart):
            folded = FoldedParts()
        elif isinstance(each, Part) and not isinstance(each, Finished):
            folded.apply(*to_event(each))
    return folded


def text_of(output: Sequence[StreamOutput]) -> str:
    return fold(output).text


AGENTS: dict[str, Callable[..., Agent]] = {
    "1.0": Agent,
    "0.3": lambda **options: Agent(version="0.3", **options),
    "HTTP+JSON": lambda **options: Agent(binding="HTTP+JSON", **options),
    "1.0 without streaming": lambda **options: Agent(can_stream=False, **options),
    "0.3 without streaming": lambda **options: Agent(version="0.3", can_stream=False, **options),
}


@pytest.mark.parametrize("kind", AGENTS)
async def test_an_answer(kind: str) -> None:
    """One message is sent, and the card says how; the text and the end arrive."""
    agent = AGENTS[kind]()
    async with serving(agent) as upstream:
        output = await read(upstream)
    assert text_of(output) == TEXT
    assert output[-1] == Finished("stop")
    assert len(agent.messages) == 1
    assert agent.messages[0]["messageId"] == "g1"
    assert all(head["Authorization"] == "Bearer secret-key" for head in agent.headers)
    assert all(head["A2A-Version"] == agent.version for head in agent.headers)


@pytest.mark.parametrize("kind", ["1.0", "0.3", "HTTP+JSON"])
@pytest.mark.parametrize("cut", range(1, len(WORDS) + 1))
@pytest.mark.parametrize(("missed", "repeats"), [(0, 0), (2, 0), (1, 1), (1, 2)])
async def test_a_broken_connection(kind: str, cut: int, missed: int, repeats: int) -> None:
    """The task is followed again, whatever happened meanwhile: one message, each word once."""
    agent = AGENTS[kind](cut=cut, missed=missed, repeats=repeats)
    async with serving(agent) as upstream:
        output = await read(upstream)
    assert text_of(output) == TEXT
    assert all(TEXT.startswith(text_of(output[:n])) for n in range(len(output)))
    assert len(agent.messages) == 1
    follow = "get" if kind == "0.3" else "subscribe"
    assert agent.operations[1] == follow


@pytest.mark.parametrize("kind", AGENTS)
@pytest.mark.parametrize("taken", range(len(WORDS) + 2))
async def test_another_worker_takes_over(kind: str, taken: int) -> None:
    """It begins with what was stored after any number of batches, and sends no message."""
    agent = AGENTS[kind]()
    async with serving(agent) as upstream:
        before: list[StreamOutput] = []
        async with aclosing(upstream.resumable_stream(REQUEST, CONTEXT, None)) as stream:
            async for output in stream:
                before += output
                if sum(isinstance(each, ResumePoint) for each in before) > taken:
                    break
        points = [each for each in before if isinstance(each, ResumePoint)]
        value = msgspec.json.encode(points[-1].value)
        folded = fold(before)
        after = await read(upstream, Checkpoint(value=value, folded=folded.parts))
    assert not any(isinstance(each, Restart) for each in after)
    assert fold(after, folded).text == TEXT
    assert len(agent.messages) == 1


async def test_a_stored_text_that_does_not_fit_is_read_anew() -> None:
    """The parts so far are void then, and the message is still sent once."""
    agent = Agent()
    async with serving(agent) as upstream:
        before = await read(upstream)
        points = [each for each in before if isinstance(each, ResumePoint)]
        value = msgspec.json.encode(points[-1].value)
        parts = [{"type": "text", "text": "something else"}]
        after = await read(upstream, Checkpoint(value=value, folded=parts))
    assert isinstance(after[0], Restart)
    assert text_of(after) == TEXT
    assert len(agent.messages) == 1


@pytest.mark.parametrize("code", [-32004, -32601, -32603])
async def test_an_agent_that_lets_nobody_subscribe(code: int) -> None:
    """Its task is read at intervals."""
    agent = Agent(cut=2)
    agent.error = {"code": code, "message": "no"}
    async with serving(agent) as upstream:
        output = await read(upstream)
    assert text_of(output) == TEXT
    assert agent.operations[:3] == ["stream", "subscribe", "get"]


@pytest.mark.parametrize("path", ["/rpc", "/", "/.well-known/agent-card.json"])
async def test_what_the_configured_url_may_be(path: str) -> None:
    """It may be the agent's own, that of its endpoint, or that of its card."""
    async with serving(Agent(), path) as upstream:
        assert text_of(await read(upstream)) == TEXT


async def test_an_endpoint_without_a_card() -> None:
    """The configured URL is that of an endpoint of 1.0 with streaming."""
    async with serving(Agent(has_card=False), "/rpc") as upstream:
        assert text_of(await read(upstream)) == TEXT


@pytest.mark.parametrize(
    ("end", "code", "retryable"),
    [
        ("failed", "upstream_error", True),
        ("rejected", "upstream_error", False),
        ("canceled", "upstream_error", True),
        ("auth-required", "upstream_interrupted", False),
    ],
)
@pytest.mark.parametrize("kind", AGENTS)
async def test_ends_that_are_failures(kind: str, end: str, code: str, retryable: bool) -> None:
    """The state is the reported code, the words are the agent's, without secrets, and no endpoint
    is asked again.
    """
    agent = AGENTS[kind](end=end)
    agent.words = "I got secret-key."
    async with serving(agent) as upstream:
        with pytest.raises(UpstreamError) as caught:
            await read(upstream)
    error = caught.value
    assert error.message.endswith(": I got ***.")
    assert (error.code, error.reported_code, error.retryable) == (code, end, retryable)
    assert error.rejects_request


@pytest.mark.parametrize(
    ("limit", "message"), [("idle_seconds", "no news"), ("total_seconds", "took too long")]
)
async def test_a_task_that_does_not_end(limit: str, message: str) -> None:
    """It fails when it has no news for too long, and when it takes too long."""

    class EndlessAgent(Agent):
        async def answer(
            self, request: web.Request, operation: str, params: dict[str, Any]
        ) -> web.StreamResponse:
            if operation == "get":
                self.happened = 0 if limit == "idle_seconds" else self.happened % 2
            return await super().answer(request, operation, params)

    agent = EndlessAgent(can_stream=False)
    timeouts = upstream_timeouts(**{limit: 0.05})
    async with serving(agent, timeouts=timeouts) as upstream:
        with pytest.raises(UpstreamError, match=message) as caught:
            await read(upstream)
    assert (caught.value.code, caught.value.retryable) == ("upstream_timeout", True)


async def test_a_connection_that_breaks_before_the_task_is_known() -> None:
    """The answer fails: what the agent does with the message is not known."""
    agent = Agent(cut=0)
    async with serving(agent) as upstream:
        with pytest.raises(UpstreamError) as caught:
            await read(upstream)
    assert caught.value.code == "upstream_truncated"
    assert caught.value.retryable
    assert caught.value.is_final


@pytest.mark.parametrize("is_late", [False, True])
async def test_a_task_is_canceled(is_late: bool) -> None:
    """A function that leaves an answer cancels its task, also if it has no id yet."""
    canceled, received, gate = asyncio.Event(), asyncio.Event(), asyncio.Event()

    class SlowAgent(Agent):
        async def answer(
            self, request: web.Request, operation: str, params: dict[str, Any]
        ) -> web.StreamResponse:
            if operation == "cancel":
                assert params == {"id": "t/1"}
                canceled.set()
            elif is_late:
                received.set()
                await gate.wait()
            return await super().answer(request, operation, params)

    agent = SlowAgent(can_stream=is_late)
    agent.hold = canceled
    async with serving(agent) as upstream:
        stream = upstream.stream(REQUEST, CONTEXT)
        if is_late:
            reading = asyncio.ensure_future(anext(stream))
            await received.wait()
            reading.cancel()
            await asyncio.wait([reading])
            gate.set()
        else:
            await anext(stream)
        await stream.aclose()
        async with asyncio.timeout(60):
            await canceled.wait()


@pytest.mark.parametrize("kind", AGENTS)
@pytest.mark.parametrize("is_lost", [False, True])
async def test_a_task_that_needs_input(kind: str, is_lost: bool) -> None:
    """The value is the next message of the task; it is sent again if it may not have arrived."""

    class InputAgent(Agent):
        """Loses the connection of the first input, and has the old state at first."""

        lost = is_lost

        async def answer(
            self, request: web.Request, operation: str, params: dict[str, Any]
        ) -> web.StreamResponse:
            is_input = "taskId" in params.get("message", ())
            if is_input and self.lost:
                self.lost = False
                assert request.transport is not None
                request.transport.abort()
            elif is_input:
                self.end = "completed"
            return await super().answer(request, operation, params)

    agent = AGENTS[kind](end="input-required")
    agent.__class__ = InputAgent
    async with serving(agent) as upstream:
        output = await read(upstream, context=ASKABLE)
        ask = output[-1]
        assert isinstance(ask, AskInput)
        assert ask.save is not None
        assert ask.request.prompt == "The agent needs input."
        answer = received("g1", ask.request, "blue", "alice")
        stored = StoredInput(ask.request, 1, answer)
        context = msgspec.structs.replace(ASKABLE, attempt=2, inputs={ask.request.input: stored})
        folded = fold([each for each in output if isinstance(each, Part)])
        checkpoint = Checkpoint(value=bytes(ask.save.value), folded=folded.parts)
        later = await read(upstream, checkpoint, context=context)
    assert (text_of(output), text_of(later), later[-1]) == (TEXT, "", Finished("stop"))
    assert not any(isinstance(each, AskInput | Restart) for each in later)
    first, *inputs = agent.messages
    assert "contextId" not in first
    ids = {(each["messageId"], each["taskId"], each["contextId"]) for each in inputs}
    assert ids == {(f"g1/{ask.request.input}", "t/1", "c")}
    assert len(inputs) == 1 + is_lost


async def test_an_input_that_nobody_gives() -> None:
    """The answer fails; without anybody to ask, it does at once."""
    async with serving(Agent(end="input-required")) as upstream:
        ask = (await read(upstream, context=ASKABLE))[-1]
    assert isinstance(ask, AskInput)
    stored = StoredInput(ask.request, 1, expired("g1", ask.request.input))
    for inputs, code in (
        ({ask.request.input: stored}, "input_timeout"),
        (None, "upstream_interrupted"),
    ):
        context = msgspec.structs.replace(CONTEXT, inputs=inputs)
        async with serving(Agent(end="input-required")) as upstream:
            with pytest.raises(UpstreamError) as caught:
                await read(upstream, context=context)
        assert (caught.value.code, caught.value.rejects_request) == (code, True)


async def test_a_chat_is_a_context_of_the_agent() -> None:
    """The next message goes to the context that the agent has assigned, as a task of its own."""
    agent = Agent()
    async with serving(agent) as upstream:
        points = [each for each in await read(upstream) if isinstance(each, ResumePoint)]
        earlier = {"agent": msgspec.json.encode(points[-1].value)}
        agent.happened = 0
        await read(upstream, context=msgspec.structs.replace(CONTEXT, earlier=earlier))
    first, second = agent.messages
    assert "contextId" not in first
    assert second["contextId"] == "c"
    assert "taskId" not in second
