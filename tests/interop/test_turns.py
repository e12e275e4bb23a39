"""SDKs and agents hold conversations of two turns with tools; the LLM gets the exact history.

The first prompt needs one call of the tool, the second one two parallel calls. All programs run at
the same time.
"""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
import pytest_asyncio

from tests.interop.codex import hold_conversations
from tests.interop.programs import node_command, python_command, run_process, script_command
from tests.interop.python.turns import PROMPTS
from tests.interop.running_hub import RunningHub
from tests.interop.turn_clients import TURN_CLIENTS
from tests.interop.weather_llm import Line, result_of

_TIMEOUT_SECONDS = 300.0  # all programs start at the same time, some with modules to compile
pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.timeout(_TIMEOUT_SECONDS + 60),
]
Turns = dict[str, list[dict[str, Any]]]
"""By the conversation: the text of each turn, or the client's error."""
_COMMANDS = {
    "node": (node_command, "turns"),
    "openai": (python_command, "turns_openai"),
    "anthropic": (python_command, "turns_anthropic"),
    "agents": (script_command, "turns_agents"),
    "llama_index": (script_command, "turns_llama_index"),
}
_TEXTS = [
    'Simulated: rain in Tromsø "now" 🌧.',
    'Simulated: rain in Köln "now" 🌧; rain in São Paulo "now" 🌧.',
]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def running(
    request: pytest.FixtureRequest, hub: RunningHub, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[dict[str, asyncio.Task[Turns]]]:
    """Start the programs of all selected tests; yield their tasks by their names."""
    items = [item for item in request.session.items if isinstance(item, pytest.Function)]
    callspecs = [item.callspec for item in items if hasattr(item, "callspec")]
    selected = {str(each.params["program"]) for each in callspecs if "program" in each.params}
    folder = tmp_path_factory.mktemp("codex")

    async def run(program: str) -> Turns:
        user = hub.user()
        if program == "codex":
            return _by_client(await hold_conversations(hub.url, hub.token(user), folder))
        build, name = _COMMANDS[program]
        command = await asyncio.to_thread(build, name, "read", hub.url, hub.token(user), "1")
        async with run_process(command) as process:
            await process.wait_finished(_TIMEOUT_SECONDS)
        return _by_client([json.loads(event.data) for event in process.named("turn")])

    tasks = {program: asyncio.create_task(run(program)) for program in sorted(selected)}
    yield tasks
    for task in tasks.values():
        task.cancel()
    await asyncio.gather(*tasks.values(), return_exceptions=True)


@pytest.mark.parametrize(
    ("name", "keeps_reasoning", "program"),
    [
        pytest.param(name, keeps_reasoning, client.program, id=name)
        for client in TURN_CLIENTS
        for name, keeps_reasoning in client.conversations()
    ],
)
async def test_two_turns_with_tools(
    name: str,
    keeps_reasoning: bool,
    program: str,
    hub: RunningHub,
    running: dict[str, asyncio.Task[Turns]],
) -> None:
    """The user gets both texts, and the LLM the whole conversation, each line of it once."""
    turns = (await running[program])[name]
    assert [turn.get("text", turn.get("error")) for turn in turns] == _TEXTS
    (llm,) = (llm for llm in hub.weather.values() if name in llm.requests)
    first, first_text, second, _ = llm.answers[name]
    conversation = [
        ("user", PROMPTS[0]),
        *(*first, *map(result_of, _calls(first)), *first_text),
        ("user", PROMPTS[1]),
        *(*second, *map(result_of, _calls(second))),
    ]
    if not keeps_reasoning:
        conversation = [line for line in conversation if line[0] != "reasoning"]
    assert [
        _plain(line) for line in llm.requests[name][-1] if _is_of_the_conversation(line)
    ] == conversation


def _by_client(turns: Sequence[dict[str, Any]]) -> Turns:
    by_client = defaultdict(list)
    for turn in turns:
        by_client[turn["client"]].append(turn)
    return by_client


def _calls(lines: Sequence[Line]) -> list[Line]:
    return [line for line in lines if line[0] == "call"]


def _is_of_the_conversation(line: Line) -> bool:
    """Return whether a line is neither an instruction nor what Codex CLI tells of its folder."""
    return line[0] not in ("system", "developer") and not str(line[1]).startswith("<environment_")


def _plain(line: Line) -> Line:
    """Return a line without what Codex CLI says of a command before its output."""
    return (*line[:2], line[2].splitlines()[-1]) if line[0] == "result" else line
