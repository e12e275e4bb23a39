"""`openai` of PyPI: the application keeps the history and runs the tools."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import openai

from tests.interop.python.scenario import Scenario
from tests.interop.python.turns import SCHEMA, Ask, run, weather

_FUNCTION: Any = {"name": "weather", "parameters": SCHEMA}
_CHAT_TOOLS: Any = [{"type": "function", "function": _FUNCTION}]
_TOOLS: Any = [{"type": "function", **_FUNCTION, "strict": True}]


class _Conversation:
    """model: `upstream/name`. The methods return the next answer."""

    def __init__(self, client: openai.AsyncOpenAI, model: str, *, is_stream: bool) -> None:
        self._client = client
        self._model = model
        self._is_stream = is_stream
        self._history: list[Any] = []
        self._previous: Any = openai.omit

    async def chat(self, prompt: str) -> str:
        """Chat completions with the whole history."""
        self._history.append({"role": "user", "content": prompt})
        while True:
            message = await self._complete()
            self._history.append(message)
            if not message.tool_calls:
                return message.content or ""
            for call in message.tool_calls:
                result = weather(**json.loads(call.function.arguments))
                self._history.append({"role": "tool", "tool_call_id": call.id, "content": result})

    async def _complete(self) -> Any:
        body: Any = {"model": self._model, "messages": self._history, "tools": _CHAT_TOOLS}
        if not self._is_stream:
            completion: Any = await self._client.chat.completions.create(**body)
        else:
            async with self._client.chat.completions.stream(**body) as stream:
                completion = await stream.get_final_completion()
        return completion.choices[0].message

    async def previous(self, prompt: str) -> str:
        """Responses: a request has only what is new, and names the response before it."""
        new: list[Any] = [{"role": "user", "content": prompt}]
        while True:
            response = await self._respond(input=new, previous_response_id=self._previous)
            self._previous, new = response.id, _results(response)
            if not new:
                return str(response.output_text)

    async def thinker(self, prompt: str) -> str:
        """Responses with the whole history, and reasoning in its encrypted form."""
        self._history.append({"role": "user", "content": prompt})
        while True:
            include = ["reasoning.encrypted_content"]
            response = await self._respond(input=self._history, store=False, include=include)
            results = _results(response)
            self._history += [*response.output, *results]
            if not results:
                return str(response.output_text)

    async def _respond(self, **body: Any) -> Any:
        body |= {"model": self._model, "tools": _TOOLS}
        if not self._is_stream:
            return await self._client.responses.create(**body)
        async with self._client.responses.stream(**body) as stream:
            return await stream.get_final_response()


def _results(response: Any) -> list[Any]:
    return [
        {
            "type": "function_call_output",
            "call_id": item.call_id,
            "output": weather(**json.loads(item.arguments)),
        }
        for item in response.output
        if item.type == "function_call"
    ]


def conversations(scenario: Scenario) -> dict[str, Ask]:
    url = f"{scenario.url}/v1"
    client = openai.AsyncOpenAI(base_url=url, api_key=scenario.token, timeout=60.0)
    kinds: dict[str, Callable[[_Conversation], Ask]] = {
        "chat": lambda conversation: conversation.chat,
        "previous": lambda conversation: conversation.previous,
        "thinker": lambda conversation: conversation.thinker,
    }
    asks = {}
    for kind, choose in kinds.items():
        for read in ("stream", "whole"):
            name = f"openai-{kind}-{read}"
            model = f"{'thinker' if kind == 'thinker' else 'turns'}/{name}"
            asks[name] = choose(_Conversation(client, model, is_stream=read == "stream"))
    return asks


if __name__ == "__main__":
    run(conversations)
