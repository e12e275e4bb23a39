"""<hub-inbox> in Chromium with a real hub, on a page with a strict Content-Security-Policy."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Locator, Page, expect

from tests.chromium import new_context
from tests.conftest import missing
from tests.e2e.conftest import Dev

ROOT = Path(__file__).parents[2]
AXE = ROOT / "tests" / "pages" / "node_modules" / "axe-core" / "axe.min.js"
PHONE = {"width": 390, "height": 760}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'"
)
_TIMEOUT_MS = 60_000
_AXE_RUN = """axe.run("hub-inbox").then(({ violations }) => violations.map(
  (each) => `${each.id}: ${each.nodes.map((node) => node.failureSummary).join("; ")}`))"""
_PAGE = """<!doctype html><html lang="{lang}" dir="{direction}"><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1"><title>Shop</title>
<link rel="stylesheet" href="/shop.css"><link rel="icon" href="data:,">
<script type="module" src="/hub-inbox.js"></script>
<header><b>Shop</b><hub-inbox user="{user}" {attributes}></hub-inbox></header>
<main><h1>Orders</h1><p>Order 981 is on its way.</p></main></html>"""
_STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { margin: 0; } main { padding: 0 1rem; }
header { display: flex; justify-content: space-between; align-items: center; padding: .5rem 1rem; }
"""

pytestmark = pytest.mark.asyncio(loop_scope="session")  # the browser's


class Shop:
    """Pages of a shop with <hub-inbox>, all of one user."""

    def __init__(self, browser: Browser, dev: Dev, user: str) -> None:
        self._browser = browser
        self.dev = dev
        self.user = user
        self.problems: list[str] = []

    def publish(self, title: str, *, inbox: Any = True, topic: str = "", **data: Any) -> None:
        """Publish an event that is kept."""
        to = {"topic": topic} if topic else {"user": self.user}
        body = {"to": to, "event": "notification", "data": {"title": title, **data}}
        self.dev.call("POST", "/publish", {**body, "inbox": inbox}, internal=True)

    def counts(self) -> dict[str, Any]:
        """Return the user's counts as the hub knows them."""
        counts: dict[str, Any] = self.dev.call("GET", f"/inbox?user={self.user}&limit=1")
        return counts

    async def open(
        self,
        context: BrowserContext | None = None,
        *,
        lang: str = "en",
        direction: str = "ltr",
        attributes: str = "",
        policy: str = POLICY,
        **options: Any,
    ) -> Bell:
        """Open a page, in a browser of its own without a context, and wait until it is live."""
        context = context or await new_context(self._browser, **options)
        page = await context.new_page()
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("console", lambda message: self._note(message.type, message.text))
        html = _PAGE.format(lang=lang, direction=direction, user=self.user, attributes=attributes)

        async def serve(route: Any) -> None:
            is_page = not route.request.url.endswith(".css")
            await route.fulfill(
                content_type="text/html" if is_page else "text/css",
                body=html if is_page else _STYLE,
                headers={"Content-Security-Policy": policy},
            )

        await page.route(re.compile(r"/(shop(\.css)?|files/.*)$"), serve)
        await page.goto(f"{self.dev.url}/shop")
        return Bell(page)

    def _note(self, kind: str, text: str) -> None:
        if kind == "error" and "net::ERR_" not in text:  # the test cuts the network
            self.problems.append(text)


class Bell:
    """<hub-inbox> on one page."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.element = page.locator("hub-inbox")
        self.button = self.element.locator("[part=bell]")
        self.count = self.element.locator("[part=count]")
        self.panel = self.element.get_by_role("dialog")
        self.items = self.element.get_by_role("listitem")
        self.status = self.element.get_by_role("status")

    def titles(self) -> Locator:
        return self.element.locator("[part=item-title]")

    async def expect_number(self, number: int) -> None:
        """Expect the number on the button, and none for 0."""
        if number == 0:
            await expect(self.count).to_be_hidden(timeout=_TIMEOUT_MS)
        else:
            await expect(self.count).to_have_text(str(number), timeout=_TIMEOUT_MS)

    async def expect_titles(self, *titles: str) -> None:
        await expect(self.titles()).to_have_text(list(titles), timeout=_TIMEOUT_MS)

    async def press(self, *keys: str) -> None:
        for key in keys:
            await self.page.keyboard.press(key)

    async def violations(self) -> list[str]:
        """Return what axe reports about the page."""
        if not AXE.exists():
            missing("axe-core, which scripts/test installs,")
        session = await self.page.context.new_cdp_session(self.page)
        await session.send("Runtime.evaluate", {"expression": AXE.read_text()})
        result = await session.send(
            "Runtime.evaluate",
            {
                "expression": _AXE_RUN,
                "awaitPromise": True,
                "returnByValue": True,
            },
        )
        violations: list[str] = result["result"]["value"]
        return violations


@pytest_asyncio.fixture(loop_scope="session")
async def shop(browser: Browser, dev: Dev, request: pytest.FixtureRequest) -> AsyncIterator[Shop]:
    """The shop of a user of the test's own. An error on its pages fails the test."""
    user = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).strip("-")
    shop = Shop(browser, dev, user)
    yield shop
    assert shop.problems == []


async def test_number_and_panel(shop: Shop) -> None:
    """The number is that of the unread items. Opening the panel marks them as seen, not as read."""
    for title in ("one", "two"):
        shop.publish(title)
    bell = await shop.open()
    await bell.expect_number(2)
    await expect(bell.button).to_have_attribute("aria-label", "Notifications, 2 unread")
    await bell.button.click()
    await bell.expect_titles("two", "one")
    await expect(bell.button).to_have_attribute("aria-expanded", "true")
    shop.publish("three")
    await bell.expect_titles("three", "two", "one")
    await bell.expect_number(3)
    await expect(bell.status).to_have_text("New notification: three")
    async with asyncio.timeout(60):
        while shop.counts()["unseen"]:
            await asyncio.sleep(0.05)
    counts = shop.counts()
    assert (counts["unread"], counts["unseen"]) == (3, 0)


async def test_keyboard(shop: Shop) -> None:
    """Everything works without a pointer, and the focus is never lost."""
    for title in ("three", "two", "one"):
        shop.publish(title)
    bell = await shop.open()
    await bell.expect_number(3)
    await bell.press("Tab", "Enter")
    await expect(bell.panel.get_by_role("heading")).to_be_focused()
    await bell.expect_titles("one", "two", "three")
    await bell.press("ArrowDown")
    await expect(bell.items.nth(0).locator("[part=item-main]")).to_be_focused()
    await bell.press("Enter")  # an item without a link is marked as read
    await bell.expect_number(2)
    await expect(bell.items.nth(0).locator("[part=item-main]")).to_be_focused()
    await bell.press("Tab", "Tab", "Enter")  # its buttons: unread, archive
    await bell.expect_titles("two", "three")
    await expect(bell.items.nth(0).locator("[part=item-main]")).to_be_focused()
    await bell.press("End", "Delete")
    await bell.expect_titles("two")
    await expect(bell.items.nth(0).locator("[part=item-main]")).to_be_focused()
    await bell.press("Delete")
    await expect(bell.panel.get_by_text("No notifications", exact=True)).to_be_visible()
    await expect(bell.panel.get_by_role("heading")).to_be_focused()
    await bell.press("Escape")
    await expect(bell.panel).to_be_hidden()
    await expect(bell.button).to_be_focused()
    await bell.expect_number(0)


async def test_focus_stays_while_items_arrive(shop: Shop) -> None:
    """The focus stays on its item while another one is replaced and moves to the top."""
    shop.publish("one")
    shop.publish("at 10 %", inbox={"key": "export"})
    bell = await shop.open()
    await bell.expect_number(2)
    await bell.button.click()
    await bell.expect_titles("at 10 %", "one")
    await bell.press("ArrowDown", "ArrowDown")
    focused = bell.items.filter(has_text="one").locator("[part=item-main]")
    await expect(focused).to_be_focused()
    shop.publish("at 100 %", inbox={"key": "export"})
    await bell.expect_titles("at 100 %", "one")
    await bell.expect_number(2)
    await expect(focused).to_be_focused()


VARIANTS: dict[str, dict[str, Any]] = {
    "light": {},
    "dark": {"color_scheme": "dark"},
    "phone": {"viewport": PHONE},
    "rtl": {"lang": "ar", "direction": "rtl"},
    "chinese": {"lang": "zh-CN", "color_scheme": "dark", "viewport": PHONE},
}


@pytest.mark.parametrize("variant", VARIANTS)
async def test_accessibility(shop: Shop, variant: str) -> None:
    """axe finds nothing, and the panel is within the window: closed, with items, and empty."""
    is_chinese = variant == "chinese"
    shop.publish("订单 981 已发货" if is_chinese else "Order 981 has shipped", url="/files/981")
    shop.publish(
        "导出完成" if is_chinese else "Your export is ready",
        body="q3.xlsx，共 12,480 行。" if is_chinese else "q3.xlsx has 12,480 rows.",
        url="/files/q3.xlsx",
        icon="📦",
    )
    options = {"viewport": {"width": 760, "height": 420}, **VARIANTS[variant]}
    bell = await shop.open(**options)
    await bell.expect_number(2)
    await bell.button.click()
    await expect(bell.items).to_have_count(2)
    await bell.items.nth(1).locator("[part~=action-read]").click()
    await bell.expect_number(1)
    await expect_within_window(bell)
    assert await bell.violations() == []
    if variant != "light":
        return
    for left in (1, 0):
        await bell.items.nth(0).locator("[part~=action-archive]").click()
        await expect(bell.items).to_have_count(left)
    assert await bell.violations() == []
    await bell.press("Escape")
    assert await bell.violations() == []


async def expect_within_window(bell: Bell) -> None:
    box = await bell.panel.bounding_box()
    size = bell.page.viewport_size
    assert box is not None
    assert size is not None
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= size["width"]
    assert box["y"] + box["height"] <= size["height"]
    width = await bell.page.evaluate("document.documentElement.scrollWidth")
    assert width <= size["width"]


async def test_what_is_read_is_not_announced_as_new(shop: Shop) -> None:
    """The announcement of a new item is dropped if the user reads all items before it is made."""
    bell = await shop.open()
    await bell.button.click()
    # The clock of the page stands still, so the announcement of the item waits.
    await bell.page.clock.install()
    await bell.page.clock.pause_at(datetime.now(UTC) + timedelta(seconds=1))
    shop.publish("one")
    await bell.expect_number(1)
    await bell.panel.get_by_role("button", name="Mark all as read").click()
    await bell.expect_number(0)
    await expect(bell.status).to_have_text("All notifications are read.")
    await bell.page.clock.run_for(2_000)
    await expect(bell.status).to_have_text("All notifications are read.")


async def test_two_tabs_and_a_phone_agree(shop: Shop) -> None:
    """Two tabs of one browser, a phone and a reload show the same number after each change."""
    tab = await shop.open()
    other_tab = await shop.open(tab.page.context)
    phone = await shop.open(viewport=PHONE)
    devices = [tab, other_tab, phone]

    async def expect_all(number: int) -> None:
        for device in devices:
            await device.expect_number(number)
        assert shop.counts()["unread"] == number

    await expect_all(0)
    for n in range(4):
        shop.publish(f"item {n}")
    await expect_all(4)
    await phone.button.click()
    await phone.items.nth(0).locator("[part=item-main]").click()
    await expect_all(3)
    await other_tab.button.click()
    await other_tab.items.nth(1).locator("[part~=action-archive]").click()
    await expect_all(2)
    await phone.expect_titles("item 3", "item 1", "item 0")
    await tab.page.reload()
    await expect_all(2)
    await tab.page.context.set_offline(True)
    shop.publish("while offline")
    await phone.expect_number(3)
    await tab.page.context.set_offline(False)
    await expect_all(3)
    await phone.panel.get_by_role("button", name="Mark all as read").click()
    await expect_all(0)
    await expect(phone.status).to_have_text("All notifications are read.")


async def test_urls(shop: Shop) -> None:
    """Only http and https URLs are links. A link that is followed marks its item as read."""
    urls = ["javascript:alert(1)", "data:text/html,x", "https://a.example/", "/files/1", 5]
    for url in urls:
        shop.publish(str(url), url=url)
    bell = await shop.open()
    await bell.expect_number(5)
    await bell.button.click()
    await expect(bell.items).to_have_count(5)
    opened = await bell.element.get_by_role("link").evaluate_all("all => all.map((a) => a.href)")
    assert opened == [f"{shop.dev.url}/files/1", "https://a.example/"]
    await bell.element.get_by_role("link", name="/files/1").click()
    await bell.page.wait_for_url("**/files/1")
    await bell.expect_number(4)


async def test_page_opens_an_item_itself(shop: Shop) -> None:
    """A page that cancels `item-open` gets the item, and the browser does not follow the link."""
    shop.publish("order", url="/files/1", order=981)
    bell = await shop.open()
    await bell.expect_number(1)
    await bell.element.evaluate(
        """(element) => element.addEventListener("item-open", (event) => {
            event.preventDefault();
            document.title = event.detail.item.data.order;
        })"""
    )
    await bell.button.click()
    await bell.element.get_by_role("link").click()
    await expect(bell.page).to_have_title("981")
    await bell.expect_number(0)
    await expect(bell.panel).to_be_hidden()
    assert bell.page.url.endswith("/shop")


async def test_load_more(shop: Shop) -> None:
    """Older items are loaded on demand, and the first of them gets the focus."""
    for n in range(5):
        shop.publish(f"item {n}")
    bell = await shop.open(attributes='limit="2"')
    await bell.expect_number(5)
    await bell.button.click()
    await bell.expect_titles("item 4", "item 3")
    more = bell.element.get_by_role("button", name="Load more")
    await more.click()
    await bell.expect_titles("item 4", "item 3", "item 2", "item 1")
    await expect(bell.items.nth(2).locator("[part=item-main]")).to_be_focused()
    shop.publish("item 5")
    await more.click()
    await bell.expect_titles(*(f"item {n}" for n in (5, 4, 3, 2, 1, 0)))
    await expect(more).to_be_hidden()


async def test_hub_is_away(shop: Shop) -> None:
    """The panel says that the items could not be loaded, and loads them when asked again."""
    shop.publish("one")
    bell = await shop.open()
    await bell.expect_number(1)
    await bell.page.route("**/inbox?*", lambda route: route.abort())
    await bell.button.click()
    await expect(bell.panel).to_contain_text("The notifications could not be loaded.")
    again = bell.element.locator("button", has_text="Try again")
    await expect(again).to_be_visible()
    await bell.page.unroute("**/inbox?*")
    await again.dispatch_event("click")  # also if the list has tried again itself meanwhile
    await bell.expect_titles("one")
    await bell.page.route("**/inbox/read*", lambda route: route.fulfill(status=403))
    await bell.items.nth(0).locator("[part~=action-read]").click()
    await expect(bell.panel).to_contain_text("The change could not be saved.")
    await expect(bell.status).to_contain_text("The change could not be saved.")
    await bell.expect_number(1)
    assert all("403" in problem for problem in shop.problems)
    shop.problems.clear()


async def test_texts(shop: Shop) -> None:
    """The texts are those of the page's language, of a language that the page adds, or its own."""
    shop.publish("one")
    bell = await shop.open(lang="zh-Hans")
    await bell.expect_number(1)
    await expect(bell.button).to_have_attribute("aria-label", "通知, 1 条未读")
    await bell.element.evaluate("(element) => { element.labels = { title: '消息' }; }")
    await expect(bell.button).to_have_attribute("aria-label", "消息, 1 条未读")
    await bell.element.evaluate(
        """(element) => {
            element.constructor.LABELS.de = { title: "Mitteilungen", unread: "{n} neu" };
            element.labels = {};
            element.lang = "de-AT";
        }"""
    )
    await expect(bell.button).to_have_attribute("aria-label", "Mitteilungen, 1 neu")


async def test_style_of_the_page(shop: Shop) -> None:
    """Variables and parts change the style, and without a wish for less motion it moves."""
    bell = await shop.open(attributes='theme="dark"')
    await bell.button.click()
    style_of = """(element) => {
        const panel = element.shadowRoot.querySelector("[part=panel]");
        const { animationName, backgroundColor } = getComputedStyle(panel);
        return [animationName, backgroundColor];
    }"""
    assert await bell.element.evaluate(style_of) == ["none", "rgb(26, 27, 32)"]
    await bell.page.emulate_media(reduced_motion="no-preference")
    await bell.element.evaluate(
        """(element) => {
            const sheet = new CSSStyleSheet();
            sheet.replaceSync("hub-inbox { --hub-inbox-paper: #010203 } "
              + "hub-inbox::part(count) { background: #040506 }");
            document.adoptedStyleSheets = [sheet];
        }"""
    )
    assert await bell.element.evaluate(style_of) == ["appear", "rgb(1, 2, 3)"]
    colour = await bell.count.evaluate("(count) => getComputedStyle(count).backgroundColor")
    assert colour == "rgb(4, 5, 6)"


async def test_trusted_types(shop: Shop) -> None:
    """The element needs no trusted type, and no style that a policy may refuse."""
    shop.publish("<img src=x onerror=alert(1)>", body="<b>bold</b>")
    bell = await shop.open(policy=f"{POLICY}; require-trusted-types-for 'script'")
    await bell.expect_number(1)
    await bell.button.click()
    await bell.expect_titles("<img src=x onerror=alert(1)>")
    await expect(bell.panel).to_be_visible()


async def test_own_connection_ends_with_the_element(shop: Shop) -> None:
    """The element connects once, also if it is moved, and disconnects when it is removed. With the
    property `hub` it uses the page's connection, and does not end it.
    """
    shop.publish("one")
    bell = await shop.open()
    await bell.expect_number(1)
    await bell.element.evaluate("(element) => document.querySelector('main').append(element)")
    await bell.expect_number(1)
    await expect_connections(shop, 1)
    await bell.page.evaluate(
        """async (user) => {
            document.querySelector("hub-inbox").remove();
            const { connect } = await import("/hub.js");
            const element = document.createElement("hub-inbox");
            element.hub = window.hub = connect({ user, store: null });
            await hub.ready;
            document.body.append(element);
        }""",
        shop.user,
    )
    await bell.expect_number(1)
    await expect_connections(shop, 1)
    assert await bell.element.evaluate("(element) => element.hub === window.hub")
    state = "(element) => { element.remove(); return window.hub.state.state; }"
    assert await bell.element.evaluate(state) == "live"


async def expect_connections(shop: Shop, number: int) -> None:
    """Wait until the user has this number of connections."""
    async with asyncio.timeout(60):
        while shop.dev.call("GET", f"/users/{shop.user}", internal=True)["total"] != number:
            await asyncio.sleep(0.05)


async def test_only_one_category(shop: Shop) -> None:
    """With a category the panel shows its items only, and marks only them as read."""
    shop.publish("export", inbox={"category": "exports"})
    shop.publish("order", inbox={"category": "orders"})
    bell = await shop.open(attributes='category="exports"')
    await bell.expect_number(2)
    await bell.button.click()
    await bell.expect_titles("export")
    await bell.panel.get_by_role("button", name="Mark all as read").click()
    await bell.expect_number(1)


async def test_item_that_expires(shop: Shop) -> None:
    """It leaves the list and the number of an open page, without a request of the page."""
    bell = await shop.open()
    await bell.button.click()
    for title, inbox in (("kept", True), ("offer", {"expires_seconds": 1}), ("last", True)):
        shop.publish(title, inbox=inbox)
    await bell.expect_titles("last", "kept")
    await bell.expect_number(2)


async def test_topics(shop: Shop) -> None:
    """Items of a topic and the user's own are one list. Two devices agree on their number, and a
    topic that the user removes has no items in the list.
    """
    topic = f"news-{shop.user}"
    path = f"/inbox/subscriptions?user={shop.user}"
    shop.dev.call("PUT", path, {"topics": [topic]})
    shop.publish("from before", topic=topic)
    tab = await shop.open(attributes=f'topics="{topic}"')
    phone = await shop.open(attributes=f'topics="{topic}"', viewport=PHONE)
    devices = [tab, phone]
    for device in devices:
        await device.expect_number(1)
    await phone.button.click()
    shop.publish("own")
    shop.publish("headline", topic=topic)
    for device in devices:
        await device.expect_number(3)
    await phone.expect_titles("headline", "own", "from before")
    await phone.items.nth(0).locator("[part=item-main]").click()
    for device in devices:
        await device.expect_number(2)
    await tab.button.click()
    await tab.items.nth(2).locator("[part~=action-archive]").click()
    for device in devices:
        await device.expect_titles("headline", "own")
        await device.expect_number(1)
    unsubscribe = """async (element) => {
        await element.hub.inbox.setSubscriptions([]);
        return await element.hub.inbox.subscriptions();
    }"""
    assert await tab.element.evaluate(unsubscribe) == []
    await tab.expect_titles("own")
    mute = """async (element) => {
        await element.hub.inbox.setPreferences({ muted: { inbox: ["ads"], push: [] } });
        return await element.hub.inbox.preferences();
    }"""
    assert await tab.element.evaluate(mute) == {"muted": {"inbox": ["ads"], "push": []}}
    shop.publish("an ad", inbox={"category": "ads"})
    shop.publish("important", inbox={"category": "ads", "required": True})
    await tab.expect_titles("important", "own")


async def test_category_that_was_left(shop: Shop) -> None:
    """The items of an earlier category are not shown, when they arrive after those of another."""
    bell = await shop.open()
    await bell.expect_number(0)
    shown = await bell.page.evaluate(
        """async () => {
            const element = document.querySelector("hub-inbox");
            const opened = {};
            const lists = {};
            for (const name of ["late", "early"]) {
                const state = { items: [{ id: name, data: name, created_at: 1 }] };
                lists[name] = { state, on() {}, close: () => { lists[name].isClosed = true; } };
            }
            const open = ({ category }) => {
                return new Promise((resolve) => { opened[category] = resolve; });
            };
            const on = () => () => {};
            element.hub = { inbox: { counts: null, on, open, seen: async () => {} } };
            element.setAttribute("category", "early");
            element.open = true;
            element.setAttribute("category", "late");
            for (const name of ["late", "early"]) {
                opened[name](lists[name]);
                await new Promise((done) => setTimeout(done));
            }
            return [element.items.map(({ id }) => id), lists.early.isClosed, lists.late.isClosed];
        }"""
    )
    assert shown == [["late"], True, None]
