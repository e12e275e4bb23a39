"""A question in the words of OpenAI's Responses.

Source: platform.openai.com, API reference, "Create a model response", and the guide "Migrate to the
Responses API". Tools are strict there unless it is said that they are not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from hub.core.generation import GenerationRequest
from hub.upstreams.chat_messages import (
    ChatTurn,
    FilePart,
    ImagePart,
    Part,
    TextPart,
    parse_turns,
    text_of,
)
from hub.upstreams.chat_params import (
    NO_PARAMETERS,
    Named,
    Tool,
    choice_of,
    effort_of,
    given_params,
    nested,
    renamed,
    schema_of,
    tools_of,
)

_NAMES: Final = {
    "max_output_tokens": "max_output_tokens",
    "max_tokens": "max_output_tokens",
    "max_completion_tokens": "max_output_tokens",
}
_MAPPED: Final = frozenset(
    {"tools", "tool_choice", "response_format", "reasoning_effort", "verbosity"}
)
_HINTS: Final = frozenset(
    {"frequency_penalty", "presence_penalty", "logit_bias", "logprobs", "top_logprobs", "seed", "n",
     "modalities", "prediction", "stream_options", "stop"}
)  # fmt: skip


def params_of(question: GenerationRequest, body: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters. body: of every request; what is nested there stays. Raises UpstreamError."""
    params = given_params(question.params, refused=("stop",))
    fields = renamed(params, _NAMES, _MAPPED | _HINTS)
    if tools := tools_of(params):
        fields["tools"] = [_tool(tool) for tool in tools]
    if choice := choice_of(params):
        fields["tool_choice"] = _choice(choice)
    text: dict[str, Any] = {}
    if "verbosity" in params:
        text["verbosity"] = params["verbosity"]
    if "response_format" in params:
        kind, schema = schema_of(params)
        text["format"] = {"type": kind, **schema}
    if text:
        fields["text"] = nested("text", body, fields, {"text": text})
    if effort := effort_of(params):
        fields["reasoning"] = nested("reasoning", body, fields, {"reasoning": {"effort": effort}})
    return fields


def _tool(tool: Tool | dict[str, Any]) -> dict[str, Any]:
    if isinstance(tool, dict):
        return tool
    flat = {"type": "function", "strict": False, "parameters": NO_PARAMETERS}
    return {**flat, **msgspec.to_builtins(tool)}


def _choice(choice: str | Named | dict[str, Any]) -> Any:
    if isinstance(choice, Named):
        return {"type": "function", "name": choice.name}
    allowed = choice.get("allowed_tools") if isinstance(choice, dict) else None
    if not isinstance(allowed, dict):
        return choice
    tools = [
        {"type": "function", "name": tool.name} if isinstance(tool, Tool) else tool
        for tool in tools_of(allowed)
    ]
    return {"type": "allowed_tools", **allowed, "tools": tools}


def input_of(question: GenerationRequest) -> list[dict[str, Any]]:
    """The conversation as items. Raises UpstreamError."""
    return [item for turn in parse_turns(question) for item in _items(turn)]


def _items(turn: ChatTurn) -> Iterator[dict[str, Any]]:
    content = [_part(part) for part in turn.parts()] if isinstance(turn.content, list) else None
    if turn.role == "tool":
        output = content or turn.content or ""
        yield {"type": "function_call_output", "call_id": turn.answers, "output": output}
    elif turn.role == "assistant":
        if text := text_of(turn, "an assistant's content"):
            yield {"role": "assistant", "content": text}
    else:
        yield {"role": turn.role, "content": content or turn.content or ""}
    for call in turn.calls:
        item = {"type": "function_call", "call_id": call.id, "name": call.name}
        yield {**item, "arguments": call.arguments}


def _part(part: Part) -> dict[str, Any]:
    match part:
        case TextPart():
            return {"type": "input_text", "text": part.text}
        case ImagePart():
            image = part.image_url
            return {"type": "input_image", "image_url": image.url, "detail": image.detail}
        case FilePart():
            return {"type": "input_file", **_file(part)}
        case _:
            return part


def _file(part: FilePart) -> dict[str, Any]:
    """A file by its address has a name of its own there."""
    file = part.file
    if file.file_data and file.file_data[:5].lower() != "data:":
        return {"file_url": file.file_data}
    told: dict[str, Any] = msgspec.to_builtins(file)
    return told
