"""hub.js in Chromium with a real hub: many tabs, broken networks, buffering proxies."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import jwt
import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Page, expect

from tests.chromium import new_context
from tests.e2e.cluster import create_cluster
from tests.e2e.conftest import Dev

PAGES = Path(__file__).parents[2] / "hub" / "http" / "pages"
pytestmark = pytest.mark.asyncio(loop_scope="session")  # the browser's
_COUNTED = " ".join(str(n) for n in range(1, 121)) + "\n\n(simulated answer)"

# Records every event in the order in which hub.js delivers it.
_RECORDER = """<!doctype html><title>recorder</title><script type="module">
import { connect } from "%s/hub.js";
const { joins, ...options } = JSON.parse(decodeURIComponent(location.hash.slice(1)));
window.received = [];
window.transports = new Set();
window.hub = connect({ store: null, getToken: window.mint, ...options });
hub.on("*", ({ name, data }) => name.startsWith("hub.") || received.push([name, data]));
hub.on("state", ({ state, transport }) => state === "live" && transports.add(transport));
hub.ready.then(() => (window.isReady = true));
window.answer = joins && hub.join(joins);
</script>"""

_TEXT = (
    "received.filter(([name]) => name === 'generation.delta').map(([, data]) => data.text).join('')"
)


class Recorder:
    """A page that holds a hub and records its events."""

    def __init__(self, page: Page) -> None:
        self.page = page

    async def until(self, condition: str) -> None:
        """Wait until the JavaScript expression is true."""
        await self.page.wait_for_function(condition, timeout=60_000)

    async def ask(self, prompt: str) -> str:
        generation: str = await self.page.evaluate("(p) => hub.ask(p).accepted", prompt)
        return generation

    async def until_text(self, characters: int) -> None:
        """Wait until the answer has more characters. A busy hub sends it in a few large deltas."""
        await self.until(f"{_TEXT}.length > {characters}")

    async def until_end(self) -> None:
        await self.until("received.some(([name]) => name === 'generation.done')")

    async def delta_numbers(self) -> list[int]:
        """Return the numbers of the deltas in the order of delivery."""
        numbers: list[int] = await self.page.evaluate(
            "received.filter(([name]) => name === 'generation.delta').map(([, data]) => data.i)"
        )
        return numbers

    async def text(self) -> str:
        text: str = await self.page.evaluate(_TEXT)
        return text

    async def is_leader(self) -> bool:
        is_leader: bool = await self.page.evaluate("hub.state.isLeader")
        return is_leader

    async def expect_whole(self) -> None:
        """Check that every delta was delivered once and in order."""
        numbers = await self.delta_numbers()
        assert numbers == list(range(len(numbers)))
        assert await self.text() == _COUNTED


@pytest_asyncio.fixture(loop_scope="session")
async def context(browser: Browser) -> BrowserContext:
    """The browser context that all tabs of one test share."""
    return await new_context(browser)


async def record(
    context: BrowserContext,
    url: str,
    user: str | None,
    *,
    mint: Callable[..., str] | None = None,
    **options: Any,
) -> Recorder:
    """Open a recorder for the user at this URL and wait until it is live. mint: its getToken."""
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


async def until_one_connection(dev: Dev, user: str) -> None:
    """Wait until the user has one connection. On a busy machine a leader that is silent for two
    seconds is replaced, and both connections are open until it notices.
    """
    async with asyncio.timeout(60):
        while dev.call("GET", f"/users/{user}", internal=True)["total"] != 1:
            await asyncio.sleep(0.05)


async def leader_of(recorders: list[Recorder]) -> Recorder:
    """Wait until one of the recorders is the leader of all tabs, and return it."""
    async with asyncio.timeout(60):
        while True:
            leaders = [each for each in recorders if await each.is_leader()]
            if len(leaders) == 1:
                return leaders[0]
            await asyncio.sleep(0.05)


async def test_leader_closes_in_the_middle_of_an_answer(context: BrowserContext, dev: Dev) -> None:
    """Two tabs, a small window and the demo page follow one answer over one connection. When the
    leader closes, no event is lost or delivered twice, and one connection remains.
    """
    # Tabs share a connection if they follow the same topics; the demo page follows this one.
    recorders = [await record(context, dev.url, "lea", topics=["lobby"]) for _ in range(3)]
    leader = await leader_of(recorders)
    tab, phone = (each for each in recorders if each is not leader)
    await phone.page.set_viewport_size({"width": 360, "height": 740})
    shown = await context.new_page()
    await shown.goto(f"{dev.url}/?user=lea")
    await until_one_connection(dev, "lea")

    generation = await tab.ask("count to 120")
    await phone.until_text(40)
    late = await record(context, dev.url, "lea", joins=generation, topics=["lobby"])
    await leader.page.close()
    dev.publish("lea", {"n": 1})

    for each in (tab, phone):
        await each.until_end()
        await each.expect_whole()
        await each.until("received.some(([name]) => name === 'notification')")
        notes = await each.page.evaluate(
            "received.filter(([name]) => name === 'notification').length"
        )
        assert notes == 1
    assert await late.page.evaluate("answer.ended().then(({ text }) => text)") == _COUNTED
    text = shown.get_by_test_id("answer-text")
    await expect(text).to_have_text(_COUNTED, timeout=60_000)
    await until_one_connection(dev, "lea")


async def test_frozen_leader_is_replaced(context: BrowserContext, dev: Dev) -> None:
    """A visible tab takes the lead from a frozen leader, which becomes a follower when it resumes.
    The debugger freezes the page: Chromium's own switch works on hidden pages only, and headless
    pages are never hidden.
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
        await each.until("received.length >= 2")
        assert await each.page.evaluate("received.map(([, data]) => data.n)") == [1, 2]
    await leader.until("!hub.state.isLeader")
    dev.publish("fran", {"n": 3})
    for each in (tab, leader):
        await each.until("received.length >= 3")
        assert await each.page.evaluate("received.map(([, data]) => data.n)") == [1, 2, 3]


async def test_new_leader_with_an_older_position(context: BrowserContext, dev: Dev) -> None:
    """A tab ignores events that it has seen already when a new leader replays them, and messages
    of an older term.
    """
    leader = await record(context, dev.url, "bea")
    tab = await record(context, dev.url, "bea")
    before = await tab.page.evaluate("hub.cursor")
    for n in (1, 2):
        dev.publish("bea", {"n": n})
    await tab.until("received.length === 2")
    received = await leader.page.evaluate(
        """async ([name, cursor]) => {
            const channel = new BroadcastChannel(name);
            const term = Date.now() + 1000;
            const send = (kind, more) => channel.postMessage({ kind, term, ...more });
            const seen = { name: "notification", data: { n: 2 }, id: hub.cursor };
            send("state", { number: 0, cursor, state: { ...hub.state } });
            send("event", { number: 0, event: seen });
            send("event", { term: 1, number: 0, event: { name: "x", data: { n: 0 } } });
            send("event", { number: 1, event: { name: "x", data: { n: 3 } } });
            return received.map(([, data]) => data.n);
        }""",
        [f"hub {dev.url} bea", before],
    )
    await tab.until("received.some(([name]) => name === 'x')")
    assert await tab.page.evaluate("received.map(([, data]) => data.n)") == [1, 2, 3]
    assert received == [1, 2]


async def test_late_tab_reads_the_log_itself(context: BrowserContext, dev: Dev) -> None:
    """A tab with the cursor `start` gets the stored events, then the events of the leader."""
    dev.publish("lara", {"n": 1})
    await record(context, dev.url, "lara")
    dev.publish("lara", {"n": 2})
    late = await record(context, dev.url, "lara", cursor="start")
    dev.publish("lara", {"n": 3})
    await late.until("received.length >= 3")
    assert await late.page.evaluate("received.map(([, data]) => data.n)") == [1, 2, 3]
    assert not await late.is_leader()


async def test_reload_continues_from_the_stored_cursor(context: BrowserContext, dev: Dev) -> None:
    """After a reload, the page gets the events that arrived meanwhile, and no earlier event."""
    tab = await record(context, dev.url, "rita", store="session")
    dev.publish("rita", {"n": 1})
    await tab.until("received.length === 1")
    url = tab.page.url
    await tab.page.goto("about:blank")
    dev.publish("rita", {"n": 2})
    await tab.page.goto(url)
    await tab.until("window.received?.length >= 1 && window.isReady")
    assert await tab.page.evaluate("received.map(([, data]) => data.n)") == [2]


async def test_network_outage(context: BrowserContext, dev: Dev) -> None:
    """When the network is back, the page reconnects at once and gets each missed event once."""
    tab = await record(context, dev.url, "olga")
    await context.set_offline(True)
    dev.publish("olga", {"n": 1})
    await context.set_offline(False)
    dev.publish("olga", {"n": 2})
    await tab.until("received.length >= 2 && hub.state.state === 'live'")
    assert await tab.page.evaluate("received.map(([, data]) => data.n)") == [1, 2]


class Proxy:
    """A proxy before the hub that can buffer streams or cut them off."""

    def __init__(self, port: int, *, buffers: bool) -> None:
        self._port = port
        self._buffers = buffers
        self._streams: list[asyncio.StreamWriter] = []
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection of the browser, which may send several requests."""
        hub_reader, hub_writer = await asyncio.open_connection("127.0.0.1", self._port)

        async def forward_requests() -> None:
            while data := await reader.read(65536):
                if re.match(rb"GET /sse/", data):
                    self._streams.append(writer)
                hub_writer.write(data)

        async def forward_responses() -> None:
            while data := await hub_reader.read(65536):
                if not (self._buffers and writer in self._streams):
                    writer.write(data)

        tasks = [
            asyncio.ensure_future(forward_requests()),
            asyncio.ensure_future(forward_responses()),
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            for each in (writer, hub_writer):
                each.close()

    def cut(self) -> None:
        """Abort the TCP connection of every stream."""
        for stream in self._streams:
            stream.transport.abort()


@asynccontextmanager
async def running_proxy(dev: Dev, *, buffers: bool = False) -> AsyncIterator[Proxy]:
    """Start a proxy before the hub."""
    proxy = Proxy(dev.port, buffers=buffers)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield proxy
    finally:
        server.close()


async def test_cut_in_the_middle_of_an_answer(context: BrowserContext, dev: Dev) -> None:
    """The stream is cut off twice, and every delta is delivered once."""
    async with running_proxy(dev) as proxy:
        tab = await record(context, proxy.url, "cora", openTimeoutMs=60_000)  # it need not poll
        await tab.ask("count to 120")
        for characters in (20, 100):
            await tab.until_text(characters)
            proxy.cut()
        await tab.until_end()
        await tab.expect_whole()
        assert await tab.page.evaluate("[...transports]") == ["sse"]


async def test_behind_a_proxy_that_buffers(context: BrowserContext, dev: Dev) -> None:
    """A proxy buffers streams: the page polls, and every delta is delivered once."""
    async with running_proxy(dev, buffers=True) as proxy:
        tab = await record(context, proxy.url, "paula", openTimeoutMs=500)
        await tab.ask("count to 120")
        await tab.until_end()
        await tab.expect_whole()
        assert await tab.page.evaluate("[...transports]") == ["poll"]


async def test_page_of_another_site_imports_it(context: BrowserContext, dev: Dev) -> None:
    """A page of another origin can import the module."""
    page = await context.new_page()
    await page.goto(f"http://localhost:{dev.port}/nowhere")
    exports = await page.evaluate("(url) => import(url).then(Object.keys)", f"{dev.url}/hub.js")
    assert {"connect", "HubError"} <= set(exports)


async def test_error_has_the_code_of_the_hub(context: BrowserContext, dev: Dev) -> None:
    """A HubError has the code of the problem document, and null for the page of a proxy."""
    page = await context.new_page()
    await page.goto(f"{dev.url}/nowhere")
    codes = await page.evaluate(
        """async (url) => {
            const { HubError } = await import(url);
            const proxy = new Response("<p>", { status: 502 });
            const responses = [await fetch("/generations/none"), proxy];
            const errors = await Promise.all(responses.map((each) => HubError.fromResponse(each)));
            return errors.map((error) => [error.status, error.code]);
        }""",
        f"{dev.url}/hub.js",
    )
    assert codes == [[400, "user_required"], [502, None]]


async def from_disk(route: Any) -> None:
    """Serve a file of the demo page from disk, because this node does not serve it."""
    path = urlsplit(route.request.url).path.removeprefix("/")
    if path:
        await route.fulfill(path=PAGES / path)
        return
    page = (PAGES / "demo" / "demo.html").read_text()
    dev, other = (f'<meta name="hub-dev" content="{value}">' for value in ("true", "false"))
    assert dev in page
    await route.fulfill(body=page.replace(dev, other), content_type="text/html")


async def test_tokens_are_renewed_before_they_expire(context: BrowserContext) -> None:
    """On a node that requires tokens, a token is renewed before it expires, and no event is lost.
    The demo page takes its token from the fragment of the URL.
    """
    secret, minted = "s" * 64, list[str]()

    def mint(why: dict[str, str] | None = None, *, seconds: float = 3.0) -> str:
        minted.append((why or {}).get("reason", ""))
        return jwt.encode({"sub": "tom", "exp": time.time() + seconds}, secret)

    async with create_cluster() as cluster:
        cluster.set("AUTH__DISABLED", False)
        cluster.set("AUTH__HMAC_SECRET", secret)
        cluster.set("AUTH__API_KEYS", [{"key": "k" * 40, "scopes": ["publish"]}])
        await cluster.add_upstream("main", tokens_per_second=60)
        await cluster.start()
        await cluster.start_worker()
        async with cluster.session.get(f"{cluster.url}/") as answer:
            assert answer.status == 404
        tab = await record(context, cluster.url, "tom", mint=mint)
        await tab.ask("count to 120")
        await tab.until_end()
        await tab.expect_whole()
        assert minted[0] == "connect"
        assert "expiring" in minted

        page = await context.new_page()
        await page.route(re.compile(r":\d+/($|#|demo/|vendor/)"), from_disk)
        await page.goto(f"{cluster.url}/#token={mint(seconds=60)}")
        await expect(page.get_by_test_id("answer-text")).to_have_text(_COUNTED, timeout=60_000)
        await expect(page.get_by_test_id("user")).to_have_value("tom")


async def test_tabs_of_different_users_do_not_share(context: BrowserContext) -> None:
    """Two tabs with different users and only getToken get their own events and not the other's:
    without `user` or `token`, tabs do not share a connection.
    """
    secret = "s" * 64
    async with create_cluster() as cluster:
        cluster.set("AUTH__DISABLED", False)
        cluster.set("AUTH__HMAC_SECRET", secret)
        cluster.set("AUTH__API_KEYS", [{"key": "k" * 40, "scopes": ["publish"]}])
        await cluster.start()

        def mint_for(user: str) -> Callable[..., str]:
            return lambda why=None: jwt.encode({"sub": user, "exp": time.time() + 600}, secret)

        tabs = {
            user: await record(context, cluster.url, None, mint=mint_for(user))
            for user in ("ann", "ben")
        }
        for user in tabs:
            body = {"to": {"user": user}, "event": "note", "data": user}
            headers = {"Authorization": "Bearer " + "k" * 40}
            url = f"{cluster.internal_url}/publish"
            async with cluster.session.post(url, json=body, headers=headers) as answer:
                assert answer.status == 200
        for user, tab in tabs.items():
            await tab.until("received.length > 0")
            assert await tab.page.evaluate("received") == [["note", user]]
