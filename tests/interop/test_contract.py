"""Test that every client receives all events and can stop answers."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tests.interop.clients import CLIENTS, Client
from tests.interop.conftest import Programs
from tests.interop.programs import Program
from tests.interop.running_hub import RunningHub

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.usefixtures("silence"),  # runs in parallel and takes 11 s
]
every_client = pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)

TEXTS = (
    "你好，世界：流式传输",
    "🌅👩\u200d👩\u200d👧\u200d👦🇨🇳",  # beyond the BMP, joined
    "e\u0301 and ñ, combining",
    "one\u2028line\u2029still\u0085one",
    "\nleading newline",
    "  leading spaces",
    "",
    "two\nlines\n\nand a blank",
    "trailing\n",
    "data: id: event: retry:",
    ": hb",
    "\ufeffmark inside",
    'tab\tand \\ and " and \u007f',
    "שלום \u200f\u200e العربية",
    "\u200d",
    " ",
)
COUNT = 1000
LARGE = "大" * 65_000  # 195,000 bytes on one line


def make_data(number: int) -> Any:
    """Return the data of an event: JSON, and a plain string for every fifth number."""
    if number == COUNT // 2:
        return {"n": number, "text": LARGE}
    text = TEXTS[number % len(TEXTS)]
    return text if number % 5 == 0 else {"n": number, "text": text}


def expected_data(client: Client, data: Any) -> str:
    """Return the data as the client must report it."""
    if not isinstance(data, str):
        return json.dumps(data)
    return data[1:] if data.startswith(client.loses_at_start) else data


def _has_returned(program: Program) -> bool:
    """Return whether the last stream has begun after the one that the hub ended.

    On a slow machine that one may be over before it has begun; it then has only its `hub.bye`.
    """
    names = [event.name for event in program.events if event.name in ("hub.open", "hub.bye")]
    return "hub.bye" in names and names[-1] == "hub.open"


@every_client
async def test_thousand_events_over_two_drops(
    client: Client, hub: RunningHub, programs: Programs
) -> None:
    """Each event arrives once, in order and unchanged, over a break and an end by the hub."""
    user, notes = hub.user(), [make_data(number) for number in range(COUNT)]
    scenario = "listen" if client.reconnects else "listen-again"
    async with (
        hub.proxied() as (proxy, url),
        programs.start(client, scenario, user, COUNT, url=url) as program,
    ):
        await program.until(lambda program: program.named("hub.open"))
        await hub.publish(user, notes[:300])
        await program.until(lambda program: len(program.named("note")) == 300)

        proxy.divert(hub.expiring_node)  # for one connection, however busy this machine is
        proxy.reset_all()
        await hub.publish(user, notes[300:500])  # while it is disconnected
        await program.until(_has_returned)

        await hub.publish(user, notes[500:800])
        await program.until(lambda program: len(program.named("note")) == 800)
        await hub.publish(user, notes[800:])
        await program.until(lambda program: program.closed)
        await hub.wait_disconnected(user)
    received = [event.data for event in program.named("note")]
    for number, (data, note) in enumerate(zip(received, notes, strict=True)):
        if isinstance(note, str):
            assert data == expected_data(client, note), number
        else:
            assert json.loads(data) == note, number
    assert not program.named("hub.reset")
    assert [json.loads(event.data)["reason"] for event in program.named("hub.bye")] == ["max_age"]
    if client.after_break == "by hand":  # the library ended twice, and the program reconnected
        assert len(program.ends) == 2


@every_client
async def test_stopping_an_answer(client: Client, hub: RunningHub, programs: Programs) -> None:
    """Each client stops an answer by disconnecting (`on_disconnect: stop`), or with DELETE."""
    user, scenarios = hub.user(), "+".join(client.stops)
    async with programs.start(client, scenarios, user, 5) as program:
        await program.wait_finished()
    answers = program.by_generation()
    assert len(answers) == len(client.stops)
    for scenario, (generation, events) in zip(client.stops, answers.items(), strict=True):
        snapshot = await hub.wait_for_status(user, generation, "stopped")
        seen = "".join(
            json.loads(event.data)["text"]
            for event in events
            if event.name in {"generation.snapshot", "generation.delta"}
        )
        if scenario == "hangup":
            assert program.closed
            assert snapshot["text"].startswith(seen)
        else:
            assert events[-1].name == "generation.stopped"
            assert snapshot["text"] == seen
    async with asyncio.timeout(60):
        while (await hub.cluster.stats("MAIN"))["running"]:
            await asyncio.sleep(0.02)
