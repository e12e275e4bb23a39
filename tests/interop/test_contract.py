"""What every client must get from the hub, by its own means."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.interop.clients import CLIENTS, Client
from tests.interop.conftest import Programs
from tests.interop.hub_site import Site

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.usefixtures("silence"),  # which takes its time beside them
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


def data_of(number: int) -> Any:
    """Of the note with this number: mostly JSON, every fifth a string as it is."""
    if number == COUNT // 2:
        return {"n": number, "text": LARGE}
    text = TEXTS[number % len(TEXTS)]
    return text if number % 5 == 0 else {"n": number, "text": text}


def shown(client: Client, data: Any) -> str:
    """What the client must make of it."""
    if not isinstance(data, str):
        return json.dumps(data)
    return data[1:] if data.startswith(client.loses_at_start) else data


@every_client
async def test_thousand_events_over_two_drops(
    client: Client, hub: Site, programs: Programs
) -> None:
    """Each exactly, in order, once: over a broken connection and a stream that the hub ends."""
    user, notes = hub.user(), [data_of(number) for number in range(COUNT)]
    scenario = "listen" if client.comes_again else "listen-again"
    async with (
        hub.proxied() as (proxy, url),
        programs.start(client, scenario, user, COUNT, url=url) as it,
    ):
        await it.until(lambda it: it.of("hub.open"))
        await hub.publish(user, notes[:300])
        await it.until(lambda it: len(it.of("note")) == 300)

        proxy.target = hub.restless
        proxy.reset_all()
        await hub.publish(user, notes[300:500])  # while it is away
        await it.until(lambda it: len(it.of("hub.open")) == 2)
        proxy.target = hub.steady
        await it.until(lambda it: len(it.of("hub.open")) == 3)

        await hub.publish(user, notes[500:800])
        await it.until(lambda it: len(it.of("note")) == 800)
        await hub.publish(user, notes[800:])
        await it.until(lambda it: it.closed)
        await hub.until_gone(user)
    found = [event.data for event in it.of("note")]
    for number, (data, note) in enumerate(zip(found, notes, strict=True)):
        if isinstance(note, str):
            assert data == shown(client, note), number
        else:
            assert json.loads(data) == note, number
    assert not it.of("hub.reset")
    assert [json.loads(event.data)["reason"] for event in it.of("hub.bye")] == ["max_age"]
    if client.after_break == "by hand":  # the library gave up twice, and the program went on
        assert len(it.ends) == 2


@every_client
async def test_stopping_an_answer(client: Client, hub: Site, programs: Programs) -> None:
    """By hanging up, which `on_disconnect` makes a stop; or by DELETE, and read to its end."""
    user, scenarios = hub.user(), "+".join(client.stops)
    async with programs.start(client, scenarios, user, 5) as it:
        await it.finished()
    answers = it.by_generation()
    assert len(answers) == len(client.stops)
    for scenario, (generation, events) in zip(client.stops, answers.items(), strict=True):
        found = await hub.until_status(user, generation, "stopped")
        seen = "".join(
            json.loads(event.data)["text"]
            for event in events
            if event.name in {"generation.snapshot", "generation.delta"}
        )
        if scenario == "hangup":
            assert it.closed
            assert found["text"].startswith(seen)
        else:
            assert events[-1].name == "generation.stopped"
            assert found["text"] == seen
    assert (await hub.cluster.stats("MAIN"))["running"] == 0
