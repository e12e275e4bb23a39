"""Test the peculiarities of clients in a browser."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.interop.clients import CLIENTS
from tests.interop.conftest import Programs
from tests.interop.programs import Program
from tests.interop.running_hub import RunningHub

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.usefixtures("silence"),  # runs in parallel and takes 11 s
]
(EVENT_SOURCE,) = (client for client in CLIENTS if client.program == "eventsource_browser")
(FETCH_EVENT_SOURCE,) = (client for client in CLIENTS if client.program == "fetch_event_source")
_SET_HIDDEN = """hidden => {
  Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
  document.dispatchEvent(new Event("visibilitychange"));
}"""


def fold_text(program: Program) -> str:
    """Return the text of the answer as a page would show it."""
    text = ""
    for event in program.events:
        data = json.loads(event.data)
        if event.name == "generation.snapshot":
            text = data["text"]
        elif event.name == "generation.delta":
            text += data["text"]
    return text


async def test_event_source_sends_no_headers(hub: RunningHub, programs: Programs) -> None:
    """EventSource ignores the option `headers` and stays closed after a 401."""
    browser = await programs.browser()
    options: dict[str, Any] = {"scenarios": "listen", "url": hub.url, "token": "-", "count": 1}
    async with browser.page("none", **options) as (_, page):
        state = await page.evaluate(
            """([url, headers]) => new Promise((resolve) => {
              const source = new EventSource(url, { headers });
              source.onerror = () => resolve(source.readyState);
              source.addEventListener("hub.open", () => resolve("open"));
            })""",
            [f"{hub.url}/sse/connect", {"Authorization": f"Bearer {hub.token('alice')}"}],
        )
    assert state == 2  # CLOSED


@pytest.mark.parametrize("parameter", ["access_token", "ticket"])
async def test_event_source_with_its_token_in_the_url(
    hub: RunningHub, programs: Programs, parameter: str
) -> None:
    """EventSource reconnects with the same URL, and a ticket remains valid for that."""
    user = hub.user()
    secret = hub.token(user) if parameter == "access_token" else await hub.ticket(user)
    browser = await programs.browser()
    async with hub.proxied() as (proxy, url):
        options: dict[str, Any] = {"scenarios": "listen", "url": url, "count": 2}
        options["token"] = f"{parameter}={secret}"
        async with browser.page(EVENT_SOURCE.program, **options) as (program, _):
            await program.until(lambda program: program.named("hub.open"))
            await hub.publish(user, ["one"])
            await program.until(lambda program: program.named("note"))
            proxy.reset_all()
            await hub.publish(user, ["two"])
            await program.until(lambda program: program.closed)
    assert [event.data for event in program.named("note")] == ["one", "two"]


async def test_event_source_without_a_close(hub: RunningHub, programs: Programs) -> None:
    """After the end of an answer, EventSource reconnects once and then stays closed."""
    user = hub.user()
    async with programs.start(EVENT_SOURCE, "answer", user, 1) as program:
        await program.wait_finished()
    assert program.ends == ["reconnecting", "closed"]
    assert len(program.named("generation.done")) == 1
    assert fold_text(program).startswith("1 2 3 4 5")


async def test_fetch_event_source_reconnects_only_after_a_break(
    hub: RunningHub, programs: Programs
) -> None:
    """The library reconnects after a break, but not after the hub has ended the stream."""
    async with (
        hub.proxied() as (proxy, url),
        programs.start(FETCH_EVENT_SOURCE, "listen", hub.user(), 1, url) as program,
    ):
        await program.until(lambda program: program.named("hub.open"))
        proxy.target = hub.expiring_node
        proxy.reset_all()
        # On a slow machine, the hub may end the second stream before it has begun.
        await program.until(lambda program: len(program.named("hub.open")) == 2 or program.ended)
        proxy.target = hub.main_node
        await program.wait_finished()
    assert len(program.ends) == 2
    assert program.ends[1] == "over"


@pytest.mark.parametrize(("key", "started"), [("once", 1), (None, 2)])
async def test_hidden_tab_repeats_its_request(
    hub: RunningHub, programs: Programs, key: str | None, started: int
) -> None:
    """fetch-event-source repeats its POST; an Idempotency-Key makes it join the same answer."""
    user, before = hub.user(), (await hub.cluster.stats("MAIN"))["started"]
    browser = await programs.browser()
    options = {"scenarios": "answer", "url": hub.url, "token": hub.token(user), "count": 1}
    hub.cluster.set_speed("MAIN", 10.0)  # the answer must outlive the moment when the tab is hidden
    try:
        async with browser.page(FETCH_EVENT_SOURCE.program, **options, once=key) as (program, page):
            await program.until(lambda program: len(program.named("generation.delta")) >= 5)
            hub.cluster.set_speed("MAIN", 2.0)  # so that it outlives that also on a busy machine
            await page.evaluate(_SET_HIDDEN, True)
            await hub.wait_disconnected(user)
            await page.evaluate(_SET_HIDDEN, False)
            hub.cluster.set_speed("MAIN", 100.0)
            await program.wait_finished()
    finally:
        hub.cluster.set_speed("MAIN", 100.0)
    assert len(program.by_generation()) == started
    assert (await hub.cluster.stats("MAIN"))["started"] - before == started
    counted = " ".join(map(str, range(1, 61)))
    assert fold_text(program) == f"{counted}\n\n(simulated answer)"
    assert len(program.named("generation.done")) == 1


@pytest.mark.parametrize("runtime", ["chromium", "node"])
async def test_fetch_stops_and_restarts(hub: RunningHub, programs: Programs, runtime: str) -> None:
    """An aborted answer is stopped; a restart is another generation, read to its end."""
    (client,) = (
        each for each in CLIENTS if each.program == "fetch_abort" and each.runtime == runtime
    )
    user = hub.user()
    async with programs.start(client, "restart", user, 5) as program:
        await program.wait_finished()
    first, second = program.by_generation()
    stopped = await hub.wait_for_status(user, first, "stopped")
    done = await hub.generation(user, second)
    assert (done["status"], done["messages"]) == ("done", stopped["messages"])
    events = program.by_generation()[second]
    assert [event.name for event in events].count("generation.done") == 1
    assert events[-1].name == "generation.done"
