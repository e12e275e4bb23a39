"""hub.js in Chromium, on the real hub: many tabs, broken networks, proxies that buffer."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import jwt
import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Page, async_playwright, expect

from tests.conftest import missing
from tests.e2e.cluster import planted
from tests.e2e.conftest import Dev

PAGES = Path(__file__).parents[2] / "hub" / "web" / "pages"
pytestmark = pytest.mark.asyncio(loop_scope="module")  # one browser for all
_FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
_COUNTED = " ".join(str(n) for n in range(1, 121)) + "\n\n(simulated answer)"

# Notes every event that the page is handed, as it is handed over.
_RECORDER = """<!doctype html><title>recorder</title><script type="module">
import { connect } from "%s/hub.js";
const { joins, ...options } = JSON.parse(decodeURIComponent(location.hash.slice(1)));
window.heard = [];
window.ways = new Set();
window.hub = connect({ store: null, getToken: window.mint, ...options });
hub.on("*", ({ name, data }) => name.startsWith("hub.") || heard.push([name, data]));
hub.on("state", ({ state, way }) => state === "live" && ways.add(way));
hub.ready.then(() => (window.isReady = true));
window.answer = joins && hub.join(joins);
</script>"""


class Recorder:
    """A page without looks that holds a hub and what it heard."""

    def __init__(self, page: Page) -> None:
        self.page = page

    async def until(self, condition: str) -> None:
        """Returns once the JavaScript is true."""
        await self.page.wait_for_function(condition, timeout=20_000)

    async def ask(self, prompt: str) -> str:
        generation: str = await self.page.evaluate("(p) => hub.ask(p).accepted", prompt)
        return generation

    async def until_end(self) -> None:
        await self.until("heard.some(([name]) => name === 'generation.done')")

    async def count_deltas(self) -> list[int]:
        """Their numbers, in the order in which they were heard."""
        found: list[int] = await self.page.evaluate(
            "heard.filter(([name]) => name === 'generation.delta').map(([, data]) => data.i)"
        )
        return found

    async def text(self) -> str:
        found: str = await self.page.evaluate(
            "heard.filter(([name]) => name === 'generation.delta').map(([, d]) => d.text).join('')"
        )
        return found

    async def is_leader(self) -> bool:
        found: bool = await self.page.evaluate("hub.state.isLeader")
        return found

    async def expect_whole(self) -> None:
        """Every delta once and in order, and their text is the answer's."""
        numbers = await self.count_deltas()
        assert numbers == list(range(len(numbers)))
        assert await self.text() == _COUNTED


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    """The distribution's Chromium, headless."""
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        missing("chromium")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=_FLAGS)
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="module")
async def context(browser: Browser) -> AsyncIterator[BrowserContext]:
    """What all tabs of a test share, and no other test."""
    context = await browser.new_context()
    yield context
    await context.close()


async def record(
    context: BrowserContext,
    url: str,
    user: str | None,
    *,
    mint: Callable[..., str] | None = None,
    **options: Any,
) -> Recorder:
    """A recorder of this user at the hub that this URL leads to, live; `mint` is its getToken."""
    page = await context.new_page()
    page.on("pageerror", lambda error: pytest.fail(f"the page failed: {error}"))

    async def blank(route: Any) -> None:
        await route.fulfill(content_type="text/html", body=_RECORDER % url)

    await page.route("**/recorder", blank)
    if mint is not None:
        await page.expose_function("mint", mint)
    given = quote(json.dumps({"user": user, **options}))
    await page.goto(f"{url}/recorder#{given}")
    recorder = Recorder(page)
    await recorder.until("window.hub?.state.state === 'live' && window.isReady")
    return recorder


def connections_of(dev: Dev, user: str) -> int:
    total: int = dev.call("GET", f"/users/{user}", internal=True)["total"]
    return total


async def test_leader_closes_in_the_middle_of_an_answer(context: BrowserContext, dev: Dev) -> None:
    """Two tabs, a phone-sized window and the demo page follow one answer over one connection; the
    tab that holds it closes; nothing is lost, nothing comes twice, and one connection is left.
    """
    leader = await record(context, dev.url, "lea")
    tab = await record(context, dev.url, "lea")
    phone = await record(context, dev.url, "lea")
    await phone.page.set_viewport_size({"width": 360, "height": 740})
    shown = await context.new_page()
    await shown.goto(f"{dev.url}/?user=lea")
    assert [await each.is_leader() for each in (leader, tab, phone)] == [True, False, False]
    assert connections_of(dev, "lea") == 1

    generation = await tab.ask("count to 120")
    await phone.until("heard.length > 20")
    late = await record(context, dev.url, "lea", joins=generation)
    await leader.page.close()
    dev.publish("lea", {"n": 1})

    for each in (tab, phone):
        await each.until_end()
        await each.expect_whole()
        notes = await each.page.evaluate("heard.filter(([name]) => name === 'notification').length")
        assert notes == 1
    assert sorted([await tab.is_leader(), await phone.is_leader()]) == [False, True]
    assert await late.page.evaluate("answer.ended().then(({ text }) => text)") == _COUNTED
    text = shown.get_by_test_id("answer-text")
    await expect(text).to_have_text(_COUNTED, timeout=20_000)
    assert connections_of(dev, "lea") == 1


async def test_frozen_leader_is_replaced(context: BrowserContext, dev: Dev) -> None:
    """A tab that is looked at takes the lead from a frozen one, which follows once it thaws. The
    debugger freezes it: Chromium's own switch works on hidden pages only, and none is headless.
    """
    leader = await record(context, dev.url, "fran")
    tab = await record(context, dev.url, "fran")
    session = await context.new_cdp_session(leader.page)
    await session.send("Debugger.enable")
    await session.send("Debugger.pause")
    dev.publish("fran", {"n": 1})
    await tab.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    await tab.until("hub.state.isLeader && hub.state.state === 'live'")
    dev.publish("fran", {"n": 2})
    await session.send("Debugger.resume")
    await session.send("Debugger.disable")
    for each in (tab, leader):
        await each.until("heard.length >= 2")
        assert await each.page.evaluate("heard.map(([, data]) => data.n)") == [1, 2]
    await leader.until("!hub.state.isLeader")
    dev.publish("fran", {"n": 3})
    for each in (tab, leader):
        await each.until("heard.length >= 3")
        assert await each.page.evaluate("heard.map(([, data]) => data.n)") == [1, 2, 3]


async def test_leader_that_stood_behind(context: BrowserContext, dev: Dev) -> None:
    """What a new leader resumes, a tab that stood further has seen; what an older one still says,
    nobody takes.
    """
    leader = await record(context, dev.url, "bea")
    tab = await record(context, dev.url, "bea")
    before = await tab.page.evaluate("hub.cursor")
    for n in (1, 2):
        dev.publish("bea", {"n": n})
    await tab.until("heard.length === 2")
    heard = await leader.page.evaluate(
        """async ([name, at]) => {
            const channel = new BroadcastChannel(name);
            const term = Date.now() + 1000;
            const say = (kind, more) => channel.postMessage({ kind, term, ...more });
            const seen = { name: "notification", data: { n: 2 }, id: hub.cursor };
            say("here", { n: 0, at, state: { ...hub.state } });
            say("event", { n: 0, event: seen });
            say("event", { term: 1, n: 0, event: { name: "x", data: { n: 0 } } });
            say("event", { n: 1, event: { name: "x", data: { n: 3 } } });
            return heard.map(([, data]) => data.n);
        }""",
        [f"hub {dev.url} bea", before],
    )
    await tab.until("heard.some(([name]) => name === 'x')")
    assert await tab.page.evaluate("heard.map(([, data]) => data.n)") == [1, 2, 3]
    assert heard == [1, 2]


async def test_late_tab_reads_the_log_itself(context: BrowserContext, dev: Dev) -> None:
    """A tab that begins at the start gets what was before it, then what the leader hears."""
    dev.publish("lara", {"n": 1})
    await record(context, dev.url, "lara")
    dev.publish("lara", {"n": 2})
    late = await record(context, dev.url, "lara", cursor="start")
    dev.publish("lara", {"n": 3})
    await late.until("heard.length >= 3")
    assert await late.page.evaluate("heard.map(([, data]) => data.n)") == [1, 2, 3]
    assert not await late.is_leader()


async def test_reload_goes_on_from_the_stored_cursor(context: BrowserContext, dev: Dev) -> None:
    """What was seen before a reload is not seen again; what came meanwhile is."""
    tab = await record(context, dev.url, "rita", store="session")
    dev.publish("rita", {"n": 1})
    await tab.until("heard.length === 1")
    url = tab.page.url
    await tab.page.goto("about:blank")
    dev.publish("rita", {"n": 2})
    await tab.page.goto(url)
    await tab.until("window.heard?.length >= 1 && window.isReady")
    assert await tab.page.evaluate("heard.map(([, data]) => data.n)") == [2]


async def test_network_that_is_gone_and_back(context: BrowserContext, dev: Dev) -> None:
    """With the network back the page is there at once, and has what came meanwhile, once."""
    tab = await record(context, dev.url, "olga")
    await context.set_offline(True)
    dev.publish("olga", {"n": 1})
    await context.set_offline(False)
    dev.publish("olga", {"n": 2})
    await tab.until("heard.length >= 2 && hub.state.state === 'live'")
    assert await tab.page.evaluate("heard.map(([, data]) => data.n)") == [1, 2]


class Proxy:
    """Stands before the hub. What streams it passes on, holds back, or cuts off."""

    def __init__(self, port: int, *, holds_back: bool) -> None:
        self._port = port
        self._holds_back = holds_back
        self._streams: list[asyncio.StreamWriter] = []
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection of the browser, which asks several things on it."""
        back, forth = await asyncio.open_connection("127.0.0.1", self._port)

        async def asks() -> None:
            while part := await reader.read(65536):
                if re.match(rb"GET /sse/", part):
                    self._streams.append(writer)
                forth.write(part)

        async def answers() -> None:
            while part := await back.read(65536):
                if not (self._holds_back and writer in self._streams):
                    writer.write(part)

        sides = [asyncio.ensure_future(asks()), asyncio.ensure_future(answers())]
        try:
            await asyncio.wait(sides, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for side in sides:
                side.cancel()
            for end in (writer, forth):
                end.close()

    def cut(self) -> None:
        """Every stream, in the middle."""
        for stream in self._streams:
            stream.transport.abort()


@asynccontextmanager
async def before(dev: Dev, *, holds_back: bool = False) -> AsyncIterator[Proxy]:
    """A proxy before the hub."""
    proxy = Proxy(dev.port, holds_back=holds_back)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield proxy
    server.close()


async def test_cut_in_the_middle_of_an_answer(context: BrowserContext, dev: Dev) -> None:
    """The stream is cut off twice; every delta is there, once."""
    async with before(dev) as proxy:
        tab = await record(context, proxy.url, "cora")
        await tab.ask("count to 120")
        for heard in (10, 40):
            await tab.until(f"heard.length > {heard}")
            proxy.cut()
        await tab.until_end()
        await tab.expect_whole()
        assert await tab.page.evaluate("[...ways]") == ["sse"]


async def test_behind_a_proxy_that_buffers(context: BrowserContext, dev: Dev) -> None:
    """Nothing streams through: the page polls, and has every delta, once."""
    async with before(dev, holds_back=True) as proxy:
        tab = await record(context, proxy.url, "paula", openPatienceMs=500)
        await tab.ask("count to 120")
        await tab.until_end()
        await tab.expect_whole()
        assert await tab.page.evaluate("[...ways]") == ["poll"]


async def test_page_of_another_site_imports_it(context: BrowserContext, dev: Dev) -> None:
    """The module loads across origins; what it may ask of the hub is another matter."""
    page = await context.new_page()
    await page.goto(f"http://localhost:{dev.port}/nowhere")
    found = await page.evaluate("(url) => import(url).then(Object.keys)", f"{dev.url}/hub.js")
    assert {"connect", "HubError"} <= set(found)


async def from_disk(route: Any) -> None:
    """A file of the demo page, which this node does not serve."""
    name = urlsplit(route.request.url).path.rpartition("/")[2] or "demo.html"
    await route.fulfill(path=PAGES / "demo" / name)


async def test_tokens_are_renewed_on_the_way(context: BrowserContext) -> None:
    """On a node with tokens and without the demo page: a token that ends is renewed ahead, and
    nothing is missed. The demo page, if it were there, takes its token from the fragment.
    """
    secret, minted = "s" * 64, list[str]()

    def mint(why: dict[str, str] | None = None, *, seconds: float = 3.0) -> str:
        minted.append((why or {}).get("reason", ""))
        return jwt.encode({"sub": "tom", "exp": time.time() + seconds}, secret)

    async with planted() as plant:
        plant.setting("AUTH__DISABLED", False)
        plant.setting("AUTH__HMAC_SECRET", secret)
        plant.setting("AUTH__API_KEYS", [{"key": "k" * 40, "scopes": ["publish"]}])
        await plant.upstream("main", tokens_per_second=60)
        await plant.start()
        await plant.worker()
        async with plant.session.get(f"{plant.url}/") as answer:
            assert answer.status == 404
        tab = await record(context, plant.url, "tom", mint=mint)
        await tab.ask("count to 120")
        await tab.until_end()
        await tab.expect_whole()
        assert minted[0] == "connect"
        assert "expiring" in minted

        page = await context.new_page()
        await page.route(re.compile(r":\d+/($|#|demo/)"), from_disk)
        await page.goto(f"{plant.url}/#token={mint(seconds=60)}")
        await expect(page.get_by_test_id("answer-text")).to_have_text(_COUNTED, timeout=20_000)
        await expect(page.get_by_test_id("user")).to_have_value("tom")


async def test_tabs_of_users_that_only_their_tokens_name(context: BrowserContext) -> None:
    """Who logs in as another user in one tab is told nothing of the other one's, and all of its
    own: without `user` or `token` no tab knows whose connection it would share.
    """
    secret = "s" * 64
    async with planted() as plant:
        plant.setting("AUTH__DISABLED", False)
        plant.setting("AUTH__HMAC_SECRET", secret)
        plant.setting("AUTH__API_KEYS", [{"key": "k" * 40, "scopes": ["publish"]}])
        await plant.start()

        def mint_for(user: str) -> Callable[..., str]:
            return lambda why=None: jwt.encode({"sub": user, "exp": time.time() + 600}, secret)

        tabs = {
            user: await record(context, plant.url, None, mint=mint_for(user))
            for user in ("ann", "ben")
        }
        for user in tabs:
            body = {"to": {"user": user}, "event": "note", "data": user}
            headers = {"Authorization": "Bearer " + "k" * 40}
            url = f"{plant.internal_url}/publish"
            async with plant.session.post(url, json=body, headers=headers) as answer:
                assert answer.status == 200
        for user, tab in tabs.items():
            await tab.until("heard.length > 0")
            assert await tab.page.evaluate("heard") == [["note", user]]
