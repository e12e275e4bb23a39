"""A walk over the demo page, wide and narrow, light and dark, in three languages.

At its stops, axe finds no violation of its rules (WCAG A and AA and its best practices), nothing
is wider than the screen, and no request has left the origin.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import pytest
from playwright.async_api import Browser, Page, expect

from tests.chromium import new_context
from tests.conftest import missing
from tests.e2e.conftest import Dev
from tests.e2e.test_page import ask, expect_live, expect_status, text_of

AXE: Final = Path(__file__).parents[1] / "pages" / "node_modules" / "axe-core" / "axe.min.js"
MAX_FIRST_LOAD_BYTES: Final = 250_000
SIZES: Final = {"wide": (1280, 800), "narrow": (390, 844)}
pytestmark = pytest.mark.asyncio(loop_scope="session")  # the browser's


class Walk:
    """A page, the addresses that it loaded, and what its console reported."""

    def __init__(self, page: Page, origin: str) -> None:
        self.page = page
        self.origin = origin
        self.outside: list[str] = []
        self.errors: list[str] = []
        page.on("request", lambda request: self._on_request(request.url))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda message: self._on_console(message.type, message.text))

    def _on_request(self, url: str) -> None:
        if not url.startswith((self.origin, "data:")):
            self.outside.append(url)

    def _on_console(self, kind: str, text: str) -> None:
        if kind == "error":
            self.errors.append(text)

    async def check(self, stop: str) -> None:
        """Check what must hold at every stop. Only the contrast differs in the dark scheme."""
        for scheme, options in (("light", {}), ("dark", {"runOnly": ["color-contrast"]})):
            await self.page.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]
            violations = await self.page.evaluate(
                """async (options) => {
                    const resultTypes = ["violations"];
                    const found = await axe.run({ ...options, resultTypes, preload: false });
                    return found.violations.map(({ id, nodes }) => [id, nodes.map((n) => n.html)]);
                }""",
                options,
            )
            assert violations == [], f"{stop}, {scheme}"
        width = await self.page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert width[0] == width[1], stop
        assert (self.outside, self.errors) == ([], []), stop


async def begin(browser: Browser, dev: Dev, user: str, size: str) -> Walk:
    if not AXE.exists():
        missing("axe-core, which scripts/test installs,")
    width, height = SIZES[size]
    context = await new_context(browser, viewport={"width": width, "height": height})
    walk = Walk(await context.new_page(), dev.url)
    await walk.page.goto(f"{dev.url}/?user={user}")
    await expect_live(walk.page)
    await walk.page.evaluate(f"{AXE.read_text()};undefined")
    return walk


@pytest.mark.parametrize("size", SIZES)
async def test_walk(browser: Browser, dev: Dev, size: str) -> None:
    """An agent that asks, Markdown, Chinese, Arabic, sheets, and the open connection."""
    walk = await begin(browser, dev, f"walker-{size}", size)
    page, is_narrow = walk.page, size == "narrow"
    await expect(page.get_by_role("heading", name="Ask, then try to break it.")).to_be_visible()
    await walk.check("empty")
    await page.get_by_role("button", name="Please refund my order").click()
    await expect(page.get_by_role("button", name="Deny")).to_be_visible()
    await page.locator("summary", has_text="Reasoning").click()
    await page.locator("summary", has_text="get_last_order").click()
    if not is_narrow:
        await walk.check("waiting for an approval")
    await page.get_by_role("button", name="Deny").click()
    await expect_status(page.get_by_test_id("answer"), "done")
    answer = await ask(page, "Show what Markdown can do")
    await expect_status(answer, "done")
    await expect(answer.locator("math")).to_have_count(2)
    if is_narrow:
        await walk.check("Markdown")
    for prompt, direction in (("为什么天空是蓝色的？", "ltr"), ("لماذا السماء زرقاء؟", "rtl")):
        answer = await ask(page, prompt)
        await expect_status(answer, "done")
        heading = page.get_by_role("heading", name=prompt)
        await expect(heading).to_have_css("direction", direction)
        await expect(text_of(answer)).not_to_be_empty()
    dev.publish(f"walker-{size}", {"title": "发货了", "text": "وصل الطرد"})
    if is_narrow:
        await expect(page.get_by_role("button", name="Activity, 1 new")).to_be_visible()
        await page.get_by_role("button", name="Activity, 1 new").click()
    await expect(page.get_by_test_id("notification")).to_be_visible()
    await walk.check("activity")
    if is_narrow:
        await page.keyboard.press("Escape")
        await expect(page.get_by_role("button", name="Activity")).to_be_focused()
        await page.get_by_role("button", name="Chats").click()
        await walk.check("chats")
        await page.keyboard.press("Escape")
    await page.get_by_test_id("state").click()
    await expect(page.locator("#connection-node")).to_be_visible()
    if not is_narrow:
        await walk.check("connection")
    await page.locator(".panel").get_by_role("button", name="View source").click()
    await expect(page.get_by_role("dialog")).to_contain_text('hub.on("state"')
    if not is_narrow:
        await walk.check("source")


async def test_every_control_by_keyboard(browser: Browser, dev: Dev) -> None:
    """Tab reaches each control of an empty page once, and no hidden one."""
    walk = await begin(browser, dev, "kate", "wide")
    page = walk.page
    await expect(page.get_by_role("heading", name="Ask, then try to break it.")).to_be_visible()
    # It is shown when the browser has said whether it can notify.
    await expect(page.get_by_role("button", name="Notify me")).to_be_enabled()
    wanted = await page.evaluate(
        """() => [...document.querySelectorAll("a, button, input, textarea, summary, hub-inbox")]
            .filter((element) => element.checkVisibility() && !element.disabled)
            .filter((element) => !element.closest(".panel")).length"""
    )
    reached: list[Any] = []
    while (name := await _press_tab(page)) != "BODY" and len(reached) < 100:
        reached.append(name)
    assert len(reached) - reached.count("DIV") == wanted  # the conversation can scroll, too


async def _press_tab(page: Page) -> str:
    await page.keyboard.press("Tab")
    tag: str = await page.evaluate("document.activeElement.tagName")
    return tag


async def test_first_visit(browser: Browser, dev: Dev) -> None:
    """A first visit with an answer loads less than 250 kB, and the policy allows no inline code.

    The second visit loads little: the browser has the files.
    """
    context = await new_context(browser)
    page = await context.new_page()
    sizes: dict[str, float] = {}
    network = await context.new_cdp_session(page)
    await network.send("Network.enable")
    network.on(
        "Network.loadingFinished", lambda e: sizes.update({e["requestId"]: e["encodedDataLength"]})
    )
    response = await page.goto(f"{dev.url}/?user=fay")
    assert response is not None
    policy = response.headers["content-security-policy"]
    assert re.search(r"default-src 'self'", policy)
    assert "unsafe" not in policy
    await expect_live(page)
    await expect_status(await ask(page, "Show what Markdown can do"), "done")
    await expect(page.locator("math")).to_have_count(2)
    first = sum(sizes.values())
    assert first < MAX_FIRST_LOAD_BYTES, sizes
    sizes.clear()
    await page.reload()
    await expect_live(page)
    assert sum(sizes.values()) < first / 4
