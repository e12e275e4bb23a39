"""Parameters read out of the words of OpenAI's chat completions, for formats that have others.

Source: platform.openai.com, API reference, "Create chat completion". A tool or a tool choice that
is not chat's passes as it is, and so does a parameter that nobody here names: they may be the
upstream's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from hub.upstreams.chat_messages import decode_field, unsupported

NO_PARAMETERS: Final = {"type": "object", "properties": {}}  # of a tool that takes none


class Tool(msgspec.Struct, frozen=True, omit_defaults=True):
    """A function that the model may call. parameters: a JSON Schema."""

    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Named(msgspec.Struct, frozen=True):
    """A tool choice: this function."""

    name: str


def tools_of(params: dict[str, Any]) -> list[Tool | dict[str, Any]]:
    """The tools: functions, and what is the upstream's own. Raises UpstreamError."""
    tools = decode_field(params.get("tools") or [], list[dict[str, Any]], "tools")
    return [
        decode_field(tool["function"], Tool, f"tools[{n}].function") if "function" in tool else tool
        for n, tool in enumerate(tools)
    ]


def choice_of(params: dict[str, Any]) -> str | Named | dict[str, Any] | None:
    """`tool_choice`: a word, a function, or the upstream's own. Raises UpstreamError."""
    choice = params.get("tool_choice")
    if isinstance(choice, dict) and "function" in choice:
        named: Named = decode_field(choice["function"], Named, "tool_choice.function")
        return named
    if choice is None or isinstance(choice, str | dict):
        return choice
    raise unsupported("tool_choice is a word or an object")


def schema_of(params: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """`response_format`: its type (`text` unless told), and its schema with what belongs to it."""
    form = decode_field(params.get("response_format") or {}, dict[str, Any], "response_format")
    schema = decode_field(
        form.get("json_schema") or {}, dict[str, Any], "response_format.json_schema"
    )
    return str(form.get("type", "text")), schema


def effort_of(params: dict[str, Any]) -> str | None:
    """`reasoning_effort`. Raises UpstreamError."""
    effort: str | None = decode_field(
        params.get("reasoning_effort"), str | None, "reasoning_effort"
    )
    return effort


def nested(name: str, *layers: Mapping[str, Any]) -> dict[str, Any]:
    """What each layer says in its object `name`; a later one stands. Raises UpstreamError."""
    found: dict[str, Any] = {}
    for layer in layers:
        found |= decode_field(layer.get(name) or {}, dict[str, Any], name)
    return found


def given_params(params: dict[str, Any], *, refused: Sequence[str] = ()) -> dict[str, Any]:
    """The parameters that have a value. Raises UpstreamError for those that `refused` names, for
    audio and for more than one answer.
    """
    for name in ("audio", *refused):
        if params.get(name):
            raise unsupported(f"{name} cannot be passed on to this upstream; leave it out")
    if params.get("n") not in (None, 1):
        raise unsupported("one answer at a time: n is 1")
    return {name: value for name, value in params.items() if value is not None}


def renamed(
    params: dict[str, Any], names: dict[str, str], dropped: frozenset[str]
) -> dict[str, Any]:
    """The parameters by the format's names. Where two become one, the one that `names` has last
    stands.
    """
    rest = {k: v for k, v in params.items() if k not in names and k not in dropped}
    return rest | {new: params[old] for old, new in names.items() if old in params}
