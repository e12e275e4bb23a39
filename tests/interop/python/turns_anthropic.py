"""`anthropic` of PyPI: the application keeps the history, and runs the tools or the SDK does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anthropic

from tests.interop.python.scenario import Scenario
from tests.interop.python.turns import SCHEMA, Ask, run, weather

_TOOLS: Any = [{"name": "weather", "input_schema": SCHEMA}]
_UPSTREAMS = {"messages": "turns", "runner": "claude", "thinker": "thinker", "claude": "claude"}


class _Conversation:
    """model: `upstream/name`. The methods return the next answer."""

    def __init__(self, client: anthropic.AsyncAnthropic, model: str, *, is_stream: bool) -> None:
        self._client = client
        self._model = model
        self._is_stream = is_stream
        self._history: list[Any] = []

    async def messages(self, prompt: str) -> str:
        """Messages with the whole history."""
        self._history.append({"role": "user", "content": prompt})
        while True:
            message = await self._create()
            self._history.append({"role": "assistant", "content": message.content})
            calls = [block for block in message.content if block.type == "tool_use"]
            assert (message.stop_reason == "tool_use") is bool(calls)
            if not calls:
                return _text_of(message)
            results = [
                {"type": "tool_result", "tool_use_id": call.id, "content": weather(**call.input)}
                for call in calls
            ]
            self._history.append({"role": "user", "content": results})

    async def _create(self) -> Any:
        body: Any = {"model": self._model, "messages": self._history, "tools": _TOOLS}
        if not self._is_stream:
            return await self._client.messages.create(max_tokens=1024, **body)
        async with self._client.messages.stream(max_tokens=1024, **body) as stream:
            return await stream.get_final_message()

    async def runner(self, prompt: str) -> str:
        """The loop of the SDK, which runs the tools itself."""
        self._history.append({"role": "user", "content": prompt})
        tools: Any = [anthropic.beta_async_tool(_weather, name="weather")]
        running: Any = self._client.beta.messages.tool_runner(
            model=self._model,
            max_tokens=1024,
            messages=self._history,
            tools=tools,
            stream=self._is_stream,
        )
        message: Any = None
        async for each in running:
            message = await each.get_final_message() if self._is_stream else each
            self._history.append({"role": "assistant", "content": message.content})
            if (results := await running.generate_tool_call_response()) is not None:
                self._history.append(results)
        return _text_of(message)


async def _weather(city: str) -> str:
    """Return the weather in a city."""
    return weather(city)


def _text_of(message: Any) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


def conversations(scenario: Scenario) -> dict[str, Ask]:
    client = anthropic.AsyncAnthropic(base_url=scenario.url, api_key=scenario.token, timeout=60.0)
    kinds: dict[str, Callable[[_Conversation], Ask]] = {
        kind: lambda conversation: conversation.messages for kind in _UPSTREAMS
    }
    kinds["runner"] = lambda conversation: conversation.runner
    asks = {}
    for kind, choose in kinds.items():
        for read in ("stream", "whole"):
            name = f"anthropic-{kind}-{read}"
            model = f"{_UPSTREAMS[kind]}/{name}"
            asks[name] = choose(_Conversation(client, model, is_stream=read == "stream"))
    return asks


if __name__ == "__main__":
    run(conversations)
