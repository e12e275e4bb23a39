"""PydanticAI: the run of an agent as the parts of an answer.

    @app.producer(retries=2)
    async def support(run: Run):
        async for part in pydantic_ai.stream(agent, run):
            yield part

Text, thinking, tool calls and their results, files and the structured output become parts. The
adapter saves a checkpoint of the run in front of each further request to the model, so that a later
attempt calls no tool again. A tool that needs an approval is an input: the run is suspended, and
the answer of the user continues the agent.

Sources: https://pydantic.dev/docs/ai/core-concepts/agent/ and …/tools-toolsets/deferred-tools/.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any, Final

from pydantic_ai import Agent, DeferredToolRequests, DeferredToolResults, ToolDenied
from pydantic_ai.messages import (
    BinaryContent,
    CustomEvent,
    FilePart,
    FunctionToolCallEvent,
    FunctionToolResultEvent,
    ImageUrl,
    ModelMessage,
    ModelMessagesTypeAdapter,
    ModelRequest,
    ModelResponse,
    NativeToolCallPart,
    NativeToolReturnPart,
    PartDeltaEvent,
    PartEndEvent,
    PartStartEvent,
    SystemPromptPart,
    TextPart,
    TextPartDelta,
    ThinkingPart,
    ThinkingPartDelta,
    ToolCallPart,
    ToolReturnPart,
    UserContent,
    UserPromptPart,
)
from pydantic_ai.usage import RunUsage
from pydantic_core import to_jsonable_python

from hub.core.parts import Data, File, Part, Reasoning, Text, ToolCall, ToolResult, Usage
from hub.producer.inputs import Suspend
from hub.producer.run import Run

_DECISIONS: Final = ["approve", "deny"]


async def stream(agent: Agent[Any, Any], run: Run, **options: Any) -> AsyncIterator[Part]:
    """Run an agent with the conversation of a run, and yield its output as parts.

    options: those of `Agent.iter`, such as `deps`, `model` and `usage_limits`.
    Raise Suspend for a tool call that needs an approval or a result from elsewhere
    (DeferredToolRequests among the output types), and what the agent raises.
    """
    progress = _Progress(run)
    shown = {part["id"] for part in run.previous if part["type"] == "tool_call"}
    has_unsaved_parts = False
    async with agent.iter(
        message_history=progress.messages,
        deferred_tool_results=progress.decide(run.inputs),
        **options,
    ) as agent_run:
        async for node in agent_run:
            if Agent.is_model_request_node(node):
                if has_unsaved_parts:
                    messages = [*agent_run.all_messages(), node.request]
                    await run.save(progress.after(messages, agent_run.usage))
                    has_unsaved_parts = False
            elif not Agent.is_call_tools_node(node):
                continue
            async with node.stream(agent_run.ctx) as events:
                async for event in events:
                    for part in _read_event(event):
                        if not isinstance(part, ToolCall) or part.id not in shown:
                            yield part
                            has_unsaved_parts = True
    assert agent_run.result is not None
    output = agent_run.result.output
    if isinstance(output, DeferredToolRequests):
        after = progress.after(agent_run.all_messages(), agent_run.usage, output)
        raise _Progress(run, after).suspend(run.inputs)
    if not isinstance(output, str):
        yield Data("output", to_jsonable_python(output))
    yield Usage(progress.count(agent_run.usage))


class _Progress:
    """Where the run of the agent continues: its messages, and the tool calls that wait.

    saved: the checkpoint; None means that of the run.
    """

    def __init__(self, run: Run, saved: dict[str, Any] | None = None) -> None:
        saved = saved or run.checkpoint or {}
        self._saved = saved
        self._tokens: dict[str, int] = saved.get("tokens", {})
        self._approvals: list[dict[str, Any]] = saved.get("approvals", [])
        self._calls: list[dict[str, Any]] = saved.get("calls", [])
        self.messages: list[ModelMessage] = (
            ModelMessagesTypeAdapter.validate_python(saved["messages"])
            if saved
            else list(_read_messages(run.messages))
        )

    def after(
        self,
        messages: Sequence[ModelMessage],
        usage: RunUsage,
        requests: DeferredToolRequests | None = None,
    ) -> dict[str, Any]:
        """Return the checkpoint behind these messages. requests: the tool calls that wait."""
        requests = requests or DeferredToolRequests()
        return {
            "messages": ModelMessagesTypeAdapter.dump_python(list(messages), mode="json"),
            "tokens": self.count(usage),
            "approvals": [_describe_call(call) for call in requests.approvals],
            "calls": [_describe_call(call) for call in requests.calls],
        }

    def count(self, usage: RunUsage) -> dict[str, int]:
        """Return the tokens of all attempts of the answer."""
        counted = {"prompt_tokens": usage.input_tokens, "completion_tokens": usage.output_tokens}
        counted["total_tokens"] = sum(counted.values())
        return {name: count + self._tokens.get(name, 0) for name, count in counted.items()}

    def suspend(self, inputs: Mapping[str, Any]) -> Suspend:
        """Return the request of the first input that is missing."""
        call = next(each for each in self._approvals + self._calls if each["id"] not in inputs)
        return Suspend(
            call["id"],
            call["prompt"],
            options=_DECISIONS if call in self._approvals else None,
            tool_call=call["id"],
            state=self._saved,
        )

    def decide(self, inputs: Mapping[str, Any]) -> DeferredToolResults | None:
        """Return the decisions of the user, None if nothing waits.

        Raise Suspend if one is missing.
        """
        if not self._approvals and not self._calls:
            return None
        if not all(call["id"] in inputs for call in self._approvals + self._calls):
            raise self.suspend(inputs)
        return DeferredToolResults(
            approvals={
                call["id"]: True if inputs[call["id"]] == "approve" else ToolDenied()
                for call in self._approvals
            },
            calls={call["id"]: inputs[call["id"]] for call in self._calls},
        )


def _describe_call(call: ToolCallPart) -> dict[str, Any]:
    return {"id": call.tool_call_id, "prompt": f"{call.tool_name} {call.args_as_json_str()}"}


def _read_event(event: Any) -> Iterator[Part]:
    """Yield the parts of an event of the agent's stream."""
    match event:
        case PartStartEvent(part=TextPart(content=text)) if text:
            yield Text(text)
        case PartStartEvent(part=ThinkingPart(content=text)) if text:
            yield Reasoning(text)
        case PartDeltaEvent(delta=TextPartDelta(content_delta=text)) if text:
            yield Text(text)
        case PartDeltaEvent(delta=ThinkingPartDelta(content_delta=text)) if text:
            yield Reasoning(text)
        case FunctionToolCallEvent(part=call) | PartEndEvent(part=NativeToolCallPart() as call):
            yield ToolCall(call.tool_call_id, call.tool_name, call.args_as_json_str())
        case (
            FunctionToolResultEvent(part=result)
            | PartEndEvent(part=NativeToolReturnPart() as result)
        ):
            content = to_jsonable_python(result.content)
            yield ToolResult(result.tool_call_id, content, is_error=result.outcome != "success")
        case PartStartEvent(part=FilePart(content=file)):
            yield File(data=file.base64, media_type=file.media_type)
        case CustomEvent():
            yield Data(type(event).__name__, to_jsonable_python(event))
        case _:
            pass


def _read_messages(messages: Sequence[dict[str, Any]]) -> Iterator[ModelMessage]:
    """Yield messages in the form of OpenAI's chat completions as messages of PydanticAI."""
    names: dict[str, str] = {}  # of the tools, by the id of the call
    for message in messages:
        content = message.get("content")
        match message["role"]:
            case "system" | "developer":
                yield ModelRequest([SystemPromptPart(_read_text(content))])
            case "assistant":
                calls = [each for each in message.get("tool_calls") or () if "function" in each]
                names |= {call["id"]: call["function"]["name"] for call in calls}
                text = _read_text(content)
                yield ModelResponse(
                    [
                        *([TextPart(text)] if text else ()),
                        *(
                            ToolCallPart(
                                call["function"]["name"], call["function"]["arguments"], call["id"]
                            )
                            for call in calls
                        ),
                    ]
                )
            case "tool":
                call_id = message["tool_call_id"]
                result = ToolReturnPart(names.get(call_id, ""), _read_text(content), call_id)
                yield ModelRequest([result])
            case _:
                yield ModelRequest([UserPromptPart(_read_user_content(content))])


def _read_text(content: Any) -> str:
    if isinstance(content, str) or content is None:
        return content or ""
    return "".join(item.get("text", "") for item in content)


def _read_user_content(content: Any) -> str | list[UserContent]:
    if isinstance(content, str) or content is None:
        return content or ""
    return [item for each in content for item in _read_content_item(each)]


def _read_content_item(item: dict[str, Any]) -> Iterator[UserContent]:
    url = item.get("image_url", {}).get("url", "")
    if item.get("type") == "text":
        yield item["text"]
    elif url.startswith("data:"):
        yield BinaryContent.from_data_uri(url)
    elif url:
        yield ImageUrl(url)
