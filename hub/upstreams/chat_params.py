"""Parameters in the words of OpenAI's chat completions, parsed for other wire formats.

Source: platform.openai.com, API reference, "Create chat completion". A tool or a tool choice that
chat completions do not define is passed on unchanged, and so is a parameter that no module here
names: they may be the upstream's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from hub.upstreams.chat_messages import decode_field, unsupported

NO_PARAMETERS: Final = {"type": "object", "properties": {}}  # the schema of a tool without any


class Tool(msgspec.Struct, frozen=True, omit_defaults=True):
    """A function that the model may call. parameters: a JSON Schema."""

    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class NamedToolChoice(msgspec.Struct, frozen=True):
    """The tool choice that forces one function."""

    name: str


def parse_tools(params: dict[str, Any]) -> list[Tool | dict[str, Any]]:
    """Return the tools: functions, and tools of the upstream's own. Raise UpstreamError."""
    tools = decode_field(params.get("tools") or [], list[dict[str, Any]], "tools")
    return [
        decode_field(tool["function"], Tool, f"tools[{n}].function") if "function" in tool else tool
        for n, tool in enumerate(tools)
    ]


def parse_tool_choice(params: dict[str, Any]) -> str | NamedToolChoice | dict[str, Any] | None:
    """Return `tool_choice`: a word, a function, or an object of the upstream's own.

    Raise UpstreamError.
    """
    choice = params.get("tool_choice")
    if isinstance(choice, dict) and "function" in choice:
        named: NamedToolChoice = decode_field(
            choice["function"], NamedToolChoice, "tool_choice.function"
        )
        return named
    if choice is None or isinstance(choice, str | dict):
        return choice
    raise unsupported("tool_choice must be a string or an object")


def parse_response_format(params: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the type of `response_format` (default `text`) and its `json_schema` object.

    Raise UpstreamError.
    """
    form = decode_field(params.get("response_format") or {}, dict[str, Any], "response_format")
    schema = decode_field(
        form.get("json_schema") or {}, dict[str, Any], "response_format.json_schema"
    )
    return str(form.get("type", "text")), schema


def parse_reasoning_effort(params: dict[str, Any]) -> str | None:
    """Return `reasoning_effort`. Raise UpstreamError."""
    effort: str | None = decode_field(
        params.get("reasoning_effort"), str | None, "reasoning_effort"
    )
    return effort


def merge_objects(name: str, *layers: Mapping[str, Any]) -> dict[str, Any]:
    """Merge the objects that the layers hold under `name`; later layers win.

    Raise UpstreamError when one of them is not an object.
    """
    merged: dict[str, Any] = {}
    for layer in layers:
        merged |= decode_field(layer.get(name) or {}, dict[str, Any], name)
    return merged


def filter_params(params: dict[str, Any], *, refused: Sequence[str] = ()) -> dict[str, Any]:
    """Return the parameters that are not null.

    refused: names that the format cannot express. Raise UpstreamError for these, for `audio`, and
    for more than one answer (`n`).
    """
    for name in ("audio", *refused):
        if params.get(name):
            raise unsupported(f"this upstream does not support {name}; leave it out")
    if params.get("n") not in (None, 1):
        raise unsupported("only one answer is supported: n must be 1")
    return {name: value for name, value in params.items() if value is not None}


def rename_params(
    params: dict[str, Any], names: dict[str, str], dropped: frozenset[str]
) -> dict[str, Any]:
    """Return the parameters under the format's names, without the dropped ones.

    When two parameters get the same name, the one that `names` lists last wins.
    """
    unchanged = {k: v for k, v in params.items() if k not in names and k not in dropped}
    return unchanged | {new: params[old] for old, new in names.items() if old in params}


def tool_names(params: Mapping[str, Any]) -> frozenset[str]:
    """Return the names of the functions that the client offers; odd tools have none.

    A tool of an AG-UI client has its name in the tool itself.
    """
    tools = params.get("tools")
    functions = (
        (
            tool if is_ag_ui_tool(tool) else tool.get("function")
            for tool in tools
            if isinstance(tool, dict)
        )
        if isinstance(tools, list)
        else ()
    )
    names = (each.get("name") for each in functions if isinstance(each, dict))
    return frozenset(name for name in names if isinstance(name, str))


def is_ag_ui_tool(tool: Mapping[str, Any]) -> bool:
    """Return whether a tool has the form of AG-UI: the fields of a function, without a type."""
    return "name" in tool and "type" not in tool and "function" not in tool


def function_tools(params: dict[str, Any]) -> list[Tool]:
    """Return the tools for a format that has only functions. Raise UpstreamError."""
    tools = parse_tools(params)
    for n, tool in enumerate(tools):
        if not isinstance(tool, Tool):
            raise unsupported(f"tools[{n}]: this upstream supports only functions")
    return [tool for tool in tools if isinstance(tool, Tool)]
