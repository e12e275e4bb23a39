"""What is peculiar to clients in a browser."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.interop.clients import CLIENTS
from tests.interop.conftest import Programs
from tests.interop.hub_site import Site
from tests.interop.programs import Program

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.usefixtures("silence"),  # which takes its time beside them
]
(EVENT_SOURCE,) = (client for client in CLIENTS if client.program == "eventsource_browser")
(FETCH_EVENT_SOURCE,) = (client for client in CLIENTS if client.program == "fetch_event_source")
_SHOWN = """hidden => {
  Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
  document.dispatchEvent(new Event("visibilitychange"));
}"""


def folded(it: Program) -> str:
    """The answer's text as a user's page would show it."""
    text = ""
    for event in it.heard:
        data = json.loads(event.data)
        if event.name == "generation.snapshot":
            text = data["text"]
        elif event.name == "generation.delta":
            text += data["text"]
    return text


async def test_event_source_sends_no_headers(hub: Site, programs: Programs) -> None:
    """It does not know such an option; refused with 401 it stays closed."""
    browser = await programs.browser()
    async with browser.page("story", scenarios="listen", url=hub.url, token="-", count=1) as made:
        state = await made[1].evaluate(
            """([url, headers]) => new Promise((resolve) => {
              const source = new EventSource(url, { headers });
              source.onerror = () => resolve(source.readyState);
              source.addEventListener("hub.open", () => resolve("open"));
            })""",
            [f"{hub.url}/sse/connect", {"Authorization": f"Bearer {hub.token('alice')}"}],
        )
    assert state == 2  # CLOSED


@pytest.mark.parametrize("way", ["access_token", "ticket"])
async def test_event_source_with_its_token_in_the_url(
    hub: Site, programs: Programs, way: str
) -> None:
    """It comes back with the same URL: a ticket is good for that."""
    user = hub.user()
    secret = hub.token(user) if way == "access_token" else await hub.ticket(user)
    browser = await programs.browser()
    async with hub.proxied() as (proxy, url):
        asked: dict[str, Any] = {"scenarios": "listen", "url": url, "count": 2}
        asked["token"] = f"{way}={secret}"
        async with browser.page(EVENT_SOURCE.program, **asked) as (it, _):
            await it.until(lambda it: it.of("hub.open"))
            await hub.publish(user, ["one"])
            await it.until(lambda it: it.of("note"))
            proxy.reset_all()
            await hub.publish(user, ["two"])
            await it.until(lambda it: it.closed)
    assert [event.data for event in it.of("note")] == ["one", "two"]


async def test_event_source_that_nobody_closes(hub: Site, programs: Programs) -> None:
    """After an answer's end it comes once more, is told that there is no more, and stays away."""
    user = hub.user()
    async with programs.start(EVENT_SOURCE, "answer", user, 1) as it:
        await it.finished()
    assert it.ends == ["comes again", "closed for good"]
    assert len(it.of("generation.done")) == 1
    assert folded(it).startswith("1 2 3 4 5")


async def test_fetch_event_source_comes_back_from_a_break_alone(
    hub: Site, programs: Programs
) -> None:
    """A broken connection is opened again; where the hub ended the stream it resolves."""
    async with (
        hub.proxied() as (proxy, url),
        programs.start(FETCH_EVENT_SOURCE, "listen", hub.user(), 1, url) as it,
    ):
        await it.until(lambda it: it.of("hub.open"))
        proxy.target = hub.restless
        proxy.reset_all()
        await it.until(lambda it: len(it.of("hub.open")) == 2)
        proxy.target = hub.steady
        await it.finished()
    assert len(it.ends) == 2
    assert it.ends[1] == "over"


@pytest.mark.parametrize(("key", "started"), [("once", 1), (None, 2)])
async def test_tab_that_was_hidden_asks_again(
    hub: Site, programs: Programs, key: str | None, started: int
) -> None:
    """fetch-event-source repeats its POST; with an Idempotency-Key that joins the same answer."""
    user, before = hub.user(), (await hub.cluster.stats("MAIN"))["started"]
    browser = await programs.browser()
    asked = {"scenarios": "answer", "url": hub.url, "token": hub.token(user), "count": 1}
    async with browser.page(FETCH_EVENT_SOURCE.program, **asked, once=key) as (it, page):
        await it.until(lambda it: len(it.of("generation.delta")) >= 5)
        await page.evaluate(_SHOWN, True)
        await hub.until_gone(user)
        await page.evaluate(_SHOWN, False)
        await it.finished()
    assert len(it.by_generation()) == started
    assert (await hub.cluster.stats("MAIN"))["started"] - before == started
    counted = " ".join(map(str, range(1, 61)))
    assert folded(it) == f"{counted}\n\n(simulated answer)"
    assert len(it.of("generation.done")) == 1


@pytest.mark.parametrize("runtime", ["chromium", "node"])
async def test_fetch_stops_and_restarts(hub: Site, programs: Programs, runtime: str) -> None:
    """An aborted answer is stopped; restarted it is another one, read to its end."""
    (client,) = (
        each for each in CLIENTS if each.program == "fetch_abort" and each.runtime == runtime
    )
    user = hub.user()
    async with programs.start(client, "restart", user, 5) as it:
        await it.finished()
    first, second = it.by_generation()
    stopped = await hub.until_status(user, first, "stopped")
    done = await hub.generation(user, second)
    assert (done["status"], done["messages"]) == ("done", stopped["messages"])
    events = it.by_generation()[second]
    assert [event.name for event in events].count("generation.done") == 1
    assert events[-1].name == "generation.done"
