"""The Python client and `hub ask` show all parts of an answer."""

from __future__ import annotations

import json

import pytest

from hub.cli.answer_printer import print_answer
from hub_client import HubClient, Part, Snapshot
from tests.http.test_parts import OF_PRODUCED, PRODUCED, answering_hub


async def test_parts_of_an_answer() -> None:
    """An answer has its parts at the end, also one that is joined after it."""
    async with (
        answering_hub(PRODUCED) as hub,
        HubClient(f"http://127.0.0.1:{hub.port}", user="alice") as client,
    ):
        answer = await client.ask("hi")
        events = [event async for event in answer.events()]
        assert (answer.parts, answer.current_text) == (OF_PRODUCED, "ab")
        parts = [event for event in events if isinstance(event, Part)]
        assert parts[0].fields == {"text": "Searching"}
        assert [part.type for part in parts] == [
            *["status", "step_start", "tool_result", "step_end", "source", "status"],
            *["data", "data", "data", "file"],
        ]
        joined = client.join(answer.id)
        first = await anext(joined.events())
        assert isinstance(first, Snapshot)
        assert first.parts == joined.parts == OF_PRODUCED
        assert await joined.text() == "ab"


@pytest.mark.parametrize("as_json", [False, True])
async def test_command_prints_parts(as_json: bool, capsys: pytest.CaptureFixture[str]) -> None:
    """`hub ask` prints what the producer does to standard error; with --json each event."""
    async with (
        answering_hub(PRODUCED) as hub,
        HubClient(f"http://127.0.0.1:{hub.port}", user="alice") as client,
    ):
        assert await print_answer(await client.ask("hi"), as_json=as_json) is None
    printed = capsys.readouterr()
    if as_json:
        events = [json.loads(line) for line in printed.out.splitlines() if line.startswith("{")]
        (source,) = [event for event in events if event.get("type") == "source"]
        assert source.pop("generation")
        assert source == {
            "event": "generation.part",
            "i": 5,
            "type": "source",
            "url": "https://a.example",
            "title": "A",
            "id": "s",
        }
    else:
        notes = [line for line in printed.err.splitlines() if line.startswith("(")]
        assert notes == [
            *("(Searching)", "(step: search)", "(tool: find)", '(tool result: {"hits": 2})'),
            *("(source: A, https://a.example)", "(Writing)", '(state: {"n": 1})', "(tick: 1)"),
            *('(state: {"n": 2})', "(file: https://a.example/f.png)"),
        ]
        assert "Searching" not in printed.out
