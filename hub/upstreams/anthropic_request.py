"""A question in the words of Anthropic's Messages.

Source: docs.claude.com, "Messages" (API reference), "Tool use", "Vision", "Structured outputs".
What becomes of parameters that have no word there follows "OpenAI SDK compatibility".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from hub.core.generation import GenerationRequest
from hub.upstreams.chat_messages import (
    ChatTurn,
    FilePart,
    ImagePart,
    Part,
    TextPart,
    inline,
    parse_turns,
    unsupported,
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

_NAMES: Final = {"max_tokens": "max_tokens", "max_completion_tokens": "max_tokens"}
_MAPPED: Final = frozenset(
    {"tools", "tool_choice", "parallel_tool_calls", "stop", "user", "response_format",
     "reasoning_effort"}
)  # fmt: skip
_HINTS: Final = frozenset(
    {"frequency_penalty", "presence_penalty", "logit_bias", "logprobs", "top_logprobs", "seed", "n",
     "store", "modalities", "prediction", "stream_options", "verbosity", "safety_identifier",
     "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention"}
)  # fmt: skip
_HIGHEST_TEMPERATURE: Final = 1  # chat's goes to 2; the vendor's own translation caps it
_TIERS: Final = ("auto", "standard_only")
_CHOICES: Final = {"required": "any"}
_EFFORTS: Final = {"minimal": "low"}
_NOT_IN_AN_ID: Final = re.compile(r"[^a-zA-Z0-9_-]")


def params_of(question: GenerationRequest, body: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters. body: of every request; what is nested there stays. Raises UpstreamError."""
    params = given_params(question.params)
    fields = renamed(params, _NAMES, _MAPPED | _HINTS)
    if "temperature" in fields and isinstance(fields["temperature"], int | float):
        fields["temperature"] = min(fields["temperature"], _HIGHEST_TEMPERATURE)
    if "stop" in params:
        stop = params["stop"]
        fields["stop_sequences"] = [stop] if isinstance(stop, str) else stop
    if "user" in params:
        fields.setdefault("metadata", {"user_id": params["user"]})
    if fields.get("service_tier") not in _TIERS:
        fields.pop("service_tier", None)
    if tools := tools_of(params):
        fields["tools"] = [_tool(tool) for tool in tools]
    if choice := _choice(params):
        fields["tool_choice"] = choice
    if effort_of(params) == "none":
        fields.setdefault("thinking", {"type": "disabled"})
    if output := _output(params):
        fields["output_config"] = nested("output_config", body, fields, {"output_config": output})
    return fields


def _tool(tool: Tool | dict[str, Any]) -> dict[str, Any]:
    if isinstance(tool, dict):
        return tool
    return {
        "name": tool.name,
        **({"description": tool.description} if tool.description else {}),
        "input_schema": tool.parameters or NO_PARAMETERS,
        **({"strict": True} if tool.strict else {}),
    }


def _choice(params: dict[str, Any]) -> dict[str, Any] | None:
    told = choice_of(params)
    alone = params.get("parallel_tool_calls") is False
    if told is None and not (alone and params.get("tools")):
        return None
    if isinstance(told, dict):
        choice = told
    elif isinstance(told, Named):
        choice = {"type": "tool", "name": told.name}
    else:
        choice = {"type": _CHOICES.get(told or "auto", told or "auto")}
    if alone and choice.get("type") != "none":
        return {**choice, "disable_parallel_tool_use": True}
    return choice


def _output(params: dict[str, Any]) -> dict[str, Any]:
    output: dict[str, Any] = {}
    effort = effort_of(params)
    if effort not in (None, "none"):
        output["effort"] = _EFFORTS.get(str(effort), effort)
    kind, schema = schema_of(params)
    if kind == "json_schema":
        output["format"] = {"type": "json_schema", "schema": schema.get("schema", {})}
    elif kind != "text":
        raise unsupported(
            f"this upstream knows no response_format of type {kind!r}; give it a json_schema"
        )
    return output


def conversation_of(question: GenerationRequest) -> dict[str, Any]:
    """`messages`, and `system` where there is one. Raises UpstreamError."""
    system: list[ChatTurn] = []
    messages: list[dict[str, Any]] = []
    results: list[dict[str, Any]] | None = None
    for turn in parse_turns(question):
        if turn.role == "system":
            system.append(turn)
        elif turn.role == "tool":
            if results is None:  # the results of one turn's calls belong into one message
                results = []
                messages.append({"role": "user", "content": results})
            results.append(_result(turn))
        elif (content := _said(turn)) or turn.role != "assistant":
            results = None
            messages.append({"role": turn.role, "content": content})
    return {**({"system": _system(system)} if system else {}), "messages": messages}


def _system(turns: list[ChatTurn]) -> str | list[dict[str, Any]]:
    if all(isinstance(turn.content, str) for turn in turns):
        return "\n\n".join(str(turn.content) for turn in turns)
    return [_block(part) for turn in turns for part in turn.parts()]


def _said(turn: ChatTurn) -> str | list[dict[str, Any]]:
    """Empty when it says nothing, which the API takes from nobody."""
    if isinstance(turn.content, str) and not turn.calls:
        return turn.content
    blocks = [_block(part) for part in turn.parts()]
    return blocks + [
        {"type": "tool_use", "id": _id(call.id), "name": call.name, "input": call.values()}
        for call in turn.calls
    ]


def _result(turn: ChatTurn) -> dict[str, Any]:
    block = {"type": "tool_result", "tool_use_id": _id(turn.answers)}
    if not turn.content:
        return block
    text = turn.content if isinstance(turn.content, str) else None
    return {**block, "content": text or [_block(part) for part in turn.parts()]}


def _id(id_: str | None) -> str:
    """A call's id as the API takes it: other vendors' have dots and colons."""
    return _NOT_IN_AN_ID.sub("_", id_ or "")


def _block(part: Part) -> dict[str, Any]:
    match part:
        case TextPart():
            mark = {"cache_control": part.cache_control} if part.cache_control else {}
            return {"type": "text", "text": part.text, **mark}
        case ImagePart():
            return {"type": "image", "source": _source(part.image_url.url)}
        case FilePart():
            if not part.file.file_data:
                raise unsupported("this upstream takes a file's data, and no file_id")
            title = {"title": part.file.filename} if part.file.filename else {}
            return {"type": "document", **title, "source": _source(part.file.file_data)}
        case _:
            return part


def _source(url: str) -> dict[str, Any]:
    if (found := inline(url)) is None:
        return {"type": "url", "url": url}
    media_type, data = found
    return {"type": "base64", "media_type": media_type, "data": data}
