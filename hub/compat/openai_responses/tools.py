"""Tools of OpenAI's Responses as functions of chat completions, which every upstream understands.

Source: platform.openai.com, API reference, "Create a model response", and the requests of Codex
CLI. A `namespace` groups functions: its functions get the names `namespace__function`, and a call
of one is sent to the client with its namespace and its own name. Hosted tools, such as
`web_search`, and `custom` tools have no counterpart in chat completions. They are left out, so that
a client which always offers them works with the functions alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import structlog

from hub.core.generation import Generation

_FUNCTION_FIELDS: Final = ("name", "description", "parameters", "strict")
_SEPARATOR: Final = "__"
_log = structlog.get_logger(__name__)


def to_functions(tools: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the functions of the tools, and log the types of those that are left out."""
    functions, left_out = list[dict[str, Any]](), set[str]()
    for namespace, tool in _flatten(tools):
        if tool.get("type") != "function":
            left_out.add(str(tool.get("type"))[:40])
            continue
        function = {name: tool[name] for name in _FUNCTION_FIELDS if tool.get(name) is not None}
        if namespace:
            function["name"] = flat_name(namespace, str(tool.get("name")))
        functions.append({"type": "function", "function": function})
    if left_out:
        _log.info("responses.tools_left_out", types=sorted(left_out))
    return functions


def offered_tools(record: Generation) -> list[dict[str, Any]]:
    """Return the tools of the request, none if the metadata has something else in their place."""
    tools = record.request.metadata.get("tools")
    return [tool for tool in tools if isinstance(tool, dict)] if isinstance(tools, list) else []


def flat_name(namespace: str, name: str) -> str:
    """Return the name of a function of a namespace as the upstream knows it."""
    separator = "" if namespace.endswith(_SEPARATOR) else _SEPARATOR
    return f"{namespace}{separator}{name}"


def split_name(tools: Sequence[Mapping[str, Any]], flat: str) -> dict[str, Any]:
    """Return the name of a called function as the client knows it, with its namespace if any."""
    for namespace, tool in _flatten(tools):
        name = tool.get("name")
        if namespace and isinstance(name, str) and flat_name(namespace, name) == flat:
            return {"name": name, "namespace": namespace}
    return {"name": flat}


def _flatten(tools: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield each tool with its namespace, which is empty outside of one."""
    for tool in tools:
        inner = tool.get("tools")
        if tool.get("type") == "namespace" and isinstance(inner, list):
            namespace = str(tool.get("name") or "")
            yield from ((namespace, each) for each in inner if isinstance(each, dict))
        else:
            yield "", tool
