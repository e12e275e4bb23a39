"""Tools of OpenAI's Responses as functions of chat completions, which every upstream understands.

Source: platform.openai.com, API reference, "Create a model response", and the requests of Codex
CLI. A `namespace` groups functions: its functions get the names `namespace__function`, and a call
of one is sent to the client with its namespace and its own name. Hosted tools, such as
`web_search`, and `custom` tools have no counterpart in chat completions. They are left out, so that
a client which always offers them works with the functions alone, unless the upstream has the
Responses API itself. It calls a `custom` tool with a text, which the hub carries as the only
argument of a function, `input`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec
import structlog

from hub.core.generation import Generation

_FUNCTION_FIELDS: Final = ("name", "description", "parameters", "strict")
_SEPARATOR: Final = "__"
_INPUT_HEAD: Final = re.compile(r'\s*\{\s*"input"\s*:\s*"')
_INPUT_START: Final = re.compile(r'\s*(?:\{\s*(?:"(?:i(?:n(?:p(?:u(?:t(?:"\s*:?\s*)?)?)?)?)?)?)?)?')
# The characters of a JSON string that are complete; a surrogate pair is one of them.
_INPUT_TEXT: Final = re.compile(
    r'(?:[^"\\]|\\[^u]|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}'
    r"|\\u(?![dD][89abAB])[0-9a-fA-F]{4})*"
)
_log = structlog.get_logger(__name__)


def to_functions(
    tools: Sequence[Mapping[str, Any]], *, keeps_others: bool = False
) -> list[dict[str, Any]]:
    """Return the functions of the tools, and log the types of those that are left out.

    keeps_others: return the other tools too, as they are.
    """
    functions, left_out = list[dict[str, Any]](), set[str]()
    for namespace, tool in _flatten(tools):
        if tool.get("type") != "function":
            if keeps_others:
                functions.append(dict(tool))
                continue
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


def is_custom(tools: Sequence[Mapping[str, Any]], name: str) -> bool:
    """Return whether a called tool is one that takes a text instead of JSON."""
    return any(tool.get("type") == "custom" and tool.get("name") == name for tool in tools)


def write_input(text: Any) -> str:
    """Return the input of a custom tool as the arguments of a function."""
    return msgspec.json.encode({"input": text if isinstance(text, str) else ""}).decode()


def read_input(arguments: str) -> str:
    """Return the input of a custom tool as far as the arguments of a function have it.

    Arguments of another form are the input itself.
    """
    head = _INPUT_HEAD.match(arguments)
    if head is None:
        return "" if _INPUT_START.fullmatch(arguments) else arguments
    whole = _INPUT_TEXT.match(arguments, head.end())
    text: str = json.loads(f'"{whole[0] if whole else ""}"', strict=False)
    return text


def _flatten(tools: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield each tool with its namespace, which is empty outside of one."""
    for tool in tools:
        inner = tool.get("tools")
        if tool.get("type") == "namespace" and isinstance(inner, list):
            namespace = str(tool.get("name") or "")
            yield from ((namespace, each) for each in inner if isinstance(each, dict))
        else:
            yield "", tool
