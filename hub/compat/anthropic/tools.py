"""Tools of Anthropic's Messages as functions of chat completions.

Source: docs.claude.com, "Tool use". Tools that Anthropic runs itself, such as `web_search`, and
tools that only its models know, such as `bash`, have no counterpart. They are left out, so that a
client which always offers them works with its own tools alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import structlog

from hub.api.null_members import drop_null_members
from hub.errors import BadRequest

_CHOICES: Final = {"auto": "auto", "any": "required", "none": "none"}
_log = structlog.get_logger(__name__)


def to_tool_params(
    tools: Sequence[Mapping[str, Any]], choice: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Return the parameters for the tools, none if no tool is a function. Raise BadRequest."""
    functions, left_out = list[dict[str, Any]](), set[str]()
    for n, each in enumerate(tools):
        tool = drop_null_members(dict(each))
        if tool.get("type", "custom") == "custom" or "input_schema" in tool:
            functions.append({"type": "function", "function": _function(tool, f"tools[{n}]")})
        else:
            left_out.add(str(tool["type"])[:40])
    if left_out:
        _log.info("messages.tools_left_out", types=sorted(left_out))
    if not functions:
        return {}
    return {"tools": functions, **_choice_params(drop_null_members(dict(choice or {})))}


def _function(tool: dict[str, Any], path: str) -> dict[str, Any]:
    name = tool.get("name")
    if not isinstance(name, str) or not name:
        raise BadRequest(f"{path} has no name", path=f"{path}.name")
    schema = tool.get("input_schema", {"type": "object", "properties": {}})
    fields: dict[str, Any] = {key: tool[key] for key in ("description", "strict") if key in tool}
    return {"name": name, **fields, "parameters": schema}


def _choice_params(choice: dict[str, Any]) -> dict[str, Any]:
    if not choice:
        return {}
    kind = choice.get("type")
    if kind == "tool" and isinstance(choice.get("name"), str):
        chosen: Any = {"type": "function", "function": {"name": choice["name"]}}
    elif isinstance(kind, str) and kind in _CHOICES:
        chosen = _CHOICES[kind]
    else:
        raise BadRequest(
            "tool_choice is auto, any, none, or tool with the name of one", path="tool_choice"
        )
    is_sequential = choice.get("disable_parallel_tool_use") is True and kind != "none"
    return {"tool_choice": chosen, **({"parallel_tool_calls": False} if is_sequential else {})}
