"""The tools that a chat offers beside its messages, as assistant-ui sends those of its client.

`tools` is an object: each name has a `description` and the JSON Schema of the `parameters`
(`inputSchema` in the AI SDK). The tools join those of `params.tools`.
"""

from __future__ import annotations

from typing import Any

from hub.errors import BadRequest


def with_tools(params: dict[str, Any], tools: dict[str, Any] | None) -> dict[str, Any]:
    """Return the parameters with the tools in OpenAI's format. Raise BadRequest."""
    if not tools:
        return params
    given = params.get("tools")
    functions = [_function(name, tool) for name, tool in tools.items()]
    return {**params, "tools": [*(given if isinstance(given, list) else []), *functions]}


def _function(name: str, tool: Any) -> dict[str, Any]:
    path = f"tools.{name}"
    if not isinstance(tool, dict):
        raise BadRequest(f"{path} must be an object with description and parameters", path=path)
    schema = tool.get("parameters", tool.get("inputSchema"))
    if schema is not None and not isinstance(schema, dict):
        raise BadRequest(f"{path}.parameters must be a JSON Schema", path=path)
    function = {"name": name, "description": tool.get("description"), "parameters": schema}
    given = {field: value for field, value in function.items() if value is not None}
    return {"type": "function", "function": given}
