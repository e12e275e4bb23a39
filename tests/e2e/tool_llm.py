"""An LLM over HTTP that sends reasoning, calls the tools it is given, and uses their results."""

from __future__ import annotations

import json
from typing import Any

from aiohttp import web


class ToolLlm:
    """A chat completions server. requests: the bodies that it received.

    reasons: whether its answers begin with reasoning.
    """

    def __init__(self, *, reasons: bool = True) -> None:
        self._reasoning = ["Let me ", "see."] if reasons else []
        self.requests: list[dict[str, Any]] = []

    def app(self) -> web.Application:
        """Return the application that streams chat completions."""
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self._answer)
        return app

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.requests.append(body)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        last = body["messages"][-1]
        if body.get("tools") and last["role"] != "tool":
            deltas, reason = _calls(body["tools"]), "tool_calls"
        else:
            text = last["content"] if isinstance(last["content"], str) else "parts"
            deltas, reason = [{"content": "It is "}, {"content": f"{text}."}], "stop"
        reasoning = [{"reasoning_content": text} for text in self._reasoning]
        for delta in [*reasoning, *deltas]:
            await _send(response, {"choices": [{"index": 0, "delta": delta}]})
        await _send(response, {"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
        usage = {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}
        await _send(response, {"choices": [], "usage": usage})
        await response.write(b"data: [DONE]\n\n")
        return response


def _calls(tools: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return deltas that call each tool once, with interleaved arguments."""
    opening, first, second = [], [], []
    for index, tool in enumerate(tools):
        function = {"name": tool["function"]["name"], "arguments": ""}
        call = {"index": index, "id": f"call_{index}", "type": "function", "function": function}
        opening.append({"tool_calls": [call]})
        first.append({"tool_calls": [{"index": index, "function": {"arguments": '{"city":'}}]})
        second.append({"tool_calls": [{"index": index, "function": {"arguments": ' "Oslo"}'}}]})
    return [*opening, *first, *second]


async def _send(response: web.StreamResponse, chunk: dict[str, Any]) -> None:
    await response.write(b"data: %b\n\n" % json.dumps(chunk).encode())
