"""LangGraph: the stream of a graph as the parts of an answer.

    @app.producer(retries=2)
    async def agent(run: Run):
        async for part in langgraph.stream(graph, run):
            yield part

Tokens become text and reasoning, tool calls and their results become tool calls, and what a node
writes with `get_stream_writer()` becomes data, unless it is a part. With a checkpointer the adapter
saves a checkpoint of the run behind each step of the graph, so that a later attempt continues in
the graph where readers stopped. LangGraph does not run a node again that has ended; what that node
wrote with the stream writer, and readers have not seen, is then missing. An interrupt of the graph
is an input: the run is suspended, and the answer of the user resumes the graph.

Sources: https://docs.langchain.com/oss/python/langgraph/streaming and …/interrupts.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Final

from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    ToolMessage,
    convert_to_messages,
)
from langgraph.types import Command, Interrupt

from hub.core.parts import Data, Part, Reasoning, Text, ToolCall, ToolResult, Usage
from hub.producer.inputs import Suspend
from hub.producer.run import Run

_MODES: Final = ("messages", "updates", "values", "custom", "checkpoints")


async def stream(
    graph: Any,
    run: Run,
    given: Any = None,
    *,
    config: Mapping[str, Any] | None = None,
    context: Any = None,
    nodes: Collection[str] | None = None,
) -> AsyncIterator[Part]:
    """Run a compiled graph, and yield its output as parts.

    given: the input of the graph; None means the messages of the run under `messages`. config: the
    `RunnableConfig`; without a `thread_id` the thread is the answer's own. context: the runtime
    context of the graph. nodes: the names of the nodes whose tokens are shown; None means all.
    Raise Suspend for an interrupt of the graph, and what the graph raises.
    A graph that interrupts must have a checkpointer that keeps its threads.
    """
    thread = _Thread(graph, run, config or {})
    graph_input = await thread.open({"messages": run.messages} if given is None else given)
    output = _Output(nodes)
    while True:
        streaming = graph.astream(
            graph_input,
            thread.config,
            context=context,
            stream_mode=list(_MODES),
            subgraphs=True,
            **({"durability": "sync"} if thread.is_stored else {}),
        )
        async with aclosing(streaming) as items:
            async for namespace, mode, item in items:
                for part in output.read(mode, item):
                    yield part
                if mode == "checkpoints" and not namespace:
                    await thread.save(item)
        interrupts = await thread.find_interrupts()
        if not interrupts:
            break
        graph_input = thread.resume(interrupts)
    if output.tokens:
        yield Usage(output.tokens)


class _Thread:
    """The thread of a graph with its checkpoints, and where the run continues in it."""

    def __init__(self, graph: Any, run: Run, config: Mapping[str, Any]) -> None:
        self._graph = graph
        self._run = run
        settings = {"thread_id": run.generation, **config.get("configurable", {})}
        self.config: dict[str, Any] = {**config, "configurable": settings}
        self.is_stored = bool(graph.checkpointer)
        self._checkpoint_id = ""
        self._answered: dict[str, int] = {}  # the number of answered interrupts, by node

    async def open(self, given: Any) -> Any:
        """Return the input of the graph: None to continue at the checkpoint of the run.

        If the graph has lost that checkpoint, the answer begins anew.
        """
        saved = self._run.checkpoint
        if saved is None or not self.is_stored:
            return given
        settings = {**self.config["configurable"], "thread_id": saved["thread_id"]}
        self.config["configurable"] = settings
        newest = await self._graph.aget_state(self.config)
        if newest.config["configurable"].get("checkpoint_id") != saved["checkpoint_id"]:
            settings["checkpoint_id"] = saved["checkpoint_id"]  # the graph is ahead of the readers
        if (await self._graph.aget_state(self.config)).created_at is None:
            settings.pop("checkpoint_id", None)
            await self._run.restart()
            return given
        self._checkpoint_id, self._answered = saved["checkpoint_id"], saved["answered"]
        interrupts = await self.find_interrupts()
        return self.resume(interrupts) if interrupts else None

    async def save(self, checkpoint: Mapping[str, Any]) -> None:
        """Save a checkpoint of the run behind a step of the graph."""
        checkpoint_id = checkpoint["config"]["configurable"]["checkpoint_id"]
        self.config["configurable"].pop("checkpoint_id", None)  # the thread continues behind it
        if checkpoint_id != self._checkpoint_id and checkpoint["metadata"]["source"] != "input":
            self._checkpoint_id = checkpoint_id
            await self._run.save(self._build_checkpoint())

    async def find_interrupts(self) -> list[tuple[str, Interrupt]]:
        """Return the nodes that wait, and for what."""
        if not self.is_stored:
            return []
        tasks = (await self._graph.aget_state(self.config)).tasks
        return [(task.name, interrupt) for task in tasks for interrupt in task.interrupts]

    def resume(self, interrupts: Sequence[tuple[str, Interrupt]]) -> Command[Any]:
        """Return the input of the graph that answers the interrupts.

        The key of an input is the name of the node, with a number from its second interrupt on.
        Raise Suspend for the first one whose answer the run does not have.
        """
        answers = {}
        counts = dict(self._answered)
        for node, interrupt in interrupts:
            counts[node] = counts.get(node, 0) + 1
            key = node if counts[node] == 1 else f"{node}-{counts[node]}"
            request = _InterruptRequest(interrupt.value)
            if key not in self._run.inputs:
                raise Suspend(
                    key,
                    request.prompt,
                    options=request.options,
                    schema=request.schema,
                    state=self._build_checkpoint(),
                )
            answers[interrupt.id] = request.answer(self._run.inputs[key])
        self._answered = counts
        return Command(resume=answers)

    def _build_checkpoint(self) -> dict[str, Any]:
        return {
            "thread_id": self.config["configurable"]["thread_id"],
            "checkpoint_id": self._checkpoint_id,
            "answered": self._answered,
        }


class _InterruptRequest:
    """The value of an interrupt as an input.

    A text is the prompt. Of an object, `question`, `prompt`, `message` or `description` is the
    prompt, and `options` and `schema` are those of the input. An object with `action_requests`
    comes from LangChain's HumanInTheLoopMiddleware: the answer decides all of them.
    """

    def __init__(self, value: Any) -> None:
        fields = value if isinstance(value, Mapping) else {}
        self._actions = fields.get("action_requests")
        self.schema: dict[str, Any] | None = fields.get("schema")
        self.options: list[str] | None = fields.get("options")
        if isinstance(value, str):
            self.prompt = value
        elif self._actions is not None:
            self.prompt = "\n".join(_describe_action(action) for action in self._actions)
            self.options = ["approve", "reject"]
        else:
            names = (name for name in _PROMPTS if isinstance(fields.get(name), str))
            self.prompt = str(fields.get(next(names, "")) or json.dumps(value, default=str))

    def answer(self, value: Any) -> Any:
        """Return what the graph gets for the answer of the user."""
        if self._actions is None:
            return value
        return {"decisions": [{"type": value} for _ in self._actions]}


_PROMPTS: Final = ("question", "prompt", "message", "description")


def _describe_action(action: Mapping[str, Any]) -> str:
    arguments = action.get("args", action.get("arguments"))
    return str(action.get("description") or f"{action.get('name')} {json.dumps(arguments)}")


class _Output:
    """What a graph streams, as parts: each message once, however many nodes and states have it."""

    def __init__(self, nodes: Collection[str] | None) -> None:
        self._nodes = nodes
        self._streamed: set[str] = set()  # ids of messages whose tokens were shown
        self._known: set[str] = set()  # ids of messages, and of calls with a result, that are shown
        self.tokens: dict[str, int] = {}  # the usage so far

    def read(self, mode: str, item: Any) -> Iterator[Part]:
        """Yield the parts of an item of the stream."""
        match mode:
            case "messages":
                message, metadata = item
                is_shown = self._nodes is None or metadata.get("langgraph_node") in self._nodes
                if isinstance(message, AIMessageChunk) and is_shown:
                    self._streamed.add(message.id or "")
                    yield from _read_content(message)
            case "updates":
                for node, update in item.items():
                    if node != "__interrupt__":
                        yield from self._read_update(node, update)
            case "values":  # what the graph was given, and what the updates have shown already
                self._known.update(_key(message) for message in _messages_of(item))
            case "custom":
                is_part = isinstance(item, Part)
                yield item if is_part else Data("custom", item)
            case _:
                pass

    def _read_update(self, node: str, update: Any) -> Iterator[Part]:
        for message in _messages_of(update):
            key = _key(message)
            if key in self._known:
                continue
            self._known.add(key)
            if isinstance(message, ToolMessage):
                is_error = message.status == "error"
                yield ToolResult(message.tool_call_id, message.content, is_error=is_error)
            elif isinstance(message, AIMessage):
                if message.id not in self._streamed and node in (self._nodes or (node,)):
                    yield from _read_content(message)
                for call in message.tool_calls:
                    arguments = json.dumps(call["args"])
                    yield ToolCall(call["id"] or key, call["name"], arguments)
                self._count(message)

    def _count(self, message: AIMessage) -> None:
        usage: Mapping[str, Any] = {**(message.usage_metadata or {})}
        for name, langchain_name in _TOKENS.items():
            count = usage.get(langchain_name)
            if isinstance(count, int):
                self.tokens[name] = self.tokens.get(name, 0) + count


_TOKENS: Final = {
    "prompt_tokens": "input_tokens",
    "completion_tokens": "output_tokens",
    "total_tokens": "total_tokens",
}


def _key(message: BaseMessage) -> str:
    """Return what is the same wherever the message appears."""
    if isinstance(message, ToolMessage):
        return f"result {message.tool_call_id}"
    return message.id or f"object {id(message)}"


def _messages_of(state: Any) -> list[BaseMessage]:
    """Return the messages of a state, or of the updates of a node."""
    messages: list[BaseMessage] = []
    for update in state if isinstance(state, list) else [state]:
        is_mapping = isinstance(update, Mapping)
        fields: Mapping[str, Any] = update if is_mapping else getattr(update, "__dict__", {})
        added = fields.get("messages", [])
        messages += convert_to_messages(added if isinstance(added, list) else [added])
    return messages


def _read_content(message: AIMessage) -> Iterator[Part]:
    """Yield the text and the reasoning of a message."""
    for block in message.content_blocks:
        if block["type"] == "text" and block["text"]:
            yield Text(block["text"])
        elif block["type"] == "reasoning" and block.get("reasoning"):
            yield Reasoning(block["reasoning"])
