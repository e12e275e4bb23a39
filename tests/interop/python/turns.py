"""Conversations of two prompts with a tool, held by an SDK at the same time.

Prints each answer as JSON: `{"client", "text"}`, or `{"client", "error"}` at the first error.
"""

from __future__ import annotations

import asyncio
import json
import sys
import traceback
from collections.abc import Awaitable, Callable, Mapping

from tests.interop.python.scenario import Scenario

PROMPTS = ("How is the weather in Tromsø?", "And in Köln and São Paulo?")
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
Ask = Callable[[str], Awaitable[str]]


def weather(city: str) -> str:
    """Return the weather in a city."""
    return f'rain in {city} "now" 🌧'


def run(open_conversations: Callable[[Scenario], Mapping[str, Ask]]) -> None:
    """Hold the conversations of an SDK, by their names; each function returns the next answer."""
    scenario = Scenario(sys.argv[1:])
    asyncio.run(_hold_all(scenario, open_conversations(scenario)))


async def _hold_all(scenario: Scenario, conversations: Mapping[str, Ask]) -> None:
    await asyncio.gather(*(_hold(scenario, *each) for each in conversations.items()))


async def _hold(scenario: Scenario, client: str, ask: Ask) -> None:
    try:
        for prompt in PROMPTS:
            answer = {"client": client, "text": await ask(prompt)}
            scenario.report("turn", None, json.dumps(answer))
    except Exception:  # noqa: BLE001 - the test shows it
        failure = {"client": client, "error": traceback.format_exc()}
        scenario.report("turn", None, json.dumps(failure))
